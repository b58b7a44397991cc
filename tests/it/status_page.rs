//! The status page in a real Chromium: what it shows is what /metrics tells, in both themes and on a telephone, and it
//! survives what names, storage and the gateway's end can do to it.
//!
//! Each test runs one check of `status_page/page.py`, which drives the browser; what the check needs done to the gateway it
//! asks for here. The pictures stay in the build folder, where each check says.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use crate::{
    client::{Client, stamped},
    gateway::Gateway,
    metrics::get,
    process::{LOOPBACK, args, nbdgate},
};

/// Seconds for one check; the whole browser is ended after them.
const DEADLINE_SECONDS: &str = "120";
/// Markup, a quote, a text that turns its line around, letters of several lengths, and what a place on a page escapes.
const HOSTILE: &str = "<img src=x onerror=\"document.title='run'\">&amp;\\ \u{202e}gnp.exe\t#%2F?a=b& ü😀";

/// A gateway with a disk of each storage, and its folder.
struct Served {
    gateway: Gateway,
    folder: tempfile::TempDir,
}

const EXPORTS: [&str; 4] = ["vm1", "rock", "", HOSTILE];

impl Served {
    /// Serves disks whose names are [`EXPORTS`].
    fn every_storage() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| folder.path().join(name).display().to_string();
        fs::create_dir(place("bucket")).expect("a bucket");
        let disk = format!("dir:{}", place("bucket/disk"));
        nbdgate(args!["disk", "create", disk, "--size", "64M"]).ok();
        let uris = [
            disk,
            format!("rocksdb:{}?size=64M", place("rock")),
            "mem:64M".to_owned(),
            format!("file:{}", place("image")),
        ];
        fs::File::create(place("image")).and_then(|image| image.set_len(64 << 20)).expect("an image");
        let mut file = String::new();
        for (name, uri) in EXPORTS.iter().zip(uris) {
            // Quoted as TOML, whose escapes are those of JSON.
            let quoted = serde_json::to_string(name).expect("text");
            writeln!(file, "[[export]]\nname = {quoted}\nuri = \"{uri}\"\ndescription = '<b>bold</b>'").expect("text");
        }
        fs::write(place("gateway.toml"), file).expect("a configuration");
        let config = format!("--config={}", place("gateway.toml"));
        let gateway = Gateway::start(folder.path(), &[&config, "--metrics=127.0.0.1:0", "--status-page"]);
        Self { gateway, folder }
    }

    /// A gateway with one disk in memory.
    fn memory() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let gateway = Self::start_memory(folder.path());
        Self { gateway, folder }
    }

    fn start_memory(folder: &Path) -> Gateway {
        Gateway::start(folder, &["--export=vm1=mem:16M", "--metrics=127.0.0.1:0", "--status-page"])
    }
}

fn address(gateway: &Gateway) -> String {
    gateway.told("serving metrics address=").expect("the log tells it").to_owned()
}

/// A check that is under way, in a browser of its own.
struct Check {
    child: Child,
    answers: Option<ChildStdin>,
    /// What a browser leaves that had to be killed goes with it.
    _temporary: tempfile::TempDir,
}

impl Check {
    /// Runs a check to its end; `serve` does what it asks for, and returns the answer.
    #[track_caller]
    fn run(name: &str, address: &str, exports: &[&str], mut serve: impl FnMut(&str) -> String) {
        let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("status-page");
        fs::create_dir_all(&pictures).expect("a folder for pictures");
        println!("pictures of the status page are in {}", pictures.display());
        let mut check = Self::start(name, address, &pictures, exports);
        let asks = BufReader::new(check.child.stdout.take().expect("stdout is piped"));
        for word in asks.lines().map_while(Result::ok) {
            let answer = serve(&word);
            let answers = check.answers.as_mut().expect("kept until the end");
            writeln!(answers, "{answer}").expect("the check listens");
        }
        drop(check.answers.take());
        let status = check.child.wait().expect("a child can be waited for");
        assert!(status.success(), "check {name} ended with {status}; what it says is above");
    }

