//! A full file system: writes end with no space, reads and flushes go on, and room makes writes work again.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use nbdgate_api::{Error, Kind, wait};
use nbdgate_rocksdb::RocksDisk;

use crate::support::{Place, again, close, copy, crash, levels, noise, read, wait_for, write};

const LENGTH: usize = 16 << 10;
const EXTENT: u64 = LENGTH as u64;
/// Bytes of the small file system.
const ROOM: u64 = 320 << 20;
/// Bytes that another program takes of it.
const BALLAST: usize = 48 << 20;
const SIZE: u64 = 1 << 30;

/// Where the small file system is; set for the process that a test starts in a mount namespace of its own.
const SMALL: &str = "NBDGATE_TEST_SMALL";
const CANNOT_MOUNT: i32 = 77;

/// Runs the test of this name again, as a process that sees a small file system; that process gets its path.
fn on_a_small_file_system(test: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(SMALL) {
        return Some(path.into());
    }
    let place = tempfile::tempdir().unwrap();
    let script = format!(r#"mount -t tmpfs -o size={ROOM} none "${SMALL}" || exit {CANNOT_MOUNT}; exec "$0" "$@""#);
    let mut launcher = Command::new("unshare");
    launcher.args(["-rm", "sh", "-c", &script]).arg(std::env::current_exe().unwrap());
    let output = again(launcher, test, SMALL, place.path());
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.code() == Some(CANNOT_MOUNT) || output.stdout.is_empty() && !output.status.success() {
        println!("no mounts here: {}", told(&output.stderr));
    } else {
        println!("{}", told(&output.stdout));
        assert!(output.status.success(), "{}\n{}", told(&output.stdout), told(&output.stderr));
    }
    None
}

/// Takes so many bytes of the file system, or all that are left.
fn ballast(path: &Path, length: usize) {
    let mut file = File::create(path).unwrap();
    let block = vec![1; 64 << 10];
    for _ in 0..length / block.len() {
        if file.write_all(&block).is_err() {
            break;
        }
    }
}

/// Writes extents from `from` on until one fails: how many went well, and the failure.
fn fill(disk: &RocksDisk, from: u64) -> (u64, Error) {
    for index in from..SIZE / EXTENT {
        if let Err(error) = wait::write(disk, index * EXTENT, noise(index, LENGTH)) {
            return (index, error);
        }
    }
    panic!("{SIZE} bytes found room in {ROOM}");
}

#[track_caller]
fn check(disk: &RocksDisk, written: u64) {
    for index in 0..written {
        assert!(read(disk, index * EXTENT, EXTENT) == noise(index, LENGTH), "extent {index} of {written}");
    }
}

/// Waits until writes go well again.
#[track_caller]
fn recovers(disk: &RocksDisk, at: u64) {
    let start = Instant::now();
    wait_for("a write that goes well", || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        wait::write(disk, at * EXTENT, noise(at, LENGTH)).is_ok()
    });
    println!("writes go well {:?} after there is room", start.elapsed());
}

#[test]
fn a_disk_that_fills_its_file_system_goes_on_when_there_is_room() {
    let test = "full::a_disk_that_fills_its_file_system_goes_on_when_there_is_room";
    let Some(small) = on_a_small_file_system(test) else { return };
    let place = Place::new();
    let path = small.join("disk");
    ballast(&small.join("ballast"), BALLAST);
    let disk = place.create(&path, SIZE, 16 << 10);
    let (written, error) = fill(&disk, 0);
    println!("{written} extents, then {}", error.chain());
    assert_eq!(error.kind(), Kind::NoSpace, "{}", error.chain());
    check(&disk, written);
    let flushed = wait::flush(&disk);
    println!("flush: {:?}", flushed.as_ref().map_err(Error::chain));
    flushed.unwrap_or_else(|error| panic!("a full disk loses nothing: {}", error.chain()));
    assert!(!levels(&disk).latched);
    // Whatever is tried meanwhile.
    for index in written..written + 10 {
        assert_eq!(wait::write(&disk, index * EXTENT, noise(index, LENGTH)).unwrap_err().kind(), Kind::NoSpace);
    }
    check(&disk, written);
    std::fs::remove_file(small.join("ballast")).unwrap();
    recovers(&disk, written);
    check(&disk, written + 1);
    wait::flush(&disk).unwrap();
    crash(disk);
    let disk = place.open(&path);
    check(&disk, written + 1);
    close(disk);
    let disk = place.open(&path);
    check(&disk, written + 1);
    close(disk);
}

#[test]
fn a_file_system_that_others_fill_is_no_loss() {
    let Some(small) = on_a_small_file_system("full::a_file_system_that_others_fill_is_no_loss") else { return };
    let place = Place::new();
    let path = small.join("disk");
    let disk = place.create(&path, SIZE, 16 << 10);
    (0..100).for_each(|index| write(&disk, index * EXTENT, noise(index, LENGTH)));
    // All of it, while writes go on.
    let (written, error) = std::thread::scope(|scope| {
        let filling = scope.spawn(|| fill(&disk, 100));
        ballast(&small.join("ballast"), usize::try_from(ROOM).unwrap());
        filling.join().unwrap()
    });
    assert_eq!(error.kind(), Kind::NoSpace, "{}", error.chain());
    wait::flush(&disk).unwrap_or_else(|error| panic!("a full disk loses nothing: {}", error.chain()));
    check(&disk, written);
    // A crash of the process now loses nothing that was acknowledged; a copy is opened where there is room.
    let copied = place.path();
    copy(&path, &copied);
    let other = place.open(&copied);
    check(&other, written);
    close(other);
    std::fs::remove_file(small.join("ballast")).unwrap();
    recovers(&disk, written);
    check(&disk, written + 1);
    close(disk);
    let disk = place.open(&path);
    check(&disk, written + 1);
    close(disk);
}

#[test]
fn a_disk_on_a_full_file_system_can_be_closed_and_opened_again() {
    let test = "full::a_disk_on_a_full_file_system_can_be_closed_and_opened_again";
    let Some(small) = on_a_small_file_system(test) else { return };
    let place = Place::new();
    let path = small.join("disk");
    let disk = place.create(&path, SIZE, 16 << 10);
    ballast(&small.join("ballast"), BALLAST);
    let (written, _) = fill(&disk, 0);
    // It may not be able to write its tables; that loses nothing.
    close(disk);
    match RocksDisk::open(&path, &place.options()) {
        Ok(disk) => check(&disk, written),
        Err(error) => assert_eq!(error.kind(), Kind::NoSpace, "{}", error.chain()),
    }
    std::fs::remove_file(small.join("ballast")).unwrap();
    let disk = place.open(&path);
    check(&disk, written);
    write(&disk, written * EXTENT, noise(written, LENGTH));
    check(&disk, written + 1);
    close(disk);
}
