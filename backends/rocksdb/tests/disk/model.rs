//! Disks against a vector of bytes: whatever is done to both, side by side and across ends and crashes of the process.

use std::{collections::BTreeSet, path::Path};

use bytes::Bytes;
use nbdgate_api::{ByteRange, ExtentKind, Op, Payload, Zeroes, wait};
use nbdgate_rocksdb::RocksDisk;
use proptest::{prelude::*, test_runner::TestRunner};

use crate::support::{Place, close, crash, levels, noise};

/// Whole extents of a disk; there is a part of one more.
const EXTENTS: u64 = 8;
/// Bytes that the last extent lacks.
const SHORT: u64 = 777;
/// Disks for each size of extents.
const CASES: u32 = 24;

#[derive(Clone, Debug)]
enum Step {
    /// Mutations of disjoint ranges, all in flight together.
    Change(Vec<Change>),
    Flush,
    Read(ByteRange),
    Status(ByteRange),
    Cache(ByteRange),
    Reopen,
    Crash,
}

#[derive(Clone, Debug)]
struct Change {
    range: ByteRange,
    what: What,
    fua: bool,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Noise(u64),
    /// All zeros but for one byte.
    Speck,
    WrittenZeros,
    Trim,
    WriteZeroes,
    /// Zeros that stay allocated.
    KeptZeroes,
}

impl Change {
    /// The bytes that it leaves.
    fn bytes(&self) -> Vec<u8> {
        let length = usize::try_from(self.range.length()).unwrap();
        match self.what {
            What::Noise(seed) => noise(seed, length),
            What::Speck => {
                let mut bytes = vec![0; length];
                bytes[length / 2] = 1;
                bytes
            }
            What::WrittenZeros | What::Trim | What::WriteZeroes | What::KeptZeroes => vec![0; length],
        }
    }

    fn op(&self) -> Op {
        let (range, fua) = (self.range, self.fua);
        match self.what {
            What::Trim => Op::Trim { range, fua },
            What::WriteZeroes => Op::WriteZeroes { range, zeroes: Zeroes::default(), fua },
            What::KeptZeroes => Op::WriteZeroes { range, zeroes: Zeroes { no_hole: true, fast: false }, fua },
            What::Noise(_) | What::Speck | What::WrittenZeros => {
                let mut payload = Payload::default();
                self.bytes().chunks(5000).for_each(|slice| payload.push(Bytes::copy_from_slice(slice)));
                Op::Write { offset: range.offset(), payload, fua }
            }
        }
    }
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        4 => any::<u64>().prop_map(What::Noise),
        1 => Just(What::Speck),
        1 => Just(What::WrittenZeros),
        1 => Just(What::Trim),
        1 => Just(What::WriteZeroes),
        1 => Just(What::KeptZeroes),
    ]
}

/// A place of a disk: where an extent begins, or anywhere.
fn place(extent: u64) -> impl Strategy<Value = u64> {
    prop_oneof![(0..=EXTENTS).prop_map(move |index| index * extent), 0..=EXTENTS * extent + extent - SHORT]
}

fn a_range(extent: u64) -> impl Strategy<Value = ByteRange> {
    (place(extent), place(extent))
        .prop_filter_map("an empty range", |(a, b)| (a != b).then(|| ByteRange::between(a.min(b), a.max(b))))
}

/// Neighbours, most of which share extents.
fn changes(extent: u64) -> impl Strategy<Value = Vec<Change>> {
    let cuts = prop::collection::btree_set(place(extent), 2..8);
    (cuts, prop::collection::vec((prop::option::weighted(0.8, what()), prop::bool::weighted(0.1)), 8)).prop_map(
        |(cuts, whats)| {
            let cuts: Vec<_> = cuts.into_iter().collect();
            let ranges = cuts.windows(2).map(|pair| ByteRange::between(pair[0], pair[1]));
            ranges.zip(whats).filter_map(|(range, (what, fua))| Some(Change { range, what: what?, fua })).collect()
        },
    )
}

fn step(extent: u64) -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => changes(extent).prop_map(Step::Change),
        1 => Just(Step::Flush),
        3 => a_range(extent).prop_map(Step::Read),
        3 => a_range(extent).prop_map(Step::Status),
        1 => a_range(extent).prop_map(Step::Cache),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

/// What is known of a disk.
struct Model {
    bytes: Vec<u8>,
    extent: u64,
    /// Extents that are stored although they may be all zeros; what comes together in a batch decides.
    kept: BTreeSet<u64>,
}

impl Model {
    fn apply(&mut self, change: &Change) {
        self.slice(change.range).copy_from_slice(&change.bytes());
        if matches!(change.what, What::KeptZeroes) {
            self.kept.extend(change.range.offset() / self.extent..change.range.end().div_ceil(self.extent));
        }
    }

