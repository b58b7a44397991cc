use std::path::PathBuf;

use super::*;
use crate::config::Compression;

/// A folder, and the path of a disk in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("vm1");
    (folder, path)
}

fn make(path: &Path, size: u64) -> Result<Report, Failure> {
    create(path, Size::from_bytes(size), &CreateRocksDb::default())
}

#[test]
fn a_disk_is_created_as_it_was_asked_for_and_told() {
    let (_folder, path) = place();
    let extent = Some(Size::from_bytes(64 << 10));
    let asked = CreateRocksDb { extent, compression: Some(Compression::Zstd) };
    create(&path, Size::from_bytes(10 << 30), &asked).expect("created");
    let told = info(&path).expect("it is there").table();
    for fact in ["10G (10737418240 bytes)", "closed", "64K (65536 bytes)", "zstd", "allocated    0 bytes"] {
        assert!(told.contains(fact), "{fact} is not in {told}");
    }
    assert!(make(&path, 1 << 20).is_err(), "the name is taken");
    let missing = info(&path.with_file_name("vm2")).expect_err("nothing there").to_string();
    assert!(missing.contains("vm2"), "{missing}");
}

#[test]
fn an_extent_out_of_bounds_is_refused_and_makes_nothing() {
    let (folder, path) = place();
    for extent in [2 << 10, 12 << 10, 128 << 10, 1 << 40] {
        let asked = CreateRocksDb { extent: Some(Size::from_bytes(extent)), compression: None };
        let refused = create(&path, Size::from_bytes(1 << 30), &asked).expect_err("no such extent").to_string();
        assert!(refused.contains("power of two"), "{refused}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0);
}

#[test]
fn a_disk_goes_in_and_out_through_snapshot_and_clone() {
    let (folder, disk) = place();
    let copy = folder.path().join("vm2");
    let image = folder.path().join("in.raw");
    let mut bytes = vec![0_u8; 3 << 20];
    bytes[5000..9000].fill(7);
    std::fs::write(&image, &bytes).expect("an image");
    import(&image, &disk, None).expect("imported");
    snapshot(&disk, "monday").expect("taken");
    assert!(snapshot(&disk, "monday").is_err(), "the name is taken");
    clone(&disk, "monday", &copy).expect("cloned");
    remove(&disk).expect("a clone does not need it");
    let out = folder.path().join("out.raw");
    export(&copy, None, &out).expect("exported");
    assert!(std::fs::read(&out).expect("an image") == bytes, "byte for byte");
    assert!(export(&copy, None, &out).is_err(), "an image that exists is not touched");
    assert!(std::fs::read(&out).expect("an image") == bytes);
    assert!(import(&image, &copy, None).is_err(), "a disk with content is not touched");
    assert!(info(&copy).expect("there").table().contains("vm1@monday"), "where it is from");
}

#[test]
fn snapshots_are_rows_with_what_they_pin() {
    let (_folder, disk) = place();
    make(&disk, 8 << 20).expect("created");
    snapshot(&disk, "monday").expect("taken");
    snapshot(&disk, "tuesday").expect("taken");
    let rows = snapshots(&disk).expect("listed");
    assert_eq!(rows.len(), 2);
    for key in ["name", "created", "size", "allocated", "pinned", "pinned-alone"] {
        assert!(rows[0].table().contains(key), "{key} is not in {}", rows[0].table());
    }
    remove_snapshot(&disk, "monday").expect("removed");
    let gone = remove_snapshot(&disk, "monday").expect_err("it is gone").to_string();
    assert!(gone.contains("it has tuesday"), "{gone}");
}

#[test]
fn sizes_change_and_what_would_be_lost_is_asked_for_by_name() {
    let (_folder, disk) = place();
    make(&disk, 8 << 20).expect("created");
    resize(&disk, Size::from_bytes(16 << 20), false).expect("grown");
    assert!(resize(&disk, Size::from_bytes(8 << 20), false).is_err(), "smaller only with --shrink");
    let told = resize(&disk, Size::from_bytes(8 << 20), true).expect("shrunk");
    assert!(told.table().contains("8M (8388608 bytes)"), "{}", told.table());
}
