//! Clones: writable, independent, and sharing what they can.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use nbdgate_api::Backend;
use nbdgate_rocksdb::NoProgress;
use nbdgate_rocksdb::admin::{clone, remove, remove_snapshot, snapshot, snapshots};

use super::{MIB, Place, info, names_with, noise, open, read, read_snapshot, write};

fn origin(place: &Place) -> (std::path::PathBuf, Vec<u8>) {
    let path = place.disk("vm", 4 * MIB);
    let bytes = noise(20, 4 * MIB);
    write(&path, 0, &bytes);
    snapshot(&path, "monday").unwrap();
    (path, bytes)
}

#[test]
fn a_clone_and_its_origin_are_written_without_the_other_noticing() {
    let place = Place::new();
    let (path, bytes) = origin(&place);
    let copy = place.path("copy");
    let cloned = clone(&path, "monday", &copy).unwrap();
    assert!(read(&copy) == bytes);
    write(&copy, MIB, &noise(21, MIB));
    write(&path, 2 * MIB, &noise(22, MIB));
    let mut expected = bytes.clone();
    expected[1 << 20..2 << 20].copy_from_slice(&noise(21, MIB));
    assert!(read(&copy) == expected);
    let mut expected = bytes.clone();
    expected[2 << 20..3 << 20].copy_from_slice(&noise(22, MIB));
    assert!(read(&path) == expected);
    assert!(read_snapshot(&path, "monday") == bytes);
    assert_ne!(cloned.disk.uuid, info(&path).uuid, "a disk of its own");
    let parent = info(&copy).parent.unwrap();
    assert!(parent.ends_with("/vm@monday"), "{parent}");
    assert_eq!((cloned.disk.size, cloned.disk.snapshots), (4 * MIB, 0));
}

#[test]
fn a_clone_outlives_the_snapshot_and_the_disk_that_it_is_from() {
    let place = Place::new();
    let (path, bytes) = origin(&place);
    let copy = place.path("copy");
    clone(&path, "monday", &copy).unwrap();
    remove_snapshot(&path, "monday").unwrap();
    remove(&path, &NoProgress).unwrap();
    assert_eq!(place.names(), ["copy"]);
    assert!(read(&copy) == bytes);
    write(&copy, 0, &noise(23, 4 * MIB));
    assert!(read(&copy) == noise(23, 4 * MIB));
}

#[test]
fn a_clone_has_snapshots_and_clones_of_its_own() {
    let place = Place::new();
    let (path, bytes) = origin(&place);
    let (copy, second) = (place.path("copy"), place.path("second"));
    clone(&path, "monday", &copy).unwrap();
    write(&copy, 0, &noise(24, MIB));
    let taken = snapshot(&copy, "tuesday").unwrap();
    assert!(taken.created_unix_ms >= snapshots(&path).unwrap()[0].created_unix_ms);
    clone(&copy, "tuesday", &second).unwrap();
    assert!(read(&second)[..1 << 20] == noise(24, MIB) && read(&second)[1 << 20..] == bytes[1 << 20..]);
    assert!(info(&second).parent.unwrap().ends_with("/copy@tuesday"));
}

#[test]
fn a_clone_on_the_same_file_system_shares_all_data() {
    let place = Place::new();
    let (path, _) = origin(&place);
    let cloned = clone(&path, "monday", &place.path("copy")).unwrap();
    assert_eq!(cloned.copied, 0);
    let snapshot = path.join("snapshots/monday");
    let blobs = names_with(&snapshot, "blob");
    assert!(!blobs.is_empty(), "the data is in blob files");
    for name in blobs {
        let inode = |path: &Path| fs::metadata(path.join(&name)).unwrap().ino();
        assert_eq!(inode(&snapshot), inode(&place.path("copy/db")), "{name}");
    }
}

#[test]
fn a_clone_on_another_file_system_is_copied_and_says_so() {
    let place = Place::new();
    let (path, bytes) = origin(&place);
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    let is_elsewhere = device(elsewhere.path()) != device(&path);
    let copy = elsewhere.path().join("copy");
    let cloned = clone(&path, "monday", &copy).unwrap();
    assert_eq!(cloned.copied >= 4 * MIB, is_elsewhere, "{} bytes were copied", cloned.copied);
    assert!(read(&copy) == bytes);
}

#[test]
fn a_clone_can_be_made_while_the_disk_is_served() {
    let place = Place::new();
    let (path, bytes) = origin(&place);
    let disk = open(&path);
    clone(&path, "monday", &place.path("copy")).unwrap();
    disk.close().unwrap();
    assert!(read(&place.path("copy")) == bytes);
}

#[test]
fn a_clone_that_cannot_be_made_leaves_everything_as_it_was() {
    let place = Place::new();
    let (path, bytes) = origin(&place);
    let other = place.disk("other", MIB);
    let refused = clone(&path, "monday", &other).unwrap_err().to_string();
    assert!(refused.contains("exists already"), "{refused}");
    let missing = clone(&path, "tuesday", &place.path("copy")).unwrap_err().to_string();
    assert!(missing.contains("no snapshot `tuesday`: it has monday"), "{missing}");
    fs::write(place.path("file"), "precious").unwrap();
    assert!(clone(&path, "monday", &place.path("file")).is_err());
    assert!(clone(&path, "monday", &place.path("missing/copy")).is_err());
    // A damaged snapshot: its tables are not all there.
    let snapshot = path.join("snapshots/monday");
    let table = names_with(&snapshot, "sst").remove(0);
    fs::rename(snapshot.join(&table), place.path("table")).unwrap();
    assert!(clone(&path, "monday", &place.path("copy")).is_err());
    fs::rename(place.path("table"), snapshot.join(&table)).unwrap();
    assert_eq!(place.names(), ["file", "other", "vm"]);
    assert_eq!(fs::read(place.path("file")).unwrap(), b"precious");
    assert!(read(&path) == bytes && info(&other).allocated == 0);
}
