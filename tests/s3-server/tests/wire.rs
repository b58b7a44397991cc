//! The server as a real client meets it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, future::join_all};
use nbdgate_s3_server::{ACCESS_KEY, BUCKET, REGION, SECRET_KEY, Server, Settings};
use object_store::{
    Error, GetRange, ObjectStore, ObjectStoreExt, PutMode, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
};

const SEED: u64 = 5;

/// A client that repeats nothing.
fn client(server: &Server, secret: &str) -> AmazonS3 {
    let retry = RetryConfig { max_retries: 0, retry_timeout: Duration::from_secs(5), ..RetryConfig::default() };
    AmazonS3Builder::new()
        .with_endpoint(format!("http://{}", server.address()))
        .with_allow_http(true)
        .with_bucket_name(BUCKET)
        .with_region(REGION)
        .with_access_key_id(ACCESS_KEY)
        .with_secret_access_key(secret)
        .with_retry(retry)
        .build()
        .unwrap()
}

fn start(settings: Settings) -> (Server, AmazonS3) {
    let server = Server::start(settings, SEED).unwrap();
    let client = client(&server, SECRET_KEY);
    (server, client)
}

#[tokio::test]
async fn what_was_put_is_read_ranged_listed_and_deleted() {
    let (server, client) = start(Settings::default());
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    for name in ["a/1", "a/2", "b/1"] {
        client.put(&Path::from(name), bytes.clone().into()).await.unwrap();
    }
    let name = Path::from("a/1");
    assert!(client.get(&name).await.unwrap().bytes().await.unwrap() == bytes);
    assert!(client.get_range(&name, 5..70_000).await.unwrap() == bytes[5..70_000]);
    let suffix = object_store::GetOptions { range: Some(GetRange::Suffix(7)), ..Default::default() };
    assert_eq!(client.get_opts(&name, suffix).await.unwrap().bytes().await.unwrap(), bytes[bytes.len() - 7..]);
    assert_eq!(client.head(&name).await.unwrap().size, bytes.len() as u64);
    let listed: Vec<_> = client.list(Some(&Path::from("a"))).map_ok(|meta| meta.location).try_collect().await.unwrap();
    assert_eq!(listed, [Path::from("a/1"), Path::from("a/2")]);
    let behind = client.list_with_offset(None, &Path::from("a/1")).count().await;
    assert_eq!(behind, 2);
    let folders = client.list_with_delimiter(None).await.unwrap().common_prefixes;
    assert_eq!(folders, [Path::from("a"), Path::from("b")]);
    let names = futures_util::stream::iter(listed.into_iter().map(Ok)).boxed();
    assert_eq!(client.delete_stream(names).count().await, 2);
    client.delete(&Path::from("b/1")).await.unwrap();
    assert!(matches!(client.get(&name).await, Err(Error::NotFound { .. })));
    assert!(server.names().is_empty());
    assert_eq!(server.counts().deletes, 3);
}

#[tokio::test]
async fn of_racing_creates_one_wins_unless_conditions_are_ignored() {
    for ignore_conditions in [false, true] {
        let (server, client) = start(Settings { ignore_conditions, ..Settings::default() });
        let client = Arc::new(client);
        let create = |number: u8| {
            let client = Arc::clone(&client);
            async move { client.put_opts(&Path::from("name"), vec![number].into(), PutMode::Create.into()).await }
        };
        let outcomes = join_all((0..8).map(create)).await;
        let winners = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(winners, if ignore_conditions { 8 } else { 1 });
        let counts = server.counts();
        assert_eq!((counts.puts, counts.refused_puts), if ignore_conditions { (8, 0) } else { (1, 7) });
    }
}

