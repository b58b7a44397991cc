//! A gateway whose RocksDB disk fills its file system: clients are told so, what they wrote before is there and can be
//! flushed, and room makes writes work again, under the same gateway.

use std::{io, path::PathBuf, process::Command};

use crate::{
    client::{Client, stamped},
    gateway::Gateway,
    setup::{Engine, Setup, Storage},
};

const SIZE: u64 = 1 << 30;
const ROOM: u64 = 192 << 20;
/// Bytes that something else takes of the file system.
const BALLAST: u64 = 64 << 20;
const LENGTH: usize = 64 << 10;

/// Writes from an offset on until a write fails, and says where and how.
fn fill(client: &mut Client, from: u64) -> (u64, io::Error) {
    for offset in (from..SIZE).step_by(LENGTH) {
        if let Err(error) = client.write(offset, &stamped(offset + 1, LENGTH)) {
            return (offset, error);
        }
    }
    panic!("{SIZE} bytes found room in {ROOM}");
}

#[test]
fn a_full_file_system_is_enospc_and_room_makes_writes_work_again() {
    let setup = Setup::new(Storage::RocksDb, Engine::Epoll, SIZE);
    let small = setup.path("small");
    std::fs::create_dir(&small).expect("a folder");
    // A small file system in a mount namespace of the gateway's own, which ends with it.
    let (enter, at) = (["--mount", "--user", "--map-root-user"], small.display());
    let mount = format!(
        "mount -t tmpfs -o size={ROOM} none '{at}' && head -c {BALLAST} /dev/zero >'{at}/ballast' && exec \"$0\" \"$@\""
    );
    let allowed = Command::new("unshare").args(enter).args(["sh", "-c", &mount, "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        println!("no mounts here");
        return;
    }
    let mut launcher = Command::new("unshare");
    launcher.args(enter).args(["sh", "-c", &mount, env!("CARGO_BIN_EXE_nbdgate")]);
    let export = format!("--export==rocksdb:{}?size={SIZE}&compression=none", small.join("disk").display());
    let gateway = Gateway::start_by(launcher, setup.folder(), &[&export, setup.engine.flag()]);
    let mut client = Client::enter(gateway.connect()).expect("served");
    let (end, error) = fill(&mut client, 0);
    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    assert!((4 << 20..ROOM).contains(&end), "{end} bytes found room");
    client.flush().expect("what was acknowledged can be flushed");
    client.read(end, LENGTH).expect("what was refused can be read");
    for offset in (0..end).step_by(LENGTH) {
        assert!(client.read(offset, LENGTH).expect("readable") == stamped(offset + 1, LENGTH), "at {offset}");
    }
    client.trim(0, 1 << 20).expect("what is not needed can be given back");
    let inside: PathBuf = format!("/proc/{}/root{at}/ballast", gateway.pid().as_raw_nonzero()).into();
    std::fs::remove_file(inside).expect("room is made");
    let (further, _) = fill(&mut client, end);
    assert!(further > end, "the same gateway uses it");
    client.flush().expect("flushed");
    assert_eq!(client.read(0, LENGTH).expect("readable"), vec![0; LENGTH]);
    for offset in (1 << 20..further).step_by(LENGTH) {
        assert!(client.read(offset, LENGTH).expect("readable") == stamped(offset + 1, LENGTH), "at {offset}");
    }
    gateway.stop();
}
