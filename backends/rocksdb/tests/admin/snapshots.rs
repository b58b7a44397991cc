//! Snapshots: isolated, named, counted, and removed.

use std::fs;

use nbdgate_api::Backend;
use nbdgate_rocksdb::{
    OpenOptions, RocksDisk,
    admin::{MAX_SNAPSHOTS, Shrink, remove_snapshot, resize, snapshot, snapshots},
};

use super::{MIB, Place, content, info, names, noise, open, open_snapshot, read, read_snapshot, shared, write};

#[test]
fn a_snapshot_shows_the_disk_as_it_was() {
    let place = Place::new();
    let disk = place.disk("vm", 4 * MIB);
    let mut model = vec![0; 4 << 20];
    let mut then = Vec::new();
    for day in 0..4_u64 {
        let (offset, bytes) = (day * MIB / 2 + 1234, noise(day, MIB));
        write(&disk, offset, &bytes);
        model[usize::try_from(offset).unwrap()..][..bytes.len()].copy_from_slice(&bytes);
        snapshot(&disk, &format!("day{day}")).unwrap();
        then.push(model.clone());
    }
    write(&disk, 0, &vec![0; 4 << 20]);
    for (day, then) in then.iter().enumerate() {
        assert!(read_snapshot(&disk, &format!("day{day}")) == *then, "day {day}");
    }
    assert!(read(&disk).iter().all(|&byte| byte == 0));
}

#[test]
fn snapshots_are_listed_oldest_first_with_their_own_sizes() {
    let place = Place::new();
    let disk = place.disk("vm", MIB);
    let taken = snapshot(&disk, "zero").unwrap();
    assert_eq!((taken.name.as_str(), taken.size, taken.allocated), ("zero", MIB, 0));
    write(&disk, 0, &noise(5, 100_000));
    resize(&disk, 2 * MIB, Shrink::Refuse).unwrap();
    snapshot(&disk, "one").unwrap();
    let listed = snapshots(&disk).unwrap();
    let told: Vec<_> = listed.iter().map(|one| (one.name.as_str(), one.size, one.allocated)).collect();
    assert_eq!(told, [("zero", MIB, 0), ("one", 2 * MIB, 7 * 16384)]);
    assert_eq!(listed[0].created_unix_ms, taken.created_unix_ms, "taking it and listing it tell the same");
    assert!(listed[0].created_unix_ms <= listed[1].created_unix_ms);
    assert!(listed[0].created_unix_ms >= info(&disk).created_unix_ms);
    assert_eq!(info(&disk).snapshots, 2);
}

#[test]
fn a_snapshot_pins_what_the_disk_gave_up_and_removing_it_frees_that() {
    let place = Place::new();
    let disk = place.disk("vm", 16 * MIB);
    write(&disk, 0, &noise(6, 16 * MIB));
    let fresh = snapshot(&disk, "monday").unwrap();
    assert!(fresh.pinned < MIB && fresh.pinned_alone < MIB, "all data is shared: {fresh:?}");
    snapshot(&disk, "twin").unwrap();
    // Everything of the disk is deleted and compacted.
    resize(&disk, 1, Shrink::Allow).unwrap();
    let listed = snapshots(&disk).unwrap();
    for one in &listed {
        assert!(one.pinned >= 15 * MIB, "the disk shares no more than a few extents: {one:?}");
        assert!(one.pinned_alone < MIB, "two snapshots share it: {one:?}");
    }
    let freed = remove_snapshot(&disk, "twin").unwrap();
    assert_eq!(freed, listed[1].pinned_alone);
    let last = snapshots(&disk).unwrap().remove(0);
    assert!(last.pinned_alone >= 15 * MIB, "nobody shares it any more: {last:?}");
    assert_eq!(remove_snapshot(&disk, "monday").unwrap(), last.pinned_alone, "what was told is what is freed");
    assert!(names(&disk.join("snapshots")).is_empty());
}

