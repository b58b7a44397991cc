//! Storage that fails below a running gateway: the client is told what happened, and the gateway stays.

use std::{fs::File, io, os::unix::fs::FileExt, process::Command};

use crate::{
    client::{Client, stamped},
    gateway::Gateway,
    setup::{Engine, Setup, Storage},
};

on_every_engine! {
    a_full_file_system_is_enospc_and_room_makes_it_work_again,
    a_limit_on_file_size_is_enospc,
    an_image_cut_short_below_the_gateway_is_an_error_and_no_end,
}

const SIZE: u64 = 64 << 20;
const ROOM: u64 = 8 << 20;
const LENGTH: usize = 64 << 10;

/// Writes from the start of the disk until a write fails, and says where and how.
fn fill(client: &mut Client) -> (u64, io::Error) {
    for offset in (0..SIZE).step_by(LENGTH) {
        if let Err(error) = client.write(offset, &stamped(5, LENGTH)) {
            return (offset, error);
        }
    }
    panic!("{SIZE} bytes found room in {ROOM}");
}

fn a_full_file_system_is_enospc_and_room_makes_it_work_again(engine: Engine) {
    let setup = Setup::new(Storage::Memory, engine, SIZE);
    let small = setup.path("small");
    std::fs::create_dir(&small).expect("a folder");
    // A small file system in a mount namespace of the gateway's own, which ends with it. Where containers forbid
    // that, the limit on file size below is what remains, and it takes the same path through the backend.
    let enter = ["--mount", "--user", "--map-root-user"];
    let mount = format!("mount -t tmpfs -o size={ROOM} none '{}' && exec \"$0\" \"$@\"", small.display());
    let allowed = Command::new("unshare").args(enter).args(["sh", "-c", &mount, "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        println!("no mounts here");
        return a_limit_on_file_size_is_enospc(engine);
    }
    let mut launcher = Command::new("unshare");
    launcher.args(enter).args(["sh", "-c", &mount, env!("CARGO_BIN_EXE_nbdgate")]);
    let export = format!("--export==file:{},size={SIZE}", small.join("disk.img").display());
    let gateway = Gateway::start_by(launcher, setup.folder(), &[&export, setup.engine.flag()]);
    let mut client = Client::enter(gateway.connect()).expect("served");
    let (offset, error) = fill(&mut client);
    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    assert!(offset <= ROOM, "{offset}");
    assert_eq!(client.read(0, LENGTH).expect("what is there can be read"), stamped(5, LENGTH));
    client.flush().expect("what was acknowledged can be flushed");
    client.trim(0, 1 << 20).expect("room is made");
    client.write(offset, &stamped(6, LENGTH)).expect("and used");
    assert_eq!(client.read(offset, LENGTH).expect("read"), stamped(6, LENGTH));
    gateway.stop();
}

fn a_limit_on_file_size_is_enospc(engine: Engine) {
    let setup = Setup::new(Storage::File, engine, SIZE);
    let mut launcher = Command::new("prlimit");
    launcher.args([format!("--fsize={ROOM}"), env!("CARGO_BIN_EXE_nbdgate").to_owned()]);
    let export = format!("--export=={}", setup.uri());
    let gateway = Gateway::start_by(launcher, setup.folder(), &[&export, setup.engine.flag()]);
    let mut client = Client::enter(gateway.connect()).expect("served");
    let (offset, error) = fill(&mut client);
    assert_eq!((offset, error.kind()), (ROOM, io::ErrorKind::StorageFull), "{error}");
    client.flush().expect("what was acknowledged can be flushed");
    assert_eq!(client.read(offset - 512, 512).expect("read"), stamped(5, 512));
    client.write(0, &stamped(6, LENGTH)).expect("there is room below the limit");
    gateway.stop();
}

fn an_image_cut_short_below_the_gateway_is_an_error_and_no_end(engine: Engine) {
    let setup = Setup::new(Storage::File, engine, 1 << 20);
    let image = File::options().write(true).open(setup.path("disk.img")).expect("the image");
    image.write_all_at(&stamped(5, 1 << 20), 0).expect("data");
    let gateway = setup.serve();
    let mut client = Client::enter(gateway.connect()).expect("served");
    image.set_len(512 << 10).expect("cut");
    assert_eq!(client.read(0, 4096).expect("what is there"), stamped(5, 4096));
    client.read(768 << 10, 4096).expect_err("what is not there is not made up");
    assert_eq!(client.read(4096, 4096).expect("the connection goes on"), stamped(5, 4096));
    drop(client);
    gateway.stop();
}
