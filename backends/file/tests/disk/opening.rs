//! What can be wrong with an image, and who may open it at the same time.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::fs::FileTypeExt,
    path::Path,
    process::{Command, Stdio},
};

use nbdgate_api::{Backend, ByteRange, Kind, Op, wait};
use nbdgate_file::{FileDisk, OpenOptions};

use crate::support::{Place, open, open_direct, open_read_only};

fn refused(path: &Path, options: OpenOptions) -> (Kind, String) {
    let error = FileDisk::open(path, options).map(|_| ()).unwrap_err();
    (error.kind(), error.chain())
}

fn refused_text(path: &Path) -> String {
    refused(path, OpenOptions::default()).1
}

#[test]
fn a_missing_image_is_said_to_be_missing() {
    let place = Place::new();
    let path = place.path("nothing");
    let text = refused_text(&path);
    assert!(text.starts_with(&format!("cannot open {}: create it with a size, or check the path", path.display())));
    assert!(text.contains("No such file"), "{text}");
}

#[test]
fn what_is_not_an_image_is_said_to_be_what_it_is() {
    let place = Place::new();
    std::fs::create_dir(place.path("dir")).unwrap();
    assert!(refused_text(&place.path("dir")).ends_with("it is a directory, not an image or a block device"));
    let status = Command::new("mkfifo").arg(place.path("fifo")).status().unwrap();
    assert!(status.success() && std::fs::metadata(place.path("fifo")).unwrap().file_type().is_fifo());
    assert!(refused_text(&place.path("fifo")).contains("it is a named pipe"));
    let _listener = std::os::unix::net::UnixListener::bind(place.path("socket")).unwrap();
    assert!(refused_text(&place.path("socket")).contains("it is a socket"));
    assert!(refused_text(Path::new("/dev/zero")).contains("it is a character device"));
}

#[test]
fn no_permission_says_what_to_do() {
    // A file that nobody may write to, not even root.
    let (kind, text) = refused(Path::new("/sys/kernel/uevent_seqnum"), OpenOptions::default());
    assert_eq!(kind, Kind::Permission, "{text}");
    assert!(text.contains("give write permission, or export it read-only"), "{text}");
}

#[test]
fn a_created_image_is_sparse_and_has_its_size() {
    let place = Place::new();
    let path = place.path("new");
    let create = |size| OpenOptions { create_size: Some(size), ..OpenOptions::default() };
    let disk = FileDisk::open(&path, create(10 << 30)).unwrap();
    assert_eq!(disk.info().size, 10 << 30);
    wait::write(&disk, 5, b"kept".to_vec()).unwrap();
    disk.close().unwrap();
    assert!(std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path).unwrap()) < 1000);
    // Once more: it exists, with this size, and nothing is lost.
    let disk = FileDisk::open(&path, create(10 << 30)).unwrap();
    assert_eq!(wait::read(&disk, ByteRange::new(5, 4).unwrap()).unwrap(), b"kept");
    disk.close().unwrap();
    let (kind, text) = refused(&path, create(5 << 30));
    assert_eq!(kind, Kind::Invalid);
    assert!(text.contains("exists with 10737418240 bytes, not 5368709120"), "{text}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 10 << 30);
}

#[test]
fn an_image_that_cannot_be_sized_is_not_left_behind() {
    let place = Place::new();
    let path = place.path("huge");
    let options = OpenOptions { create_size: Some(u64::MAX / 2), ..OpenOptions::default() };
    let (kind, text) = refused(&path, options);
    assert_eq!(kind, Kind::NoSpace, "{text}");
    assert!(!path.exists());
}

#[test]
fn a_read_only_image_cannot_be_created() {
    let place = Place::new();
    let options = OpenOptions { read_only: true, create_size: Some(1), ..OpenOptions::default() };
    assert_eq!(refused(&place.path("new"), options).0, Kind::Invalid);
    assert!(!place.path("new").exists());
}

#[test]
fn one_writer_or_many_readers() {
    let place = Place::new();
    let path = place.sparse(4096);
    let writer = open(&path).unwrap();
    let (kind, text) = refused(&path, OpenOptions::default());
    assert_eq!(kind, Kind::Permission);
    assert!(text.ends_with("is being used by another process: stop it, or open both read-only"), "{text}");
    assert!(open_read_only(&path).is_err(), "no reader beside a writer");
    writer.close().unwrap();
    let readers = [open_read_only(&path).unwrap(), open_read_only(&path).unwrap()];
    assert!(open(&path).is_err(), "no writer beside readers");
    drop(readers);
    drop(open(&path).unwrap());
    open(&path).unwrap().close().unwrap();
}