    fn slice(&mut self, range: ByteRange) -> &mut [u8] {
        &mut self.bytes[usize::try_from(range.offset()).unwrap()..usize::try_from(range.end()).unwrap()]
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether there is anything but zeros in extent `index`.
    fn has(&self, index: u64) -> bool {
        let (start, end) = (index * self.extent, ((index + 1) * self.extent).min(self.size()));
        self.bytes[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()].iter().any(|byte| *byte != 0)
    }

    fn check_status(&self, disk: &RocksDisk, range: ByteRange) {
        let told = wait::extents(disk, range).unwrap();
        assert_eq!((told[0].range.offset(), told[told.len() - 1].range.end()), (range.offset(), range.end()));
        for extent in told {
            let indexes = extent.range.offset() / self.extent..extent.range.end().div_ceil(self.extent);
            for index in indexes {
                let kind = if self.has(index) { ExtentKind::Data } else { ExtentKind::Hole };
                let is_kept = self.kept.contains(&index) && extent.kind == ExtentKind::Data;
                assert!(extent.kind == kind || is_kept, "extent {index}, {extent:?}");
            }
        }
    }

    fn check_all(&mut self, disk: &RocksDisk) {
        let whole = ByteRange::between(0, self.size());
        assert!(wait::read(disk, whole).unwrap() == self.bytes, "the disk reads otherwise");
        self.check_status(disk, whole);
        let indexes = 0..self.size().div_ceil(self.extent);
        let stored = indexes.clone().filter(|index| self.has(*index)).count() as u64;
        let most = indexes.filter(|index| self.has(*index) || self.kept.contains(index)).count() as u64;
        let allocated = levels(disk).allocated;
        let possible = stored * self.extent..=most * self.extent;
        assert!(possible.contains(&allocated), "extents of zeros are not stored: {allocated}, not in {possible:?}");
    }
}

fn follow(place: &Place, path: &Path, extent: u64, steps: Vec<Step>) {
    let size = EXTENTS * extent + extent - SHORT;
    let mut model = Model { bytes: vec![0; usize::try_from(size).unwrap()], extent, kept: BTreeSet::new() };
    let mut disk = place.create(path, size, u32::try_from(extent).unwrap());
    for step in steps {
        match step {
            Step::Change(changes) => {
                let pending: Vec<_> = changes.iter().map(|change| wait::submit(&disk, change.op())).collect();
                for (pending, change) in pending.into_iter().zip(changes) {
                    pending.wait().outcome.unwrap();
                    model.apply(&change);
                }
            }
            Step::Flush => wait::flush(&disk).unwrap(),
            Step::Read(range) => assert!(wait::read(&disk, range).unwrap() == model.slice(range), "{range:?}"),
            Step::Status(range) => model.check_status(&disk, range),
            Step::Cache(range) => wait::call(&disk, Op::Cache(range)).outcome.unwrap(),
            Step::Reopen => {
                close(disk);
                disk = place.open(path);
                model.check_all(&disk);
            }
            Step::Crash => {
                crash(disk);
                disk = place.open(path);
                model.check_all(&disk);
            }
        }
    }
    model.check_all(&disk);
    close(disk);
}

fn disks_are_like_bytes(extent: u64) {
    let config =
        ProptestConfig { cases: CASES, max_shrink_iters: 200, failure_persistence: None, ..Default::default() };
    let outcome = TestRunner::new(config).run(&prop::collection::vec(step(extent), 1..24), |steps| {
        let place = Place::new();
        follow(&place, &place.path(), extent, steps);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn disks_of_4k_extents_are_like_bytes() {
    disks_are_like_bytes(4 << 10);
}

#[test]
fn disks_of_16k_extents_are_like_bytes() {
    disks_are_like_bytes(16 << 10);
}

#[test]
fn disks_of_64k_extents_are_like_bytes() {
    disks_are_like_bytes(64 << 10);
}

/// Two writers of one extent, each of its own half of it, and readers: a half is from one write, never from two.
#[test]
fn writes_to_parts_of_one_extent_are_whole_for_readers_beside_them() {
    const EXTENT: usize = 16 << 10;
    const HALF: usize = EXTENT / 2;
    const ROUNDS: u8 = 200;
    let place = Place::new();
    let disk = place.create(&place.path(), EXTENT as u64, 16 << 10);
    let uniform = |half: &[u8]| half.iter().all(|byte| *byte == half[0]);
    std::thread::scope(|scope| {
        let writers = [0, HALF].map(|offset| {
            let disk = &disk;
            scope.spawn(move || {
                for round in 1..=ROUNDS {
                    wait::write(disk, offset as u64, vec![round; HALF]).unwrap();
                }
            })
        });
        let mut seen = [0, 0];
        while !writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let bytes = wait::read(&disk, ByteRange::between(0, EXTENT as u64)).unwrap();
            for (half, seen) in bytes.chunks(HALF).zip(&mut seen) {
                assert!(uniform(half), "half of a write was read");
                assert!(half[0] >= *seen, "an older write came back");
                *seen = half[0];
            }
        }
    });
    assert_eq!(wait::read(&disk, ByteRange::between(0, EXTENT as u64)).unwrap(), vec![ROUNDS; EXTENT]);
    close(disk);
}
