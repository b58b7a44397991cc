//! Mutations that wait for the next record.

use std::collections::VecDeque;

use crate::{
    engine::{Content, held::Held},
    format::{BLOCK_SIZE, BlockRange, Lba, Wseq},
    journal::{ExtentJob, Part, Place},
};

const BLOCK: u64 = BLOCK_SIZE as u64;

/// A mutation of more runs than this is journaled as one extent with its zeros in it.
const MAX_RUNS: usize = 32;

/// The longest extent of zeros, in blocks.
const LONGEST: u64 = u32::MAX as u64;

/// Blocks of payload at which a record takes no more mutations; one mutation may have more.
const GATHER: u64 = (1 << 20) / BLOCK;

/// One mutation as extents.
#[derive(Debug)]
struct Entry {
    wseq: Wseq,
    extents: Vec<Extent>,
    payload: u64,
}

#[derive(Debug)]
struct Extent {
    range: BlockRange,
    /// Empty for zeros.
    parts: Vec<Run>,
}

#[derive(Debug)]
enum Run {
    Data(Held),
    Zeros(u64),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Group {
    /// Extents of one record at most.
    max_extents: usize,
    entries: VecDeque<Entry>,
    blocks: u64,
}

/// The mutations of the next record.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) mutations: (Wseq, Wseq),
    pub(super) payload: u64,
    count: usize,
}

impl Group {
    pub(super) fn new(max_extents: usize) -> Self {
        Self { max_extents, entries: VecDeque::new(), blocks: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.max_extents);
    }

    /// Bytes that it will take in the ring, at most.
    pub(super) fn bytes(&self) -> u64 {
        self.blocks * BLOCK
    }

    pub(super) fn push(&mut self, wseq: Wseq, runs: &[(BlockRange, Content)]) {
        let extents = if runs.len() > MAX_RUNS { joined(runs) } else { runs.iter().flat_map(single).collect() };
        let payload = extents.iter().filter(|extent| !extent.parts.is_empty()).map(|extent| extent.range.nblocks).sum();
        self.blocks += 1 + payload;
        self.entries.push_back(Entry { wseq, extents, payload });
    }

    /// What the next record takes: at least one mutation.
    pub(super) fn gather(&self) -> Option<Gathered> {
        let first = self.entries.front()?;
        let (mut count, mut payload, mut extents, mut last) = (0, 0, 0, first.wseq);
        for entry in &self.entries {
            let more = (payload + entry.payload, extents + entry.extents.len());
            if count > 0 && (more.0 > GATHER || more.1 > self.max_extents) {
                break;
            }
            (payload, extents) = more;
            count += 1;
            last = entry.wseq;
        }
        Some(Gathered { mutations: (first.wseq, last), payload, count })
    }

    /// Takes them out as extents of record `lsn` at this position.
    pub(super) fn take(&mut self, gathered: &Gathered, lsn: u64, record: u64) -> Vec<ExtentJob> {
        let mut at = record + BLOCK;
        let mut jobs = Vec::new();
        for entry in self.entries.drain(..gathered.count) {
            self.blocks -= 1 + entry.payload;
            for (index, extent) in entry.extents.into_iter().enumerate() {
                let number = u16::try_from(jobs.len()).expect("a record has few extents");
                let place = Place { record, extent: at, lsn, number, skip: 0 };
                let is_data = !extent.parts.is_empty();
                let parts = placed(extent.parts, place);
                at += if is_data { extent.range.nblocks * BLOCK } else { 0 };
                jobs.push(ExtentJob { range: extent.range, begins: index == 0, parts });
            }
        }
        jobs
    }
}

/// The parts of an extent, each of which now knows its place.
fn placed(runs: Vec<Run>, mut place: Place) -> Vec<Part> {
    let mut parts = Vec::with_capacity(runs.len());
    for run in runs {
        match run {
            Run::Data(held) => {
                held.written(place);
                place = place.plus(held.nblocks() as u64);
                parts.push(Part::Data(held.data().expect("nothing is released before it is journaled")));
            }
            Run::Zeros(nblocks) => {
                place = place.plus(nblocks);
                parts.push(Part::Zeros(nblocks));
            }
        }
    }
    parts
}