/// The child runs this same test, told so by the variable, and reports what it may do by its exit status.
#[test]
fn another_process_is_kept_out() {
    const CHILD: &str = "NBDGATE_TEST_OPEN";
    if let Some(path) = std::env::var_os(CHILD) {
        let opened = open(Path::new(&path)).map(|disk| disk.close());
        std::process::exit(if opened.is_ok() { 10 } else { 11 });
    }
    let place = Place::new();
    let path = place.sparse(4096);
    let child = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "opening::another_process_is_kept_out"]).env(CHILD, &path);
        command.output().unwrap().status.code()
    };
    let writer = open(&path).unwrap();
    assert_eq!(child(), Some(11), "kept out");
    drop(writer);
    assert_eq!(child(), Some(10), "let in");
}

#[test]
fn qemu_and_nbdgate_keep_each_other_from_writing() {
    let place = Place::new();
    let path = place.sparse(1 << 20);
    let qemu = || {
        let mut command = Command::new("qemu-io");
        command.args(["-f", "raw"]).arg(&path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn()
    };
    let mut holder = match qemu() {
        Ok(child) => child,
        Err(error) => return println!("no qemu-io here: {error}"),
    };
    let (mut input, output) = (holder.stdin.take().unwrap(), BufReader::new(holder.stdout.take().unwrap()));
    writeln!(input, "write -P 7 0 512").unwrap();
    assert!(output.lines().any(|line| line.unwrap().contains("wrote 512/512")), "qemu has the image open");
    assert_eq!(refused(&path, OpenOptions::default()).0, Kind::Permission);
    assert!(open_read_only(&path).is_err(), "holes could not be trusted");
    drop(input);
    assert!(holder.wait().unwrap().success());
    let disk = open(&path).unwrap();
    assert_eq!(wait::read(&disk, ByteRange::new(0, 512).unwrap()).unwrap(), vec![7; 512]);
    let late = qemu().unwrap().wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&late.stderr).contains("Failed to get \"write\" lock"), "{late:?}");
}

#[test]
fn read_only_disks_read_and_offer_no_mutation() {
    let place = Place::new();
    let path = place.full(10_000, 8);
    let disk = open_read_only(&path).unwrap();
    let info = disk.info().clone();
    assert!(info.read_only && !info.capabilities.trim && !info.capabilities.write_zeroes && !info.capabilities.fua);
    assert_eq!(wait::read(&disk, ByteRange::new(0, 10_000).unwrap()).unwrap(), vec![8; 10_000]);
    wait::flush(&disk).unwrap();
    disk.close().unwrap();
}

#[test]
fn an_empty_image_can_be_opened() {
    let place = Place::new();
    let disk = open(&place.sparse(0)).unwrap();
    assert_eq!(disk.info().size, 0);
    wait::flush(&disk).unwrap();
    disk.close().unwrap();
}

#[test]
fn direct_io_asks_for_whole_blocks() {
    let place = Place::new();
    let disk = open_direct(&place.sparse(1 << 20)).unwrap();
    let minimum = disk.info().block.minimum;
    assert!(minimum >= 512 && minimum.is_power_of_two(), "{minimum}");
    assert!(!disk.info().capabilities.cache);
    drop(disk);
    let text = open_direct(&place.sparse(1_000_001)).map(|_| ()).unwrap_err().chain();
    assert!(text.contains("its size, 1000001 bytes, is not a multiple of"), "{text}");
}

#[test]
fn after_close_every_request_is_refused() {
    let place = Place::new();
    let disk = open(&place.sparse(4096)).unwrap();
    disk.close().unwrap();
    let read = wait::call(&disk, Op::Read(ByteRange::new(0, 1).unwrap()));
    assert_eq!(read.outcome.unwrap_err().kind(), Kind::Shutdown);
    assert_eq!(wait::write(&disk, 0, vec![1]).unwrap_err().kind(), Kind::Shutdown);
    assert_eq!(wait::flush(&disk).unwrap_err().kind(), Kind::Shutdown);
}
