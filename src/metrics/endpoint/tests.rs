//! The endpoint over real loopback sockets, with clients that behave and clients that do not.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime,
    task::JoinHandle,
};

use super::*;

/// What a test waits at most for something that must come.
const PATIENCE: Duration = Duration::from_mins(1);

struct Server {
    address: SocketAddr,
    health: watch::Sender<Health>,
    heartbeat: Heartbeat,
    task: JoinHandle<io::Result<()>>,
}

fn serve(deadline: Duration) -> Server {
    let heartbeat = Heartbeat::new(Duration::from_millis(1));
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let endpoint = Endpoint::bind(loopback, Metrics::detached(), heartbeat).expect("a free port");
    run(Endpoint { deadline, ..endpoint })
}

fn run(endpoint: Endpoint) -> Server {
    let heartbeat = endpoint.heartbeat.clone();
    let address = endpoint.local_address().expect("bound");
    let (health, watch) = watch::channel(Health::Starting);
    Server { address, health, heartbeat, task: tokio::spawn(endpoint.run(watch)) }
}

/// Sends bytes, and reads until the server closes.
async fn talk(address: SocketAddr, request: &[u8]) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        // The server may close before it has read everything, so both sides can see a reset.
        let _ = stream.write_all(request).await;
        let mut response = Vec::new();
        let _ = stream.read_to_end(&mut response).await;
        String::from_utf8(response).expect("text")
    };
    time::timeout(PATIENCE, exchange).await.expect("the server ends the connection")
}

