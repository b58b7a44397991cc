//! Runs of blocks that are in memory, by disk address: what the open batch holds, and what is pending.
//!
//! Invariant: runs do not overlap, and a data run has exactly its blocks' bytes.

use std::collections::BTreeMap;

use super::held::Held;
use crate::format::{BlockRange, Lba};

/// Number of a batch, in the order of sealing. Not the slot of its segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BatchNo(pub(crate) u64);

/// What a run of blocks holds.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Bytes of all its blocks.
    Data(Held),
    /// Zeros, whatever their number.
    Zero,
}

impl Content {
    fn slice(&self, skip: u64, nblocks: u64) -> Self {
        match self {
            Self::Zero => Self::Zero,
            Self::Data(data) => Self::Data(data.slice(in_memory(skip), in_memory(nblocks))),
        }
    }
}

/// A number of blocks that are in memory.
fn in_memory(nblocks: u64) -> usize {
    usize::try_from(nblocks).expect("data in memory")
}

/// Consecutive blocks of one batch.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) nblocks: u64,
    pub(crate) content: Content,
    pub(crate) batch: BatchNo,
}

/// An interval map over the disk.
#[derive(Debug, Default)]
pub(crate) struct Intervals {
    runs: BTreeMap<u64, Run>,
}

impl Intervals {
    /// Puts a run over whatever was there.
    pub(crate) fn insert(&mut self, range: BlockRange, content: Content, batch: BatchNo) {
        debug_assert!(!range.is_empty(), "a run has blocks");
        self.carve(range, |_| true);
        self.runs.insert(range.start.0, Run { nblocks: range.nblocks, content, batch });
    }

    /// Removes what batch `batch` holds of `range`.
    pub(crate) fn remove(&mut self, range: BlockRange, batch: BatchNo) {
        self.carve(range, |run| run.batch == batch);
    }

    /// All runs, in the order of the disk.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (BlockRange, &Run)> {
        self.runs.iter().map(|(&start, run)| (BlockRange::new(Lba(start), run.nblocks), run))
    }

    /// The parts of runs that lie in `range`, in order.
    pub(crate) fn overlapping(&self, range: BlockRange) -> impl Iterator<Item = (BlockRange, Content)> {
        let (from, to) = (range.start.0, range.end().0);
        let first = self.first_reaching(from);
        self.runs.range(first..to).map(move |(&start, run)| {
            let (a, b) = (start.max(from), (start + run.nblocks).min(to));
            (BlockRange::new(Lba(a), b - a), run.content.slice(a - start, b - a))
        })
    }

    /// Cuts the chosen runs out of `range`; what they hold outside of it stays.
    fn carve(&mut self, range: BlockRange, chosen: impl Fn(&Run) -> bool) {
        let (from, to) = (range.start.0, range.end().0);
        let first = self.first_reaching(from);
        let hit: Vec<u64> =
            self.runs.range(first..to).filter(|(_, run)| chosen(run)).map(|(&start, _)| start).collect();
        for start in hit {
            let run = self.runs.remove(&start).expect("it was just seen");
            let end = start + run.nblocks;
            if start < from {
                let head = Run { nblocks: from - start, content: run.content.slice(0, from - start), ..run };
                self.runs.insert(start, head);
            }
            if end > to {
                let tail = Run { nblocks: end - to, content: run.content.slice(to - start, end - to), ..run };
                self.runs.insert(to, tail);
            }
        }
    }

    /// Start of the first run that ends behind `from`, or `from`.
    fn first_reaching(&self, from: u64) -> u64 {
        match self.runs.range(..from).next_back() {
            Some((&start, run)) if start + run.nblocks > from => start,
            _ => from,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{checked::Checked, format::BLOCK_SIZE};

    fn bytes_of(nblocks: u64) -> usize {
        in_memory(nblocks) * BLOCK_SIZE
    }

    fn range(start: u64, nblocks: u64) -> BlockRange {
        BlockRange::new(Lba(start), nblocks)
    }

    fn content(fill: u8, nblocks: u64) -> Content {
        if fill == 0 {
            Content::Zero
        } else {
            Content::Data(Held::new(Checked::new(vec![fill; bytes_of(nblocks)].into())))
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_an_array_of_blocks(
            steps in proptest::collection::vec((0..40_u64, 1..12_u64, 0..4_u8, 0..3_u64, any::<bool>()), 1..40)
        ) {
            let mut map = Intervals::default();
            let mut model: Vec<Option<(u8, u64)>> = vec![None; 64];
            for (start, nblocks, fill, batch, insert) in steps {
                let at = range(start, nblocks);
                let blocks = usize::try_from(start).unwrap()..usize::try_from(start + nblocks).unwrap();
                if insert {
                    map.insert(at, content(fill, nblocks), BatchNo(batch));
                    model[blocks].fill(Some((fill, batch)));
                } else {
                    map.remove(at, BatchNo(batch));
                    model[blocks].iter_mut().filter(|block| block.is_some_and(|(_, b)| b == batch)).for_each(|block| *block = None);
                }
                let mut seen: Vec<Option<u8>> = vec![None; 64];
                for (part, content) in map.overlapping(range(3, 50)) {
                    for block in part.start.0..part.end().0 {
                        let byte = match &content {
                            Content::Zero => 0,
                            Content::Data(data) => data.bytes()[bytes_of(block - part.start.0)],
                        };
                        seen[usize::try_from(block).unwrap()] = Some(byte);
                    }
                }
                for block in 3..53 {
                    prop_assert_eq!(seen[block], model[block].map(|(fill, _)| fill));
                }
            }
        }
    }
}