#[test]
fn a_name_is_well_formed_and_used_once() {
    let place = Place::new();
    let disk = place.disk("vm", MIB);
    for wrong in ["", ".hidden", "../vm", "a/b", "a b"] {
        assert!(snapshot(&disk, wrong).unwrap_err().to_string().contains("not the name of a snapshot"), "{wrong}");
        assert!(remove_snapshot(&disk, wrong).is_err(), "{wrong}");
    }
    snapshot(&disk, "monday").unwrap();
    assert!(snapshot(&disk, "monday").unwrap_err().to_string().contains("already"));
    let missing = remove_snapshot(&disk, "tuesday").unwrap_err().to_string();
    assert!(missing.contains("no snapshot `tuesday`: it has monday"), "{missing}");
    assert_eq!(snapshots(&disk).unwrap().len(), 1);
}

#[test]
fn only_a_snapshot_is_opened_as_one() {
    let place = Place::new();
    let (path, _) = (place.disk("vm", MIB), place.disk("other", MIB));
    snapshot(&path, "monday").unwrap();
    for wrong in ["../db", "../../other/db", "../snapshots/monday", "/", "", "tuesday"] {
        let options = OpenOptions { snapshot: Some(wrong.to_owned()), ..OpenOptions::new(shared()) };
        let refused = RocksDisk::open(&path, &options).unwrap_err().to_string();
        assert!(refused.contains("has no snapshot"), "{wrong}: {refused}");
    }
}

#[test]
fn there_are_not_more_snapshots_than_can_be_listed() {
    let place = Place::new();
    let disk = place.disk("vm", MIB);
    fs::create_dir_all(disk.join("snapshots")).unwrap();
    (0..MAX_SNAPSHOTS).for_each(|index| fs::create_dir(disk.join(format!("snapshots/s{index}"))).unwrap());
    let refused = snapshot(&disk, "monday").unwrap_err().to_string();
    assert!(refused.contains("4096"), "{refused}");
    fs::remove_dir(disk.join("snapshots/s0")).unwrap();
    snapshot(&disk, "monday").unwrap();
}

#[test]
fn a_served_disk_has_its_snapshots_listed_and_removed_but_not_taken() {
    let place = Place::new();
    let path = place.disk("vm", MIB);
    snapshot(&path, "monday").unwrap();
    let disk = open(&path);
    assert!(snapshot(&path, "tuesday").unwrap_err().to_string().contains("in use"));
    assert_eq!(snapshots(&path).unwrap().len(), 1);
    remove_snapshot(&path, "monday").unwrap();
    assert!(snapshots(&path).unwrap().is_empty());
    disk.close().unwrap();
}

#[test]
fn a_snapshot_that_somebody_reads_is_not_removed() {
    let place = Place::new();
    let path = place.disk("vm", MIB);
    snapshot(&path, "monday").unwrap();
    let reader = open_snapshot(&path, "monday");
    let refused = remove_snapshot(&path, "monday").unwrap_err().to_string();
    assert!(refused.contains("monday") && refused.contains("in use"), "{refused}");
    reader.close().unwrap();
    drop(reader);
    remove_snapshot(&path, "monday").unwrap();
}

#[test]
fn nothing_in_a_snapshot_changes_when_it_is_read_listed_and_cloned() {
    let place = Place::new();
    let path = place.disk("vm", MIB);
    write(&path, 0, &noise(7, MIB));
    snapshot(&path, "monday").unwrap();
    let before = content(&path.join("snapshots"));
    read_snapshot(&path, "monday");
    snapshots(&path).unwrap();
    nbdgate_rocksdb::admin::clone(&path, "monday", &place.path("clone")).unwrap();
    write(&place.path("clone"), 0, &noise(8, MIB));
    write(&path, 0, &noise(9, MIB));
    let after = content(&path.join("snapshots"));
    assert!(before.keys().eq(after.keys()), "{:?} became {:?}", before.keys(), after.keys());
    assert!(before == after);
}

#[test]
fn something_foreign_in_a_snapshot_is_not_deleted() {
    let place = Place::new();
    let path = place.disk("vm", MIB);
    snapshot(&path, "monday").unwrap();
    fs::write(path.join("snapshots/monday/notes.txt"), "precious").unwrap();
    let refused = remove_snapshot(&path, "monday").unwrap_err().to_string();
    assert!(refused.contains("notes.txt"), "{refused}");
    assert!(read_snapshot(&path, "monday").iter().all(|&byte| byte == 0), "it is whole");
}