/// One extent per run, more for very long zeros.
fn single((range, content): &(BlockRange, Content)) -> Vec<Extent> {
    match content {
        Content::Data(held) => vec![Extent { range: *range, parts: vec![Run::Data(held.clone())] }],
        Content::Zero => {
            let cut = |start: u64| {
                let nblocks = LONGEST.min(range.end().0 - start);
                Extent { range: BlockRange::new(Lba(start), nblocks), parts: Vec::new() }
            };
            (0..range.nblocks.div_ceil(LONGEST)).map(|piece| cut(range.start.0 + piece * LONGEST)).collect()
        }
    }
}

/// Runs that follow each other, as one extent of data.
fn joined(runs: &[(BlockRange, Content)]) -> Vec<Extent> {
    let start = runs[0].0.start;
    let end = runs[runs.len() - 1].0.end();
    debug_assert!(runs.windows(2).all(|pair| pair[0].0.end() == pair[1].0.start), "only one WRITE has many runs");
    let parts = runs.iter().map(|(range, content)| match content {
        Content::Data(held) => Run::Data(held.clone()),
        Content::Zero => Run::Zeros(range.nblocks),
    });
    vec![Extent { range: BlockRange::new(start, end.0 - start.0), parts: parts.collect() }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checked::Checked;

    fn data(start: u64, nblocks: u64) -> (BlockRange, Content) {
        let bytes = vec![7; usize::try_from(nblocks * BLOCK).unwrap()];
        (BlockRange::new(Lba(start), nblocks), Content::Data(Held::new(Checked::new(bytes.into()))))
    }

    fn zeros(start: u64, nblocks: u64) -> (BlockRange, Content) {
        (BlockRange::new(Lba(start), nblocks), Content::Zero)
    }

    #[test]
    fn a_record_gathers_up_to_a_mebibyte_and_never_splits_a_mutation() {
        let mut group = Group::new(251);
        for (wseq, nblocks) in [(1, 100), (2, 100), (3, 57), (4, 1024), (5, 1)] {
            group.push(Wseq(wseq), &[data(wseq * 2000, nblocks)]);
        }
        let mut taken = Vec::new();
        while let Some(gathered) = group.gather() {
            taken.push((gathered.mutations.0.0, gathered.mutations.1.0, gathered.payload));
            group.take(&gathered, 1, 0);
        }
        assert_eq!(taken, [(1, 2, 200), (3, 3, 57), (4, 4, 1024), (5, 5, 1)]);
        assert_eq!(group.bytes(), 0);
    }

    #[test]
    fn data_knows_its_place_after_it_was_taken() {
        let mut group = Group::new(251);
        let (first, second) = (data(10, 2), data(20, 3));
        group.push(Wseq(1), &[first.clone(), zeros(12, 5)]);
        group.push(Wseq(2), std::slice::from_ref(&second));
        let gathered = group.gather().unwrap();
        let jobs = group.take(&gathered, 9, 0);
        assert_eq!(jobs.iter().map(|job| job.begins).collect::<Vec<_>>(), [true, false, true]);
        let (Content::Data(first), Content::Data(second)) = (&first.1, &second.1) else { panic!("data") };
        assert_eq!(first.place(), Some(Place { record: 0, extent: 4096, lsn: 9, number: 0, skip: 0 }));
        let place = second.slice(1, 1).place().unwrap();
        assert_eq!(place, Place { record: 0, extent: 4096 + 2 * BLOCK, lsn: 9, number: 2, skip: 1 });
    }

    #[test]
    fn many_runs_become_one_extent_and_long_zeros_several() {
        let mut group = Group::new(251);
        let runs: Vec<_> = (0..1024).map(|at| if at % 2 == 0 { data(at, 1) } else { zeros(at, 1) }).collect();
        group.push(Wseq(1), &runs);
        let gathered = group.gather().unwrap();
        assert_eq!(gathered.payload, 1024);
        let jobs = group.take(&gathered, 1, 0);
        assert_eq!((jobs.len(), jobs[0].parts.len()), (1, 1024));
        let Content::Data(last) = &runs[1022].1 else { panic!("data") };
        let place = last.place().unwrap();
        assert_eq!((place.extent, place.skip), (BLOCK, 1022));
        group.push(Wseq(2), &[zeros(0, 1 << 36)]);
        let gathered = group.gather().unwrap();
        let jobs = group.take(&gathered, 2, 0);
        assert_eq!(gathered.payload, 0);
        assert_eq!(jobs.iter().map(|job| job.range.nblocks).sum::<u64>(), 1 << 36);
        assert_eq!(jobs.iter().filter(|job| job.begins).count(), 1);
    }
}
