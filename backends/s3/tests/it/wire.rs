//! The real S3 client over a socket: credentials and endpoint from the environment, 503s, stalls, cut bodies, wrong
//! keys, a missing bucket. The client runs in a process of its own, because an environment belongs to a process.

use std::{net::SocketAddr, process::Command, sync::atomic::Ordering, time::Duration};

use nbdgate_api::{Backend, ByteRange, Error, wait};
use nbdgate_s3::{CreateOptions, Location, OpenOptions, Tuning};

use crate::{
    s3_server::{BUCKET, KEY_ID, NEW_KEY_ID, Quirk, Server, Trouble},
    setup::{noise, options},
};

/// The URL for the child; set by these tests alone.
const URL: &str = "NBDGATE_TEST_WIRE_URL";

/// Runs `child` with an environment, and returns what it printed.
fn client(address: SocketAddr, url: &str, key: &str) -> String {
    let keys = [("AWS_ENDPOINT", format!("http://{address}")), ("AWS_ACCESS_KEY_ID", key.to_owned())];
    client_with(url, &keys, true)
}

/// As [`client`], with more of the environment from the caller.
fn client_with(url: &str, variables: &[(&str, String)], with_secret: bool) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    if with_secret {
        command.env("AWS_SECRET_ACCESS_KEY", "TOPSECRET");
    }
    let output = command
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .args(["wire::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(URL, url)
        .env("AWS_REGION", "us-east-1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("TOPSECRET"), "a secret was printed: {text}");
    text
}

/// The other process: makes a disk, uses it, opens it again. Nothing to do when it is run by itself.
#[test]
fn child() {
    let Ok(url) = std::env::var(URL) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match use_disk(&runtime, &url) {
        Ok(()) => println!("outcome: fine"),
        Err(error) => println!("outcome: {}", error.chain()),
    }
}

fn use_disk(runtime: &tokio::runtime::Runtime, url: &str) -> Result<(), Error> {
    let location: Location = url.parse()?;
    let create = CreateOptions { size: 1 << 30, ..CreateOptions::default() };
    runtime.block_on(nbdgate_s3::create(&location, &create))?;
    let tuning = Tuning { attempt_timeout: Duration::from_millis(700), ..options().tuning };
    let options = OpenOptions { tuning, ..options() };
    let disk = runtime.block_on(nbdgate_s3::open(&location, options.clone()))?;
    for number in 0..12 {
        wait::write(&disk, number << 20, noise(number, 300_000))?;
        wait::flush(&disk)?;
    }
    disk.close()?;
    let disk = runtime.block_on(nbdgate_s3::open(&location, options))?;
    for number in 0..12 {
        let range = ByteRange::new(number << 20, 300_000).unwrap();
        assert!(wait::read(&disk, range)? == noise(number, 300_000), "the bytes came back as others");
    }
    disk.close()?;
    let listed = runtime.block_on(nbdgate_s3::list(location.root()))?;
    assert_eq!(listed.len(), 1);
    Ok(())
}

#[test]
fn a_disk_lives_in_s3() {
    let (_server, address) = Server::start(Trouble::default());
    let text = client(address, &format!("s3://{BUCKET}/some/prefix/disk"), KEY_ID);
    assert!(text.contains("outcome: fine"), "{text}");
}

#[test]
fn a_disk_survives_503s_stalls_and_cut_bodies() {
    let (server, address) = Server::start(Trouble { busy: 3, cut: 4, stall: 11, ..Trouble::default() });
    let text = client(address, &format!("s3://{BUCKET}/disk"), KEY_ID);
    assert!(text.contains("outcome: fine"), "{text}");
    assert!(server.troubles.load(Ordering::Relaxed) > 10, "there was hardly any trouble");
}

#[test]
fn wrong_keys_and_a_missing_bucket_say_what_to_do() {
    let (_server, address) = Server::start(Trouble::default());
    let text = client(address, &format!("s3://{BUCKET}/disk"), "BADKEY");
    assert!(text.contains("check the credentials in the environment"), "{text}");
    let text = client(address, "s3://elsewhere/disk", KEY_ID);
    assert!(text.contains("make the bucket first"), "{text}");
}

#[test]
fn every_way_to_say_that_a_name_is_taken_is_understood() {
    for quirk in [Quirk::AwsConflict, Quirk::Radosgw, Quirk::Minio, Quirk::NotModified] {
        let (_server, address) = Server::start(Trouble { quirk, ..Trouble::default() });
        let text = client(address, &format!("s3://{BUCKET}/disk"), KEY_ID);
        assert!(text.contains("outcome: fine"), "{quirk:?}: {text}");
    }
}

#[test]
fn a_server_that_ignores_the_condition_is_refused() {
    let (_server, address) = Server::start(Trouble { quirk: Quirk::Garage, ..Trouble::default() });
    let text = client(address, &format!("s3://{BUCKET}/disk"), KEY_ID);
    assert!(text.contains("fencing=advisory"), "{text}");
}

#[test]
fn keys_that_are_rotated_in_their_file_are_read_again() {
    let (server, address) = Server::start(Trouble { rotate: 6, ..Trouble::default() });
    let file = tempfile::NamedTempFile::new().unwrap();
    let keys = |id: &str| format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = TOPSECRET\n");
    std::fs::write(file.path(), keys(KEY_ID)).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let variables = [
        // The other name of the variable.
        ("AWS_ENDPOINT_URL", format!("http://{address}")),
        ("AWS_SHARED_CREDENTIALS_FILE", path.clone()),
    ];
    let url = format!("s3://{BUCKET}/disk");
    let using = std::thread::spawn(move || client_with(&url, &variables, false));
    server.until_refused();
    std::fs::write(&path, keys(NEW_KEY_ID)).unwrap();
    let text = using.join().unwrap();
    assert!(text.contains("outcome: fine"), "{text}");
}

#[test]
fn half_of_a_pair_of_keys_is_named() {
    let text = client_with(&format!("s3://{BUCKET}/disk"), &[("AWS_ACCESS_KEY_ID", "x".to_owned())], false);
    assert!(text.contains("AWS_SECRET_ACCESS_KEY is not"), "{text}");
}
