//! Damage to tables and blob files: the extents in it are errors, never data and never zeros, and all others are read.

use std::{collections::BTreeSet, fs, path::PathBuf};

use nbdgate_api::{Kind, Op, Piece, wait};
use nbdgate_rocksdb::RocksDisk;

use crate::{
    raw,
    support::{Place, close, content, files, flip, levels, noise, range, read, write},
};

/// Extents that are written; the disk is twice as large.
const EXTENTS: u64 = 400;

/// Where the bytes of a damaged disk are.
struct Damaged {
    place: Place,
    path: PathBuf,
    extent: u64,
}

impl Damaged {
    /// A closed disk of noise, with all of its tables in one place.
    fn new(extent: u32) -> Self {
        let place = Place::new();
        let path = place.path();
        let bytes = u64::from(extent);
        let disk = place.create(&path, 2 * EXTENTS * bytes, extent);
        (0..EXTENTS).for_each(|index| write(&disk, index * bytes, noise(index, extent as usize)));
        close(disk);
        raw::compact(&path);
        Self { place, path, extent: bytes }
    }

    /// The file with the extents' bytes.
    fn file(&self) -> PathBuf {
        let end = if self.extent < 16 << 10 { ".sst" } else { ".blob" };
        let found = files(&self.path, end).into_iter();
        found.max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap()
    }

    /// Opened with memory that has nothing of it.
    fn open(&self) -> RocksDisk {
        Place::new().open(&self.path)
    }

    fn noise(&self, index: u64) -> Vec<u8> {
        noise(index, usize::try_from(self.extent).unwrap())
    }

    /// The extents that cannot be read one by one; the others are as they were written.
    fn failing(&self, disk: &RocksDisk) -> BTreeSet<u64> {
        let mut failing = BTreeSet::new();
        for index in 0..EXTENTS {
            match wait::read(disk, range(index * self.extent, self.extent)) {
                Ok(bytes) => assert!(bytes == self.noise(index), "extent {index} is something else"),
                Err(error) => {
                    assert!(error.kind() == Kind::Io && error.to_string().contains("cannot read extent"));
                    failing.insert(index);
                }
            }
        }
        failing
    }

    /// The extents that one long read cannot deliver; it delivers the others.
    fn failing_together(&self, disk: &RocksDisk) -> BTreeSet<u64> {
        let answer = wait::call(disk, Op::Read(range(0, EXTENTS * self.extent)));
        answer.outcome.unwrap();
        let mut failing: BTreeSet<u64> = (0..EXTENTS).collect();
        for piece in answer.pieces {
            match piece {
                Piece::Data { offset, bytes } => {
                    assert!(bytes.len() as u64 == self.extent && bytes == self.noise(offset / self.extent));
                    assert!(failing.remove(&(offset / self.extent)), "delivered twice");
                }
                Piece::Failed(range, error) => {
                    assert_eq!((range.length(), error.kind()), (self.extent, Kind::Io), "{}", error.chain());
                }
                other => panic!("{other:?}"),
            }
        }
        failing
    }
}

fn what_is_damaged_is_an_error_and_the_rest_is_read(extent: u32, most: usize) {
    let damaged = Damaged::new(extent);
    let file = damaged.file();
    flip(&file, fs::metadata(&file).unwrap().len() / 2);
    let disk = damaged.open();
    let failing = damaged.failing(&disk);
    assert!((1..=most).contains(&failing.len()), "{failing:?}");
    assert!(levels(&disk).corruptions >= failing.len() as u64);
    close(disk);
    let disk = damaged.open();
    assert_eq!(damaged.failing_together(&disk), failing);
    // The rest can be written, and what is written whole is sound again.
    let bad = *failing.first().unwrap();
    let good = (0..EXTENTS).find(|index| !failing.contains(index)).unwrap();
    write(&disk, good * damaged.extent + 10, damaged.noise(good)[10..20].to_vec());
    assert_eq!(wait::write(&disk, bad * damaged.extent + 10, vec![1; 10]).unwrap_err().kind(), Kind::Io);
    for index in &failing {
        write(&disk, index * damaged.extent, damaged.noise(*index));
    }
    assert_eq!(damaged.failing(&disk), BTreeSet::new());
    close(disk);
    let disk = damaged.open();
    assert_eq!(damaged.failing(&disk), BTreeSet::new());
    close(disk);
}

#[test]
fn a_damaged_table_costs_the_extents_of_a_block() {
    what_is_damaged_is_an_error_and_the_rest_is_read(4 << 10, 6);
}

#[test]
fn a_damaged_blob_file_costs_one_extent() {
    what_is_damaged_is_an_error_and_the_rest_is_read(16 << 10, 1);
}

