//! Long TRIM and WRITE_ZEROES: one range deletion, pages of presence at once, and whole tables given back.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use nbdgate_api::{ByteRange, ExtentKind, Op, Zeroes, wait};
use nbdgate_rocksdb::RocksDisk;

use crate::{
    raw,
    support::{Place, close, crash, levels, noise, read, trim, write},
};

const DATA: usize = 4 << 10;
const EXTENT: u64 = DATA as u64;
/// Extents of one page of presence.
const PAGE: u64 = 4096;
/// A disk of a little more than five pages.
const EXTENTS: u64 = 5 * PAGE + 700;

/// Extents here and there, on both sides of what is trimmed in the tests.
fn scattered() -> Vec<u64> {
    let mut indexes: Vec<u64> = (0..EXTENTS).step_by(611).collect();
    let edges = (0..=5).map(|page| page * PAGE).flat_map(|at| [at.saturating_sub(1), at, at + 1, at + 64, at + 65]);
    indexes.extend(edges);
    indexes.sort_unstable();
    indexes.dedup();
    indexes
}

fn fill(disk: &RocksDisk) {
    for index in scattered() {
        write(disk, index * EXTENT, noise(index, DATA));
    }
}

/// Every extent is as it was written, but that the bytes of `gone` are zeros.
fn check(disk: &RocksDisk, gone: ByteRange) {
    let mut stored = 0;
    for index in scattered() {
        let here = ByteRange::between(index * EXTENT, (index + 1) * EXTENT);
        let mut bytes = noise(index, DATA);
        if let Some(part) = here.intersect(gone) {
            let start = usize::try_from(part.offset() - here.offset()).unwrap();
            bytes[start..start + usize::try_from(part.length()).unwrap()].fill(0);
        }
        assert!(read(disk, here.offset(), EXTENT) == bytes, "extent {index}");
        let present = !gone.contains(here);
        stored += u64::from(present);
        let told = wait::extents(disk, here).unwrap();
        let kind = if present { ExtentKind::Data } else { ExtentKind::Hole };
        assert!(told.len() == 1 && told[0].kind == kind, "extent {index}: {told:?}");
    }
    assert_eq!(levels(disk).allocated, stored * EXTENT);
}

/// Extents from and to, and bytes more at both ends.
fn trims_from_to(from: u64, to: u64) {
    for ragged in [0, 100] {
        let place = Place::new();
        let path = place.path();
        let disk = place.create(&path, EXTENTS * EXTENT, 4 << 10);
        fill(&disk);
        let gone = ByteRange::between(from * EXTENT + ragged, to * EXTENT + ragged);
        trim(&disk, gone.offset(), gone.length()).unwrap();
        check(&disk, gone);
        crash(disk);
        let disk = place.open(&path);
        check(&disk, gone);
        close(disk);
        let disk = place.open(&path);
        check(&disk, gone);
        // What was deleted can be written again, and stays.
        write(&disk, (from + 1) * EXTENT, noise(7, DATA));
        write(&disk, (to - 2) * EXTENT, noise(8, DATA));
        crash(disk);
        let disk = place.open(&path);
        assert_eq!(read(&disk, (from + 1) * EXTENT, EXTENT), noise(7, DATA));
        assert_eq!(read(&disk, (to - 2) * EXTENT, EXTENT), noise(8, DATA));
        close(disk);
    }
}

#[test]
fn a_trim_of_some_more_than_a_few_extents_leaves_its_neighbours() {
    trims_from_to(64, 64 + 66);
}

#[test]
fn a_trim_across_the_end_of_a_page_leaves_its_neighbours() {
    trims_from_to(PAGE - 100, PAGE + 100);
}

#[test]
fn a_trim_of_whole_pages_leaves_its_neighbours() {
    trims_from_to(PAGE, 3 * PAGE);
}

#[test]
fn a_trim_of_pages_and_parts_of_others_leaves_its_neighbours() {
    trims_from_to(PAGE - 65, 4 * PAGE + 65);
}

