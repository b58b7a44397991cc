//! Snapshots of disks in the object log as clients see them: as exports, and as dirty bitmaps.

use std::fs;

use nbdgate_s3::{Location, OnUnclean, OpenOptions, SnapshotInfo, admin};

use crate::{
    gateway::{Gateway, TRANSPORTS, Transport},
    image::Image,
    process::{args, run},
    python::check,
    setup::{Engine, Setup, Storage},
};

/// Takes a snapshot of a disk that nobody serves.
fn snapshot(setup: &Setup, name: &str) -> SnapshotInfo {
    let location: Location = setup.uri().parse().expect("a location");
    let options = OpenOptions { on_unclean: OnUnclean::Serve, ..OpenOptions::default() };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(admin::snapshot(&location, name, &options)).expect("a snapshot")
}

/// An export with a name, because snapshots are asked for by it.
fn serve(setup: &Setup, options: &str) -> Gateway {
    let export = format!("--export=vm={}{options}", setup.uri());
    Gateway::start(setup.folder(), &[&export, setup.engine.flag()])
}

fn disk(engine: Engine) -> (Setup, Image) {
    let image = Image::patchy();
    let setup = Setup::new(Storage::ObjectLog, engine, image.size());
    let source = setup.path("source.img");
    image.write_to(&source);
    let gateway = serve(&setup, "");
    run("qemu-img", args!["convert", "-n", "-f", "raw", "-O", "raw", source, named(&gateway, "vm")]).ok();
    gateway.stop();
    (setup, image)
}

/// The URI of an export by its name.
fn named(gateway: &Gateway, export: &str) -> String {
    gateway.uri_of(Transport::Unix, export)
}

#[test]
fn an_incremental_backup_by_dirty_bitmap_restores_byte_for_byte() {
    let (setup, image) = disk(Engine::Epoll);
    snapshot(&setup, "monday");
    let backup = setup.path("backup.img");
    image.write_to(&backup);
    let gateway = serve(&setup, "");
    let write = |pattern: &str, at: &str, length: &str| {
        let command = format!("write -P {pattern} {at} {length}");
        run("qemu-io", args!["-f", "raw", "-c", command, named(&gateway, "vm")]).ok();
    };
    write("0x11", "12345", "1000");
    write("0x22", "1M", "300k");
    run("qemu-io", args!["-f", "raw", "-c", "discard 64k 64k", named(&gateway, "vm")]).ok();
    for transport in TRANSPORTS {
        // A backup made twice is the same backup.
        check("incremental.py", args![gateway.uri_of(transport, "vm"), backup, "monday", (1 << 19).to_string()]);
        run("qemu-img", args!["compare", "-f", "raw", "-F", "raw", backup, named(&gateway, "vm")]).ok();
    }
    gateway.stop();
    // Between two snapshots too.
    snapshot(&setup, "tuesday");
    let gateway = serve(&setup, "");
    image.write_to(&backup);
    run("qemu-io", args!["-f", "raw", "-c", "write -P 0x33 0 64k", named(&gateway, "vm")]).ok();
    check("incremental.py", args![named(&gateway, "vm@tuesday"), backup, "monday", (1 << 19).to_string()]);
    run("qemu-img", args!["compare", "-f", "raw", "-F", "raw", backup, named(&gateway, "vm@tuesday")]).ok();
    gateway.stop();
}

#[test]
fn qemu_reads_a_dirty_bitmap_of_a_snapshot() {
    let (setup, _) = disk(Engine::Epoll);
    snapshot(&setup, "monday");
    let gateway = serve(&setup, "");
    run("qemu-io", args!["-f", "raw", "-c", "write -P 7 1M 64k", named(&gateway, "vm")]).ok();
    let options = format!(
        "driver=nbd,server.type=unix,server.path={},export=vm,x-dirty-bitmap=qemu:dirty-bitmap:monday",
        setup.path("nbd.sock").display()
    );
    let told = run("qemu-img", args!["map", "--output=json", "--image-opts", options]).ok();
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    // QEMU tells a dirty stretch as one without data.
    let extents = told.as_array().expect("a list").iter();
    let dirty: Vec<_> = extents.filter(|extent| extent["data"] == false).collect();
    assert_eq!(dirty.len(), 1, "{told}");
    assert_eq!((dirty[0]["start"].as_u64(), dirty[0]["length"].as_u64()), (Some(1 << 20), Some(64 << 10)));
    gateway.stop();
}

#[test]
fn a_snapshot_is_served_by_option_and_by_name_next_to_its_disk() {
    let (setup, image) = disk(Engine::Epoll);
    snapshot(&setup, "monday");
    let old = setup.path("old.img");
    let gateway = serve(&setup, "");
    run("qemu-io", args!["-f", "raw", "-c", "write -P 7 0 1M", named(&gateway, "vm")]).ok();
    let by_name = named(&gateway, "vm@monday");
    run("qemu-img", args!["convert", "-f", "raw", "-O", "raw", by_name, old]).ok();
    assert!(fs::read(&old).expect("readable") == image.bytes(), "vm@monday gave other bytes");
    let refused = run("qemu-io", args!["-f", "raw", "-c", "write -P 7 0 4k", by_name]);
    assert_ne!(refused.code, Some(0), "a snapshot was written");
    let unknown = run("qemu-img", args!["info", "-f", "raw", named(&gateway, "vm@sunday")]);
    assert_ne!(unknown.code, Some(0), "there is no such snapshot");
    gateway.stop();
    let gateway = serve(&setup, ",snapshot=monday");
    run("qemu-img", args!["convert", "-f", "raw", "-O", "raw", named(&gateway, "vm"), old]).ok();
    assert!(fs::read(&old).expect("readable") == image.bytes(), "the export of the snapshot gave other bytes");
    gateway.stop();
}