/// One client's write to a part of a damaged extent fails; those that were waiting together with it do not.
#[test]
fn writes_beside_one_to_a_damaged_extent_go_well() {
    let damaged = Damaged::new(16 << 10);
    let file = damaged.file();
    flip(&file, fs::metadata(&file).unwrap().len() / 2);
    let disk = damaged.open();
    let bad = *damaged.failing(&disk).first().unwrap();
    close(disk);
    let disk = damaged.open();
    // Too little for a table: compaction that meets the damage stops all writes, which another test is about.
    for _ in 0..2 {
        let part = |index: u64| Op::Write {
            offset: index * damaged.extent + 5,
            payload: damaged.noise(index)[5..9].to_vec().into(),
            fua: false,
        };
        let near: Vec<_> = (0..EXTENTS).step_by(3).filter(|index| *index != bad).take(60).collect();
        let (before, after) = near.split_at(near.len() / 2);
        let mut others: Vec<_> = before.iter().map(|index| wait::submit(&disk, part(*index))).collect();
        let failing = wait::submit(&disk, part(bad));
        others.extend(after.iter().map(|index| wait::submit(&disk, part(*index))));
        assert_eq!(failing.wait().outcome.unwrap_err().kind(), Kind::Io);
        for (other, index) in others.into_iter().zip(near) {
            let outcome = other.wait().outcome;
            assert!(outcome.is_ok(), "extent {index}: {}", outcome.unwrap_err().chain());
        }
    }
    close(disk);
}

#[test]
fn a_disk_without_one_of_its_tables_is_refused_and_left_alone() {
    for end in [u64::MAX, 100] {
        let damaged = Damaged::new(4 << 10);
        let file = damaged.file();
        if end == u64::MAX {
            fs::remove_file(&file).unwrap();
        } else {
            crate::support::cut(&file, end);
        }
        let before = content(&damaged.path);
        let error = damaged.place.refusal(&damaged.path);
        let number = file.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(error.kind() == Kind::Io && error.chain().contains(&number), "{}", error.chain());
        assert!(content(&damaged.path) == before, "something was changed");
    }
}

/// Refused, or every extent in it is an error.
#[test]
fn a_blob_file_that_is_gone_or_cut_is_never_zeros() {
    for end in [u64::MAX, 0, 1 << 20] {
        let damaged = Damaged::new(16 << 10);
        let file = damaged.file();
        if end == u64::MAX {
            fs::remove_file(&file).unwrap();
        } else {
            crate::support::cut(&file, end);
        }
        match RocksDisk::open(&damaged.path, &Place::new().options()) {
            Err(error) => assert_eq!(error.kind(), Kind::Io, "{}", error.chain()),
            Ok(disk) => {
                let failing = damaged.failing(&disk).len() as u64;
                assert!(failing > EXTENTS / 2, "{failing} of {EXTENTS}");
                write(&disk, EXTENTS * damaged.extent, damaged.noise(1));
                assert_eq!(read(&disk, EXTENTS * damaged.extent, damaged.extent), damaged.noise(1));
            }
        }
    }
}

/// Compaction copies live extents out of old blob files, and stops at one that fails its check. RocksDB then takes no writes
/// until it is opened again; that is told, and nothing else is lost by it.
#[test]
fn damage_that_compaction_meets_ends_writes_by_name_and_not_reads() {
    let damaged = Damaged::new(16 << 10);
    let file = damaged.file();
    flip(&file, fs::metadata(&file).unwrap().len() / 2);
    let mut disk = damaged.open();
    let failing = damaged.failing(&disk);
    for round in 0..40 {
        let mut stopped = None;
        for index in (0..EXTENTS).step_by(7).filter(|index| !failing.contains(index)) {
            let offset = index * damaged.extent;
            if let Err(error) = wait::write(&disk, offset, damaged.noise(index)) {
                stopped = Some(error);
                break;
            }
        }
        assert_eq!(damaged.failing(&disk), failing, "round {round}");
        if let Some(error) = stopped {
            println!("round {round}: {}", error.chain());
            let flushed = wait::flush(&disk);
            println!("flush: {:?} {}", flushed.as_ref().map_err(nbdgate_api::Error::chain), levels(&disk).latched);
            assert!(error.kind() == Kind::Io && error.chain().contains("Corruption"), "{}", error.chain());
            close(disk);
            disk = damaged.open();
            write(&disk, 0, damaged.noise(0));
            assert_eq!(damaged.failing(&disk), failing);
            return close(disk);
        }
        close(disk);
        disk = damaged.open();
    }
    panic!("no compaction has met the damage");
}
