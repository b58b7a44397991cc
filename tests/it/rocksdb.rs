//! Disks in RocksDB as exports: how they come to be, their snapshots, and what is measured of them.

use std::{fs, path::Path};

use crate::{
    client::Client,
    gateway::{Gateway, Transport},
    metrics::scrape,
    process::{args, nbdgate, run},
    setup::{Engine, Setup, Storage},
};

const SIZE: u64 = 16 << 20;
/// How often something is looked for that is about to go.
const LOOKS: u32 = 10_000;

/// A disk whose first 64 KiB are of one byte.
fn disk(byte: u8) -> Setup {
    let setup = Setup::new(Storage::RocksDb, Engine::Epoll, SIZE);
    let gateway = setup.serve();
    Client::enter(gateway.connect()).expect("served").write(0, &vec![byte; 64 << 10]).expect("written");
    gateway.stop();
    setup
}

/// Takes a snapshot of a disk at rest.
fn snapshot(disk: &Path, name: &str) {
    nbdgate(args!["disk", "snapshot", "create", format!("rocksdb:{}", disk.display()), name]).ok();
}

/// Copies the database of a disk at rest.
fn copy(disk: &Path, copy: &Path) {
    fs::create_dir_all(copy).expect("a directory");
    for entry in fs::read_dir(disk.join("db")).expect("a database") {
        let path = entry.expect("a file").path();
        fs::copy(&path, copy.join(path.file_name().expect("a name"))).expect("copied");
    }
}

fn serve(setup: &Setup, exports: &[&str]) -> Gateway {
    let exports: Vec<_> = exports.iter().map(|export| format!("--export={export}")).collect();
    let flags: Vec<_> = exports.iter().map(String::as_str).chain(["--metrics=127.0.0.1:0"]).collect();
    Gateway::start(setup.folder(), &flags)
}

/// What qemu-io says to reading the first 64 KiB of an export, which must be of one byte.
fn read(gateway: &Gateway, export: &str, byte: u8) -> crate::process::Ran {
    let uri = gateway.uri_of(Transport::Unix, export);
    run("qemu-io", args!["-r", "-f", "raw", "-c", format!("read -P {byte} 0 64k"), uri])
}

#[test]
fn a_disk_that_is_made_by_its_uri_must_stay_as_it_is() {
    let setup = disk(7);
    let at = format!("rocksdb:{}", setup.path("disk").display());
    for (uri, word) in [
        (format!("{at}?size=32M"), "exists"),
        (format!("{at},size=16M,extent=4K"), "exists"),
        (format!("{at}?size=16M&compression=zstd"), "exists"),
        (format!("rocksdb:{},readonly", setup.path("missing").display()), "missing"),
        (format!("rocksdb:{}?size=1M", setup.folder().display()), "something else"),
    ] {
        let socket = format!("--listen=unix:{}", setup.path("own.sock").display());
        let ran = nbdgate(args!["serve", socket, format!("--export=vm={uri}")]);
        assert_eq!(ran.code, Some(1), "{uri}: {ran}");
        assert!(ran.stderr.contains("cannot open export \"vm\"") && ran.stderr.contains(word), "{uri}: {ran}");
    }
    assert!(!setup.path("missing").exists(), "a reader makes no disk");
    let gateway = serve(&setup, &[&format!("vm={at},size=16M,extent=16K,compression=lz4")]);
    read(&gateway, "vm", 7).ok();
    gateway.stop();
    // What is not asked for is as it is.
    let small = format!("rocksdb:{}?size=1M", setup.path("small").display());
    serve(&setup, &[&format!("vm={small}&extent=4K&compression=none")]).stop();
    serve(&setup, &[&format!("vm={small}")]).stop();
}

#[test]
fn readers_of_one_disk_may_be_many() {
    let setup = disk(7);
    let at = format!("rocksdb:{}", setup.path("disk").display());
    let gateway = serve(&setup, &[&format!("a={at},readonly"), &format!("b={at},readonly")]);
    for export in ["a", "b"] {
        read(&gateway, export, 7).ok();
    }
    gateway.stop();
}

