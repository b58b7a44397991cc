//! A gateway on a directory bucket that is killed in the midst of its writes: no half object is ever seen.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use nbdgate_api::{ByteRange, wait};
use nbdgate_s3::{Location, OnUnclean, OpenOptions};

use crate::setup::{BLOCK, create, noise, open, options};

/// The location for the child; set by this test alone.
const LOCATION: &str = "NBDGATE_TEST_KILLED";

/// The other process: writes and flushes until it is killed, and says how far it is. Nothing to do by itself.
#[test]
fn child() {
    let Ok(location) = std::env::var(LOCATION) else { return };
    let location: Location = location.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let disk = runtime.block_on(open(&location)).unwrap();
    for number in 0..10_000 {
        wait::write(&disk, number % 64 * BLOCK, noise(number, BLOCK)).unwrap();
        wait::flush(&disk).unwrap();
        println!("flushed {number}");
    }
}

#[test]
fn what_was_flushed_is_there_after_a_kill_and_nothing_is_half() {
    for round in 0..4 {
        let directory = tempfile::tempdir().unwrap();
        let text = format!("dir:{}/bucket/disk", directory.path().display());
        let location: Location = text.parse().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(create(&location, 64 * BLOCK));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["killed::child", "--exact", "--nocapture", "--test-threads=1"])
            .env(LOCATION, &text)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let numbers = lines.filter_map(|line| line.strip_prefix("flushed ")?.parse::<u64>().ok());
        // Killed at once after a line, in the midst of the next write.
        let last = numbers.take(5 + 7 * round).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let options = OpenOptions { on_unclean: OnUnclean::Serve, ..options() };
        let disk = runtime.block_on(nbdgate_s3::open(&location, options));
        let disk = disk.unwrap_or_else(|error| panic!("round {round}: {}", error.chain()));
        for number in 0..=last {
            // At most a few more were flushed than were told.
            let range = ByteRange::new(number % 64 * BLOCK, BLOCK).unwrap();
            let seen = wait::read(&disk, range).unwrap();
            let possible = (number..number + 3 * 64).step_by(64);
            assert!(possible.map(|n| noise(n, BLOCK)).any(|bytes| bytes == seen), "round {round}: block {number}");
        }
        runtime.block_on(disk.shutdown()).unwrap();
    }
}