    fn start(name: &str, address: &str, pictures: &Path, exports: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/status_page/page.py");
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", DEADLINE_SECONDS, "python3", "-B"]).arg(script).args([name, address]);
        command.arg(pictures).args(exports).stdin(Stdio::piped()).stdout(Stdio::piped());
        let temporary = tempfile::tempdir().expect("a folder");
        command.env("TMPDIR", temporary.path()).envs([("no_proxy", LOOPBACK), ("NO_PROXY", LOOPBACK)]);
        let mut child = command.spawn().expect("timeout(1) starts");
        let answers = child.stdin.take();
        Self { child, answers, _temporary: temporary }
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        // After a failure here, the check reads its end of input, and takes its browser with it.
        drop(self.answers.take());
        let _status = self.child.wait();
    }
}

fn asks_for_nothing(word: &str) -> String {
    panic!("the check asks for {word:?}");
}

/// Some of everything on each disk, and one refusal; the clients stay.
fn load(gateway: &Gateway) -> Vec<Client> {
    let used = EXPORTS.iter().enumerate().map(|(number, name)| {
        let mut client = Client::enter_export(gateway.connect(), name).expect("served");
        for block in 0..40 + 10 * number as u64 {
            client.write(block * 65536, &stamped(block + 1, 65536)).expect("written");
        }
        for block in 0..25 {
            client.read(block * 131_072, 131_072).expect("read");
        }
        client.read(64 << 20, 4096).expect_err("past the end");
        client.trim(1 << 20, 65536).expect("trimmed");
        client.flush().expect("flushed");
        client
    });
    used.collect()
}

#[test]
fn the_page_shows_what_metrics_tell_and_names_as_text() {
    let served = Served::every_storage();
    let mut clients = Vec::new();
    Check::run("figures", &address(&served.gateway), &EXPORTS, |word| {
        assert_eq!(word, "load");
        clients = load(&served.gateway);
        String::new()
    });
    assert_eq!(clients.len(), EXPORTS.len(), "the check never asked for load");
    drop(clients);
    served.gateway.stop();
}

#[test]
fn a_page_says_that_the_gateway_is_gone_and_goes_on_with_the_next_one() {
    let Served { gateway, folder } = Served::memory();
    let first = address(&gateway);
    let mut gateway = Some(gateway);
    Check::run("stops", &first, &[], |word| match word {
        "stop" => {
            gateway.take().expect("it runs").stop();
            String::new()
        }
        "start" => address(gateway.insert(Served::start_memory(folder.path()))),
        _ => asks_for_nothing(word),
    });
    gateway.expect("it was started again").stop();
}

#[test]
fn every_file_of_the_page_is_served_as_it_is() {
    let served = Served::memory();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/status/page");
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let place = match name {
            "status.html" => "/status".to_owned(),
            "status.css" | "status.js" => format!("/{name}"),
            _ => format!("/status/{name}"),
        };
        let response = get(&served.gateway, &place);
        let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-security-policy: "), "{place}: {head}");
        assert_eq!(body, fs::read_to_string(&path).expect("text"), "{place} is another file");
    }
    served.gateway.stop();
}

fn with_a_gateway(check: &str) {
    let served = Served::memory();
    Check::run(check, &address(&served.gateway), &[], asks_for_nothing);
    served.gateway.stop();
    drop(served.folder);
}

#[test]
fn disks_in_trouble_are_told_and_what_is_unknown_is_a_dash() {
    with_a_gateway("troubles");
}

#[test]
fn a_crowd_of_exports_is_filtered_and_ordered() {
    with_a_gateway("crowd");
}

#[test]
fn a_page_that_nobody_sees_asks_for_nothing() {
    with_a_gateway("hidden");
}

#[test]
fn the_page_calculates_as_it_should() {
    with_a_gateway("arithmetic");
}