#[test]
fn a_trim_of_all_leaves_nothing() {
    let place = Place::new();
    let path = place.path();
    let disk = place.create(&path, EXTENTS * EXTENT - 5, 4 << 10);
    for index in scattered().into_iter().filter(|index| *index < EXTENTS - 1) {
        write(&disk, index * EXTENT, noise(index, DATA));
    }
    write(&disk, (EXTENTS - 1) * EXTENT, vec![1; DATA - 5]);
    trim(&disk, 0, EXTENTS * EXTENT - 5).unwrap();
    assert_eq!(levels(&disk).allocated, 0);
    crash(disk);
    let disk = place.open(&path);
    assert_eq!(levels(&disk).allocated, 0);
    assert!(read(&disk, 0, EXTENTS * EXTENT - 5).iter().all(|byte| *byte == 0));
    close(disk);
}

/// Long enough that tables are given back whole.
const DROPPED: u64 = 256 << 20;

/// A closed disk of one table in its lowest level, that holds these extents.
fn one_table(place: &Place, indexes: impl Iterator<Item = u64>) -> std::path::PathBuf {
    let path = place.path();
    let disk = place.create(&path, DROPPED + (8 << 20), 4 << 10);
    indexes.for_each(|index| write(&disk, index * EXTENT, noise(index, DATA)));
    close(disk);
    raw::compact(&path);
    path
}

#[test]
fn a_trim_that_gives_tables_back_leaves_what_lies_behind_its_end() {
    let place = Place::new();
    let behind = DROPPED / EXTENT;
    let path = one_table(&place, [1, 2, 3, behind].into_iter());
    let disk = place.open(&path);
    trim(&disk, 0, DROPPED).unwrap();
    assert_eq!(read(&disk, DROPPED, EXTENT), noise(behind, DATA));
    crash(disk);
    let disk = place.open(&path);
    assert_eq!(read(&disk, DROPPED, EXTENT), noise(behind, DATA));
    assert!(read(&disk, 0, 4 * EXTENT).iter().all(|byte| *byte == 0));
    close(disk);
}

#[test]
fn a_trim_that_gives_tables_back_leaves_what_lies_before_its_start() {
    let place = Place::new();
    let path = one_table(&place, [255, 256, 300, 1000].into_iter());
    let disk = place.open(&path);
    trim(&disk, 256 * EXTENT, DROPPED).unwrap();
    assert_eq!(read(&disk, 255 * EXTENT, EXTENT), noise(255, DATA));
    assert!(read(&disk, 256 * EXTENT, 1000 * EXTENT).iter().all(|byte| *byte == 0));
    close(disk);
}

#[test]
fn a_long_trim_gives_space_back_at_once() {
    let place = Place::new();
    let path = one_table(&place, 100..1100);
    let disk = place.open(&path);
    let before = levels(&disk).live_sst_bytes;
    assert!(before > 1000 * EXTENT, "{before}");
    trim(&disk, 0, DROPPED).unwrap();
    let after = levels(&disk).live_sst_bytes;
    assert!(after < 100 << 10, "{after} of {before} bytes are left");
    close(disk);
}

/// What is deleted and written again meanwhile is read as the one or the other, and never as an error.
#[test]
fn reads_beside_trims_are_whole_and_no_errors() {
    const SPAN: u64 = 200;
    const ROUNDS: u8 = 60;
    let place = Place::new();
    let disk = place.create(&place.path(), SPAN * EXTENT, 4 << 10);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let (disk, over) = (&disk, &over);
            scope.spawn(move || {
                let mut at = reader;
                while !over.load(Relaxed) {
                    at = (at * 31 + 17) % (SPAN - 5);
                    let bytes = read(disk, at * EXTENT, (1 + at % 5) * EXTENT);
                    let torn = bytes.chunks(DATA).find(|extent| extent.iter().any(|byte| *byte != extent[0]));
                    assert!(torn.is_none(), "an extent is torn");
                }
            });
        }
        for round in 1..=ROUNDS {
            write(&disk, 0, vec![round; usize::try_from(SPAN).unwrap() * DATA]);
            // One range deletion in turn with single ones.
            let length = if round % 2 == 0 { SPAN } else { 40 };
            trim(&disk, 0, length * EXTENT).unwrap();
            let op = Op::WriteZeroes {
                range: ByteRange::between(50 * EXTENT, 60 * EXTENT),
                zeroes: Zeroes::default(),
                fua: false,
            };
            wait::call(&disk, op).outcome.unwrap();
        }
        over.store(true, Relaxed);
    });
    assert_eq!(levels(&disk).corruptions, 0);
    close(disk);
}
