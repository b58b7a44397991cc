//! What the status page tells, against what /metrics and the tools tell of the same gateway.

mod values;

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    client::Client,
    gateway::Gateway,
    process::{args, nbdgate},
    setup::{Engine, Setup, Storage},
};

/// Time for a gateway to answer.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two questions of one that waits for an answer.
const POLL: Duration = Duration::from_millis(50);
const DETAIL: &str = "/status/export.json?name=vm";

/// An export with a page beside it.
fn serve(setup: &Setup, export: &str) -> Gateway {
    Gateway::start(setup.folder(), &["--metrics=127.0.0.1:0", "--status-page", &format!("--export={export}")])
}

/// The status line and the body of an answer.
fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
    (head.lines().next().expect("a status line").to_owned(), body.to_owned())
}

fn address(gateway: &Gateway) -> String {
    gateway.told("serving metrics address=").expect("the log tells it").to_owned()
}

fn told(gateway: &Gateway, path: &str) -> Value {
    let (status, body) = get(&address(gateway), path);
    assert_eq!(status, "HTTP/1.1 200 OK", "{path}: {body}");
    serde_json::from_str(&body).expect("JSON")
}

/// Asks until the answer is as is waited for.
fn told_once(gateway: &Gateway, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = told(gateway, path);
        if is_so(&told) {
            return told;
        }
        assert!(Instant::now() < deadline, "{path} still tells {told}");
        thread::sleep(POLL);
    }
}

/// The detail of `vm` with these parts: one that is found out too late is `null` at first.
fn detail(gateway: &Gateway, parts: &[&str]) -> Value {
    told_once(gateway, DETAIL, |told| parts.iter().all(|part| !told[part].is_null()))
}

#[cfg(any(feature = "object-log", feature = "rocksdb"))]
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand::RngCore::fill_bytes(&mut <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(7), &mut bytes);
    bytes
}

/// Writes 4 MiB of an export and flushes.
fn fill(gateway: &Gateway, export: &str, bytes: &[u8]) {
    let mut client = Client::enter_export(gateway.connect(), export).expect("served");
    for (at, part) in (0..).step_by(1 << 20).zip(bytes.chunks(1 << 20)) {
        client.write(at, part).expect("written");
    }
    client.flush().expect("flushed");
}

#[test]
fn without_the_flag_there_is_no_page_and_without_metrics_no_gateway() {
    let setup = Setup::new(Storage::Memory, Engine::Epoll, 1 << 20);
    let gateway = setup.serve_with("", &["--metrics=127.0.0.1:0"]);
    let (status, body) = get(&address(&gateway), "/status");
    assert!(status.starts_with("HTTP/1.1 404 ") && body.contains("--status-page"), "{status}: {body}");
    gateway.stop();
    let refused = nbdgate(args!["serve", "--export=vm=mem:1M", "--status-page"]);
    assert!(refused.code != Some(0) && refused.stderr.contains("--metrics"), "{refused}");
}

#[test]
fn clients_are_listed_while_they_are_there() {
    let setup = Setup::new(Storage::Memory, Engine::Epoll, 1 << 20);
    let gateway = serve(&setup, "a \"b\"=mem:1M");
    let client = Client::enter_export(gateway.connect(), "a \"b\"").expect("served");
    let count = |wanted: usize| {
        told_once(&gateway, "/status.json", |told| {
            told["clients"].as_array().is_some_and(|clients| clients.len() == wanted)
        })
    };
    let one = count(1);
    let listed = &one["clients"][0];
    assert_eq!((listed["export"].as_str(), listed["style"].as_str()), (Some("a \"b\""), Some("simple")), "{one}");
    let peer = format!("unix:uid={},pid={}", rustix::process::getuid().as_raw(), std::process::id());
    assert_eq!(listed["peer"].as_str(), Some(peer.as_str()), "{one}");
    assert_eq!(one["exports"][0]["connections"], 1, "{one}");
    assert!(listed["since_unix_seconds"].as_f64() >= one["gateway"]["started_unix_seconds"].as_f64(), "{one}");
    drop(client);
    assert_eq!(count(0)["exports"][0]["connections"], 0);
    gateway.stop();
}

