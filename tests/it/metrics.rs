//! What is measured, as Prometheus sees it, against what was done.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
};

use crate::{
    client::Client,
    gateway::Gateway,
    process::{args, run},
    setup::{Engine, Setup, Storage},
};

on_every_setup! { every_request_is_counted }

fn every_request_is_counted(storage: Storage, engine: Engine) {
    let setup = Setup::new(storage, engine, 16 << 20);
    let gateway = setup.serve_with("", &["--metrics=127.0.0.1:0", "--export=other=mem:1M"]);
    assert!(get(&gateway, "/healthz").starts_with("HTTP/1.1 200"));
    let before = scrape(&gateway);
    assert_eq!(before.get(r#"nbdgate_export_requests_total{export="",command="read"}"#), Some(&0.0));
    let mut client = Client::enter(gateway.connect()).expect("served");
    for number in 0..10 {
        client.write(number * 4096, &[1; 4096]).expect("written");
    }
    for _ in 0..7 {
        client.read(0, 8192).expect("read");
    }
    client.flush().expect("flushed");
    client.read(16 << 20, 512).expect_err("past the end");
    let told = scrape(&gateway);
    for (series, value) in [
        (r#"nbdgate_export_requests_total{export="",command="write"}"#, 10.0),
        (r#"nbdgate_export_requests_total{export="",command="read"}"#, 8.0),
        (r#"nbdgate_export_requests_total{export="",command="flush"}"#, 1.0),
        (r#"nbdgate_export_requests_total{export="other",command="read"}"#, 0.0),
        (r#"nbdgate_export_bytes_total{export="",direction="write"}"#, 40960.0),
        (r#"nbdgate_export_bytes_total{export="",direction="read"}"#, 57344.0),
        (r#"nbdgate_export_errors_total{export="",command="read",error="invalid"}"#, 1.0),
        (r#"nbdgate_export_request_seconds_count{export="",command="write"}"#, 10.0),
        (r#"nbdgate_export_requests_in_flight{export=""}"#, 0.0),
        (r#"nbdgate_server_handshakes_total{outcome="transmission"}"#, 1.0),
    ] {
        assert_eq!(told.get(series), Some(&value), "{series} in {told:#?}");
    }
    let listener = format!(r#"nbdgate_server_connections{{listener="unix:{}"}}"#, gateway.socket().display());
    assert_eq!(told.get(&listener), Some(&1.0), "{listener} in {told:#?}");
    #[cfg(feature = "object-log")]
    if storage == Storage::ObjectLog {
        let puts: f64 = told
            .iter()
            .filter(|(series, _)| series.starts_with("nbdgate_object_requests_total") && series.contains("put"))
            .map(|(_, value)| value)
            .sum();
        assert!(puts >= 1.0, "a flush puts a segment: {told:#?}");
    }
    gateway.stop();
}

#[test]
fn real_clients_make_structured_chunks() {
    let setup = Setup::new(Storage::Memory, Engine::Epoll, 16 << 20);
    let gateway = setup.serve_with("", &["--metrics=127.0.0.1:0"]);
    let uri = gateway.uri(crate::gateway::Transport::Unix);
    run("qemu-io", args!["-f", "raw", "-c", "write 0 1M", "-c", "read 0 2M", uri]).ok();
    let told = scrape(&gateway);
    for kind in ["data", "hole"] {
        let series = format!(r#"nbdgate_export_chunks_total{{export="",kind="{kind}"}}"#);
        assert!(told.get(&series).is_some_and(|&count| count >= 1.0), "{series} in {told:#?}");
    }
    gateway.stop();
}

/// Every series with its value.
pub(crate) fn scrape(gateway: &Gateway) -> BTreeMap<String, f64> {
    let response = get(gateway, "/metrics");
    let lines = response.lines().filter(|line| line.starts_with("nbdgate_"));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a series and a value");
            (series.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// A whole response.
pub(crate) fn get(gateway: &Gateway, path: &str) -> String {
    let address = gateway.told("serving metrics address=").expect("the log tells it");
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response
}