#[test]
fn a_snapshot_is_served_by_option_and_by_name_next_to_its_disk() {
    let setup = disk(7);
    snapshot(&setup.path("disk"), "monday");
    let at = format!("rocksdb:{}", setup.path("disk").display());
    let gateway = serve(&setup, &[&format!("vm={at}"), &format!("old={at},snapshot=monday")]);
    let write = |export: &str, byte: u8| {
        let uri = gateway.uri_of(Transport::Unix, export);
        run("qemu-io", args!["-f", "raw", "-c", format!("write -P {byte} 0 64k"), uri])
    };
    write("vm", 9).ok();
    for (export, byte) in [("vm", 9), ("vm@monday", 7), ("old", 7)] {
        read(&gateway, export, byte).ok();
    }
    for export in ["vm@monday", "old"] {
        write(export, 1).failed();
        read(&gateway, export, 7).ok();
    }
    gateway.stop();
}

#[test]
fn a_client_gets_no_snapshot_but_those_of_the_disk() {
    let setup = disk(7);
    snapshot(&setup.path("disk"), "monday");
    // Reached by a path, it would be a snapshot.
    copy(&setup.path("disk"), &setup.path("other/snapshots/secret"));
    let at = format!("rocksdb:{}", setup.path("disk").display());
    let gateway = serve(&setup, &[&format!("vm={at}"), &format!("old={at},snapshot=monday"), "mem=mem:1M"]);
    let paths = ["vm@../../other/snapshots/secret", "vm@..%2F..%2Fother%2Fsnapshots%2Fsecret", "vm@../db", "vm@."];
    for export in paths.into_iter().chain(["vm@sunday", "vm@", "old@monday", "mem@monday"]) {
        read(&gateway, export, 7).failed();
    }
    read(&gateway, "vm@monday", 7).ok();
    gateway.stop();
}

#[test]
fn what_disks_do_is_measured_for_as_long_as_they_are_open() {
    let setup = disk(7);
    snapshot(&setup.path("disk"), "monday");
    let at = format!("rocksdb:{}", setup.path("disk").display());
    let memory = ["--rocksdb-cache=16M", "--rocksdb-memory=24M", "--metrics=127.0.0.1:0"];
    let gateway = Gateway::start(setup.folder(), &[&[format!("--export=={at}").as_str()], &memory[..]].concat());
    let mut client = Client::enter(gateway.connect()).expect("served");
    for number in 0..10 {
        client.write(number * 4096, &[1; 4096]).expect("written");
    }
    client.flush().expect("flushed");
    client.read(0, 4096).expect("read");
    let told = scrape(&gateway);
    for (series, value) in [
        (r#"nbdgate_rocksdb_size_bytes{export=""}"#, SIZE as f64),
        (r#"nbdgate_rocksdb_allocated_bytes{export=""}"#, f64::from(64 << 10)),
        (r#"nbdgate_rocksdb_written_bytes_total{export="",stage="client"}"#, 40960.0),
        (r#"nbdgate_rocksdb_latched{export=""}"#, 0.0),
        ("nbdgate_rocksdb_cache_size_bytes", f64::from(16 << 20)),
        ("nbdgate_rocksdb_write_memory_budget_bytes", f64::from(24 << 20)),
    ] {
        assert_eq!(told.get(series), Some(&value), "{series} in {told:#?}");
    }
    for series in [r#"nbdgate_rocksdb_wal_syncs_total{export=""}"#, r#"nbdgate_rocksdb_batches_total{export=""}"#] {
        assert!(told.get(series).is_some_and(|&count| count >= 1.0), "{series} in {told:#?}");
    }
    drop(client);
    gateway.stop();
}

#[test]
fn the_series_of_a_snapshot_leave_with_its_last_client() {
    let setup = disk(7);
    snapshot(&setup.path("disk"), "monday");
    let gateway = serve(&setup, &[&format!("vm=rocksdb:{}", setup.path("disk").display())]);
    let is_shown = |export: &str| {
        let label = format!("{{export=\"{export}\"");
        scrape(&gateway).keys().any(|series| series.starts_with("nbdgate_rocksdb_") && series.contains(&label))
    };
    assert!(is_shown("vm") && !is_shown("vm@monday"), "nobody asked for it");
    let mut client = Client::enter_export(gateway.connect(), "vm@monday").expect("served");
    assert_eq!(client.read(0, 512).expect("read"), [7; 512]);
    assert!(is_shown("vm@monday"));
    drop(client);
    // It is closed after the connection has ended.
    let left = (0..LOOKS).any(|_| !is_shown("vm@monday"));
    assert!(left && is_shown("vm"));
    gateway.stop();
}
