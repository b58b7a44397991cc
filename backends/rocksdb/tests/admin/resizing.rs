//! Another size.

use nbdgate_api::{Backend, ByteRange, Op, Zeroes, wait};
use nbdgate_rocksdb::{
    CreateOptions, MAX_SIZE,
    admin::{Shrink, resize, snapshot},
    create,
};

use super::{MIB, Place, info, noise, open, read, read_snapshot, write};

#[test]
fn growing_keeps_what_is_there_and_adds_zeros() {
    let place = Place::new();
    let disk = place.disk("vm", MIB + 777);
    let before = noise(1, MIB + 777);
    write(&disk, 0, &before);
    let told = resize(&disk, 3 * MIB, Shrink::Refuse).unwrap();
    assert_eq!((told.size, told.uuid), (3 * MIB, info(&disk).uuid));
    let after = read(&disk);
    assert_eq!(after.len() as u64, 3 * MIB);
    assert!(after[..before.len()] == before && after[before.len()..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_smaller_size_needs_leave_and_a_wrong_one_changes_nothing() {
    let place = Place::new();
    let disk = place.disk("vm", 2 * MIB);
    let before = noise(2, 2 * MIB);
    write(&disk, 0, &before);
    let refused = resize(&disk, MIB, Shrink::Refuse).unwrap_err().to_string();
    assert!(refused.contains("2097152 bytes") && refused.contains("1048576"), "{refused}");
    for wrong in [0, MAX_SIZE + 1] {
        assert!(resize(&disk, wrong, Shrink::Allow).is_err(), "{wrong}");
    }
    assert!(read(&disk) == before);
    assert_eq!(resize(&disk, 2 * MIB, Shrink::Refuse).unwrap().size, 2 * MIB, "the same size is no change");
}

#[test]
fn what_was_cut_off_is_zeros_when_the_disk_grows_again() {
    const EXTENT: u64 = 4096;
    /// What one page of presence bits covers.
    const PAGE: u64 = 4096 * EXTENT;
    const SIZE: u64 = PAGE + 2 * MIB;
    let place = Place::new();
    let path = place.path("vm");
    let options = CreateOptions { size: SIZE, extent: 4096, ..CreateOptions::default() };
    create(&path, &options).unwrap();
    for (seed, cut) in (10..).zip([PAGE + MIB + 5, PAGE + EXTENT, PAGE + 1, PAGE, PAGE - 1, EXTENT, EXTENT - 1, 1]) {
        let mut model = vec![0; usize::try_from(SIZE).unwrap()];
        let disk = open(&path);
        for offset in [0, PAGE - MIB, PAGE, PAGE + MIB] {
            let bytes = noise(seed + offset, MIB);
            model[usize::try_from(offset).unwrap()..][..bytes.len()].copy_from_slice(&bytes);
            wait::write(&disk, offset, bytes).unwrap();
        }
        disk.close().unwrap();
        drop(disk);
        let kept = usize::try_from(cut).unwrap();
        resize(&path, cut, Shrink::Allow).unwrap();
        assert!(read(&path) == model[..kept], "cut at {cut}");
        model[kept..].fill(0);
        let present = model.chunks(4096).filter(|extent| extent.iter().any(|&byte| byte != 0)).count() as u64;
        assert_eq!(info(&path).allocated, present * EXTENT, "cut at {cut}");
        resize(&path, SIZE, Shrink::Refuse).unwrap();
        assert!(read(&path) == model, "grown after a cut at {cut}");
    }
}

#[test]
fn a_last_extent_with_zeros_up_to_the_cut_goes() {
    let place = Place::new();
    let disk = place.disk("vm", 2 * MIB);
    write(&disk, MIB + 8192, &[7; 100]);
    assert_eq!(info(&disk).allocated, 16 << 10);
    assert_eq!(resize(&disk, MIB + 8192, Shrink::Allow).unwrap().allocated, 0);
    resize(&disk, 2 * MIB, Shrink::Refuse).unwrap();
    assert!(read(&disk).iter().all(|&byte| byte == 0));
}

#[test]
fn shrinking_gives_the_space_back() {
    for extent in [4096, 16 << 10] {
        let place = Place::new();
        let path = place.path("vm");
        let options = CreateOptions { size: 64 * MIB, extent, ..CreateOptions::default() };
        create(&path, &options).unwrap();
        write(&path, 0, &noise(3, 48 * MIB));
        assert!(info(&path).stored >= 48 * MIB);
        let stored = resize(&path, 64 << 10, Shrink::Allow).unwrap().stored;
        assert!(stored < 8 * MIB, "{stored} bytes are still stored for 64 KiB in extents of {extent}");
    }
}

#[test]
fn a_snapshot_keeps_its_size_and_what_was_cut_off() {
    let place = Place::new();
    let disk = place.disk("vm", 2 * MIB);
    let before = noise(4, 2 * MIB);
    write(&disk, 0, &before);
    snapshot(&disk, "monday").unwrap();
    resize(&disk, MIB, Shrink::Allow).unwrap();
    assert!(read_snapshot(&disk, "monday") == before);
    assert_eq!(read(&disk).len() as u64, MIB);
}

#[test]
fn a_disk_in_use_is_not_resized() {
    let place = Place::new();
    let path = place.disk("vm", MIB);
    let disk = open(&path);
    let refused = resize(&path, 2 * MIB, Shrink::Refuse).unwrap_err().to_string();
    assert!(refused.contains("in use"), "{refused}");
    disk.close().unwrap();
    drop(disk);
    assert_eq!(resize(&path, 2 * MIB, Shrink::Refuse).unwrap().size, 2 * MIB);
}

#[test]
fn an_extent_of_zeros_that_count_as_allocated_can_be_cut() {
    let place = Place::new();
    let path = place.disk("vm", MIB);
    let disk = open(&path);
    let range = ByteRange::between(0, MIB);
    let zeroes = Zeroes { no_hole: true, fast: false };
    wait::call(&disk, Op::WriteZeroes { range, zeroes, fua: false }).outcome.unwrap();
    disk.close().unwrap();
    drop(disk);
    let told = resize(&path, MIB / 2 + 777, Shrink::Allow).unwrap();
    assert!(told.allocated >= MIB / 2 && told.allocated < MIB, "{told:?}");
    assert!(read(&path).iter().all(|&byte| byte == 0));
}