#[tokio::test]
async fn a_wrong_secret_and_a_wrong_bucket_are_refused() {
    let (server, _) = start(Settings::default());
    let error = client(&server, "wrong").get(&Path::from("name")).await.unwrap_err();
    assert!(matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. }), "{error}");
    let elsewhere = AmazonS3Builder::new()
        .with_endpoint(format!("http://{}", server.address()))
        .with_allow_http(true)
        .with_bucket_name("elsewhere")
        .with_region(REGION)
        .with_access_key_id(ACCESS_KEY)
        .with_secret_access_key(SECRET_KEY)
        .build()
        .unwrap();
    let error = elsewhere.put(&Path::from("name"), "x".into()).await.unwrap_err();
    assert!(error.to_string().contains("NoSuchBucket"), "{error}");
}

/// Every fault at certainty: what the client sees, and what the store holds then.
#[tokio::test]
async fn each_fault_does_what_it_says() {
    let certain = |change: fn(&mut Settings)| {
        let mut settings = Settings { late_ms: 0, stall_ms: 1, ..Settings::default() };
        change(&mut settings);
        settings
    };
    let (server, client) = start(Settings::default());
    let name = |text: &str| Path::from(text);
    client.put(&name("there"), vec![1; 1000].into()).await.unwrap();

    server.set(certain(|settings| settings.busy = 1000));
    assert!(client.put(&name("busy"), "x".into()).await.unwrap_err().to_string().contains("503"));
    server.set(certain(|settings| settings.stall = 1000));
    client.put(&name("stalled"), "x".into()).await.unwrap_err();
    server.set(certain(|settings| settings.cut = 1000));
    client.get(&name("there")).await.unwrap().bytes().await.unwrap_err();
    server.set(certain(|settings| settings.reply_lost = 1000));
    client.put(&name("reply-lost"), "x".into()).await.unwrap_err();
    server.set(certain(|settings| settings.late = 1000));
    client.put(&name("late"), "x".into()).await.unwrap_err();

    server.set(Settings::default());
    // The late one comes by itself; until then its name is free.
    while client.head(&name("late")).await.is_err() {
        tokio::task::yield_now().await;
    }
    let names: Vec<String> = server.names().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["late", "reply-lost", "there"]);
    assert_eq!(server.counts().faults, 5);
}

#[tokio::test]
async fn latency_and_bandwidth_are_kept() {
    let (_server, client) = start(Settings { get_ms: 20, put_ms: 40, mib_per_second: 64, ..Settings::default() });
    let name = Path::from("name");
    let begin = std::time::Instant::now();
    client.put(&name, vec![1; 8 << 20].into()).await.unwrap();
    let put = begin.elapsed();
    assert!(put >= Duration::from_millis(125), "8 MiB at 64 MiB/s in {put:?}");
    let begin = std::time::Instant::now();
    client.head(&name).await.unwrap();
    let head = begin.elapsed();
    assert!(head >= Duration::from_millis(20), "{head:?}");
    let begin = std::time::Instant::now();
    client.get(&name).await.unwrap().bytes().await.unwrap();
    let get = begin.elapsed();
    assert!(get >= Duration::from_millis(125), "{get:?}");
}

/// The program: an address on its output, settings and counters over HTTP, and an end with its input.
#[test]
fn the_program_tells_its_address_and_ends_with_its_input() {
    use std::{
        io::{BufRead, BufReader, Read, Write},
        net::TcpStream,
        process::{Command, Stdio},
    };
    let mut child = Command::new(env!("CARGO_BIN_EXE_nbdgate-s3-server"))
        .args(["--put-ms", "30"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let ask = |line: &str| {
        let mut stream = TcpStream::connect(address.trim()).unwrap();
        write!(stream, "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("POST /-/settings?busy=1000").starts_with("HTTP/1.1 200"));
    assert!(ask("POST /-/settings?busy=1001").starts_with("HTTP/1.1 400"));
    assert!(ask("GET /bucket/name").starts_with("HTTP/1.1 503"));
    assert!(ask("POST /-/counters").contains("\"faults\":1"));
    assert!(ask("GET /-/counters").contains("\"faults\":0"));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}