#[test]
fn in_a_crowd_everyone_gets_the_page_and_only_details_may_be_refused() {
    let setup = Setup::new(Storage::Memory, Engine::Epoll, 1 << 20);
    let gateway = serve(&setup, "vm=mem:16M");
    fill(&gateway, "vm", &vec![7; 4 << 20]);
    let address = Arc::new(address(&gateway));
    let viewers: Vec<_> = (0..64)
        .map(|number| {
            let address = address.clone();
            let path = ["/status.json", DETAIL, "/status"][number % 3];
            thread::spawn(move || (path, get(&address, path).0))
        })
        .collect();
    assert_eq!(get(&address, "/metrics").0, "HTTP/1.1 200 OK");
    for viewer in viewers {
        let (path, status) = viewer.join().expect("no panic");
        let is_refused = path == DETAIL && status.starts_with("HTTP/1.1 503 ");
        assert!(status == "HTTP/1.1 200 OK" || is_refused, "{path}: {status}");
    }
    assert_eq!(detail(&gateway, &["allocation"])["allocation"]["allocated_bytes"], 4 << 20);
    gateway.stop();
}

#[cfg(feature = "object-log")]
#[test]
fn the_object_log_shows_what_its_tools_tell() {
    let setup = Setup::new(Storage::ObjectLog, Engine::Epoll, 16 << 20);
    let vm = format!("vm={}", setup.uri());
    let gateway = serve(&setup, &vm);
    fill(&gateway, "vm", &noise(4 << 20));
    gateway.stop();
    nbdgate(args!["disk", "snapshot", "create", setup.uri(), "monday"]).ok();
    let gateway = serve(&setup, &vm);
    fill(&gateway, "vm", &vec![7; 4 << 20]);
    let mut reader = Client::enter_export(gateway.connect(), "vm@monday").expect("served");
    reader.read(0, 4096).expect("read");
    let told = detail(&gateway, &["allocation", "snapshots", "segments"]);
    gateway.stop();
    let listed = nbdgate(args!["disk", "snapshot", "list", setup.uri(), "--json"]).ok();
    let info = nbdgate(args!["disk", "info", setup.uri(), "--json"]).ok();
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let info: Value = serde_json::from_str(&info).expect("JSON");
    let snapshot = &told["snapshots"][0];
    assert_eq!((&snapshot["name"], &snapshot["served"]), (&"monday".into(), &true.into()), "{told}");
    assert_eq!(
        (&snapshot["pinned_bytes"], &snapshot["pinned_alone_bytes"]),
        (&listed[0]["pinned"], &listed[0]["pinned-alone"])
    );
    assert!(snapshot["pinned_bytes"].as_u64() > Some(0), "it was overwritten: {told}");
    assert_eq!(told["allocation"]["allocated_bytes"], info["allocated"], "{told}");
    let shown = told["segments"]["shown"].as_array().expect("a list");
    assert_eq!(told["segments"]["total"], shown.len(), "{told}");
    let stored: u64 = shown.iter().filter_map(|segment| segment["bytes"].as_u64()).sum();
    assert_eq!(Some(stored), info["stored"].as_u64(), "{told} {info}");
    assert!(shown[0]["pinned"] == true && shown[shown.len() - 1]["pinned"] == false, "oldest first: {told}");
    assert_eq!(told["cost"], Value::Null, "a directory costs nothing");
}

#[cfg(feature = "object-log")]
#[test]
fn a_served_disk_is_priced_by_its_metrics() {
    let setup = Setup::new(Storage::ObjectLog, Engine::Epoll, 16 << 20);
    let gateway = serve(&setup, &format!("vm={}", setup.uri()));
    fill(&gateway, "vm", &noise(4 << 20));
    let priced = args!["disk", "cost", setup.uri(), "--metrics", address(&gateway), "--export", "vm", "--json"];
    let bill: Value = serde_json::from_str(&nbdgate(priced).ok()).expect("JSON");
    assert!(bill["total_cost"].as_f64() > Some(0.0), "{bill}");
    gateway.stop();
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb_shows_what_its_tools_tell() {
    let setup = Setup::new(Storage::RocksDb, Engine::Epoll, 16 << 20);
    let vm = format!("vm={}", setup.uri());
    let place = format!("rocksdb:{}", setup.path("disk").display());
    let gateway = serve(&setup, &vm);
    fill(&gateway, "vm", &noise(4 << 20));
    gateway.stop();
    nbdgate(args!["disk", "snapshot", "create", place, "monday"]).ok();
    let gateway = serve(&setup, &vm);
    let told = detail(&gateway, &["allocation", "snapshots"]);
    let listed = nbdgate(args!["disk", "snapshot", "list", place, "--json"]).ok();
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let snapshot = &told["snapshots"][0];
    assert_eq!((&snapshot["name"], &snapshot["served"]), (&"monday".into(), &false.into()), "{told}");
    assert_eq!(
        (&snapshot["pinned_bytes"], &snapshot["pinned_alone_bytes"]),
        (&listed[0]["pinned"], &listed[0]["pinned-alone"])
    );
    assert_eq!(
        (&told["allocation"]["allocated_bytes"], &told["segments"]),
        (&(4 << 20).into(), &Value::Null),
        "{told}"
    );
    gateway.stop();
}
