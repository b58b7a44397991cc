//! Removal: all of the disk, and nothing else.

use std::{fs, sync::atomic::AtomicU64, sync::atomic::Ordering::Relaxed};

use nbdgate_api::Backend;
use nbdgate_rocksdb::{
    NoProgress, OpenOptions, Progress, RocksDisk,
    admin::{remove, snapshot},
};

use super::{MIB, Place, content, noise, open, open_snapshot, shared, write};

/// Counts what it is told.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) total: AtomicU64,
    pub(super) done: AtomicU64,
}

impl Progress for Counted {
    fn total(&self, bytes: u64) {
        self.total.store(bytes, Relaxed);
    }

    fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Relaxed);
    }
}

#[test]
fn a_disk_goes_with_its_snapshots_and_its_space_is_free() {
    let place = Place::new();
    let path = place.disk("vm", 8 * MIB);
    write(&path, 0, &noise(30, 8 * MIB));
    snapshot(&path, "monday").unwrap();
    let files = content(&path).len() as u64;
    let progress = Counted::default();
    let removed = remove(&path, &progress).unwrap();
    assert_eq!(removed.files, files);
    assert!((8 * MIB..16 * MIB).contains(&removed.bytes), "shared files are counted once: {removed:?}");
    assert!(place.names().is_empty());
    assert_eq!(progress.done.load(Relaxed), progress.total.load(Relaxed));
}

#[test]
fn a_disk_that_somebody_has_open_in_any_way_stays_whole() {
    let place = Place::new();
    let path = place.disk("vm", MIB);
    snapshot(&path, "monday").unwrap();
    let read_only = OpenOptions { read_only: true, ..OpenOptions::new(shared()) };
    let users: [(&str, &dyn Fn() -> RocksDisk); 3] = [
        ("writer", &|| open(&path)),
        ("reader", &|| RocksDisk::open(&path, &read_only).unwrap()),
        ("reader of a snapshot", &|| open_snapshot(&path, "monday")),
    ];
    for (who, open) in users {
        let disk = open();
        let refused = remove(&path, &NoProgress).unwrap_err().to_string();
        assert!(refused.contains("in use"), "{who}: {refused}");
        disk.close().unwrap();
    }
    assert_eq!(place.names(), ["vm"]);
    remove(&path, &NoProgress).unwrap();
}

#[test]
fn something_foreign_keeps_the_whole_disk_where_it_is() {
    for strange in ["notes.txt", "db/notes.txt", "snapshots/monday/notes.txt"] {
        let place = Place::new();
        let path = place.disk("vm", MIB);
        snapshot(&path, "monday").unwrap();
        fs::write(path.join(strange), "precious").unwrap();
        let before = content(&path);
        let refused = remove(&path, &NoProgress).unwrap_err().to_string();
        assert!(refused.contains("notes.txt") && refused.contains("nothing was deleted"), "{refused}");
        assert!(content(&path) == before);
        assert_eq!(place.names(), ["vm"]);
    }
}

#[test]
fn what_is_no_disk_is_never_deleted() {
    let place = Place::new();
    fs::create_dir(place.path("empty")).unwrap();
    fs::create_dir(place.path("home")).unwrap();
    fs::write(place.path("home/lock"), "precious").unwrap();
    fs::create_dir(place.path("database")).unwrap();
    fs::write(place.path("database/CURRENT"), "MANIFEST-000001\n").unwrap();
    fs::write(place.path("file"), "precious").unwrap();
    let before = content(place.0.path());
    for name in ["empty", "home", "database", "file", "missing"] {
        assert!(remove(&place.path(name), &NoProgress).is_err(), "{name}");
    }
    assert!(content(place.0.path()) == before && place.path("empty").exists());
}

#[test]
fn a_removal_that_was_cut_short_is_finished_by_asking_again() {
    let place = Place::new();
    let path = place.disk("vm", MIB);
    write(&path, 0, &noise(31, MIB));
    let gone = place.path("vm.removed-0123456789abcdef0123456789abcdef");
    fs::rename(&path, &gone).unwrap();
    fs::remove_file(gone.join("db/CURRENT")).unwrap();
    let removed = remove(&path, &NoProgress).unwrap();
    assert!(removed.files > 0 && place.names().is_empty(), "{removed:?}");
    assert!(remove(&path, &NoProgress).unwrap_err().to_string().contains("no disk"));
}

#[test]
fn a_disk_behind_a_link_goes_and_not_what_the_link_is_beside() {
    let place = Place::new();
    let path = place.disk("vm", MIB);
    std::os::unix::fs::symlink(&path, place.path("link")).unwrap();
    remove(&place.path("link"), &NoProgress).unwrap();
    assert!(!path.exists());
    assert_eq!(place.names(), ["link"]);
}