async fn get(address: SocketAddr, path: &str) -> String {
    talk(address, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await
}

fn block_on(test: impl Future<Output = ()>) {
    runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}

#[test]
fn metrics_are_served_as_prometheus_text() {
    block_on(async {
        let server = serve(CONNECTION_DEADLINE);
        let response = get(server.address, "/metrics").await;
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        assert!(response.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{response}");
        assert!(response.contains("\nnbdgate_process_open_fds "), "{response}");
        let head = talk(server.address, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    });
}

#[test]
fn health_follows_the_gateway() {
    block_on(async {
        let server = serve(CONNECTION_DEADLINE);
        assert!(get(server.address, "/healthz").await.starts_with("HTTP/1.1 503 "), "starting");
        server.health.send(Health::Serving).expect("watched");
        assert!(get(server.address, "/healthz").await.starts_with("HTTP/1.1 200 "), "serving");
        server.health.send(Health::Stopping).expect("watched");
        let stopping = get(server.address, "/healthz").await;
        assert!(stopping.starts_with("HTTP/1.1 503 ") && stopping.ends_with("stopping\n"), "{stopping}");
    });
}

#[test]
fn who_does_not_beat_is_named_and_the_rest_is_served_on() {
    block_on(async {
        let server = serve(CONNECTION_DEADLINE);
        assert!(get(server.address, "/livez").await.starts_with("HTTP/1.1 200 "), "alive while it starts");
        let pulse = server.heartbeat.pulse("nbdgate-io-7");
        let until = time::Instant::now() + PATIENCE;
        let mut hung = String::new();
        while !hung.starts_with("HTTP/1.1 503 ") {
            assert!(time::Instant::now() < until, "not seen: {hung}");
            hung = get(server.address, "/livez").await;
        }
        assert!(hung.ends_with("nbdgate-io-7 hangs\n"), "{hung}");
        assert!(get(server.address, "/metrics").await.contains("200 OK"));
        pulse.retire();
        assert!(get(server.address, "/livez").await.starts_with("HTTP/1.1 200 "), "it ended as it was asked to");
    });
}

#[test]
fn other_paths_and_methods_are_refused() {
    block_on(async {
        let server = serve(CONNECTION_DEADLINE);
        assert!(get(server.address, "/").await.starts_with("HTTP/1.1 404 "));
        assert!(get(server.address, "/metrics/").await.starts_with("HTTP/1.1 404 "));
        let post = talk(server.address, b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
        assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("allow: GET, HEAD\r\n"), "{post}");
    });
}

#[test]
fn without_a_status_page_its_paths_name_the_flag() {
    block_on(async {
        let server = serve(CONNECTION_DEADLINE);
        for path in ["/status", "/status.json", "/status/export.json?name=vm"] {
            let response = get(server.address, path).await;
            assert!(response.starts_with("HTTP/1.1 404 ") && response.contains("--status-page"), "{path}: {response}");
        }
    });
}

#[test]
fn a_site_answers_what_the_endpoint_does_not_have() {
    block_on(async {
        let site = Site::new(|asked| {
            Box::pin(async move {
                let Asked { path, query, health, .. } = asked;
                Response::new(Full::from(format!("{path} {query:?} {health:?}")))
            })
        });
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = Endpoint::bind(loopback, Metrics::detached(), Heartbeat::new(PATIENCE)).expect("a free port");
        let endpoint = endpoint.with_site(Some(site));
        let server = run(endpoint);
        server.health.send(Health::Serving).expect("watched");
        let address = server.address;
        let response = get(address, "/x/y?name=a%20b").await;
        assert!(response.ends_with("/x/y Some(\"name=a%20b\") Serving"), "{response}");
        assert!(get(address, "/metrics").await.contains("\nnbdgate_process_open_fds "), "its own stay");
        assert!(get(address, "/healthz").await.ends_with("serving\n"));
        let post = talk(address, b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
        assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
    });
}

#[test]
fn a_head_above_the_limit_is_refused_and_the_next_client_is_served() {
    block_on(async {
        let server = serve(CONNECTION_DEADLINE);
        let mut request = b"GET /metrics HTTP/1.1\r\nX: ".to_vec();
        request.resize(MAX_HEAD_BYTES * 4, b'x');
        let response = talk(server.address, &request).await;
        assert!(!response.contains("200 OK"), "{response}");
        let garbage = talk(server.address, b"\0\x01\x02NBDMAGIC\r\n\r\n").await;
        assert!(!garbage.contains("200 OK"), "{garbage}");
        assert!(get(server.address, "/metrics").await.contains("200 OK"));
    });
}

/// Clients that sent so much and wait.
async fn waiting(server: &Server, count: usize, sent: &[u8]) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(server.address).await.expect("connected");
        stream.write_all(sent).await.expect("sent");
        open.push(stream);
    }
    open
}

#[test]
fn silent_clients_do_not_keep_probes_from_their_answer() {
    block_on(async {
        let server = serve(CONNECTION_DEADLINE);
        server.health.send(Health::Serving).expect("watched");
        let _silent = waiting(&server, places::MAX_ANSWERS * 4, b"").await;
        for (path, answer) in [("/livez", "alive\n"), ("/healthz", "serving\n"), ("/metrics", "\n")] {
            let asked = time::timeout(Duration::from_secs(3), get(server.address, path)).await;
            assert!(asked.is_ok_and(|told| told.contains("200 OK") && told.ends_with(answer)), "{path}");
        }
    });
}

#[test]
fn who_waits_for_a_slow_answer_keeps_no_probe_from_its_own_and_a_crowd_is_sent_away() {
    block_on(async {
        let site = Site::new(|_| Box::pin(std::future::pending()));
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = Endpoint::bind(loopback, Metrics::detached(), Heartbeat::new(PATIENCE)).expect("a free port");
        let server = run(Endpoint { deadline: PATIENCE, ..endpoint.with_site(Some(site)) });
        let crowd = places::MAX_ANSWERS + places::MAX_WAITING;
        let _slow = waiting(&server, crowd + 8, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let asked = time::timeout(Duration::from_secs(3), get(server.address, "/livez")).await;
        assert!(asked.is_ok_and(|told| told.ends_with("alive\n")));
        let next = get(server.address, "/metrics").await;
        assert!(next.starts_with("HTTP/1.1 503 ") && next.contains("retry-after: "), "{next}");
    });
}

#[test]
fn who_sends_no_head_is_dropped_soon() {
    block_on(async {
        let server = serve(PATIENCE * 10);
        for sent in [&b""[..], b"GET /met"] {
            let mut silent = waiting(&server, 1, sent).await;
            let mut rest = Vec::new();
            let closed = time::timeout(PATIENCE, silent[0].read_to_end(&mut rest)).await;
            assert!(closed.is_ok(), "{sent:?} is waited for");
        }
    });
}

#[test]
fn clients_that_say_nothing_are_dropped_and_the_next_one_is_served() {
    block_on(async {
        let server = serve(Duration::from_millis(200));
        let silent = waiting(&server, places::MAX_CONNECTIONS + 8, b"GET /met").await;
        let response = get(server.address, "/metrics").await;
        assert!(response.contains("200 OK"), "it waits for its turn: {response}");
        for mut stream in silent {
            let mut rest = Vec::new();
            let closed = time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
            assert!(closed.is_ok(), "a silent client is not kept");
        }
    });
}

#[test]
fn the_endpoint_ends_when_its_gateway_is_gone() {
    block_on(async {
        let server = serve(CONNECTION_DEADLINE);
        let mut open = TcpStream::connect(server.address).await.expect("connected");
        assert!(get(server.address, "/metrics").await.contains("200 OK"));
        drop(server.health);
        let ended = time::timeout(PATIENCE, server.task).await.expect("it ends by itself");
        ended.expect("no panic").expect("no error");
        let mut rest = Vec::new();
        let closed = time::timeout(PATIENCE, open.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "open connections are dropped");
    });
}

#[test]
fn an_address_in_use_is_named() {
    let taken = net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = taken.local_addr().expect("bound");
    let error = Endpoint::bind(address, Metrics::detached(), Heartbeat::new(PATIENCE)).expect_err("in use").to_string();
    assert!(error.contains(&address.to_string()) && error.contains("--metrics"), "{error}");
}
