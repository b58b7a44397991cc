//! What differs between two pictures of a disk: pure.
//!
//! Blocks are the same if both pictures map them to one place in one object; a place is never written twice. What was overwritten with the same bytes counts as changed, and so does
//! what lies behind the end of the older picture: a backup made of this holds too much rather than too little.

use std::collections::HashMap;

use crate::{
    format::{BlockRange, Lba, SegId, SegmentAddress},
    map::{PagedMap, SegmentTable, Span},
};

/// The state of a disk at a snapshot.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) map: PagedMap,
    pub(crate) segments: SegmentTable,
}

/// Where a run of blocks of the newer picture comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Reads as zeros.
    Hole,
    /// In the log.
    Stored(SegmentAddress),
    /// In no object that the other picture can know.
    New,
}

impl Place {
    fn plus(self, blocks: u64) -> Self {
        match self {
            Self::Stored(address) => {
                Self::Stored(address.plus(u32::try_from(blocks).expect("a run is shorter than its segment")))
            }
            other => other,
        }
    }
}

/// Compares `old` with the runs of a newer picture; both are of one disk, so names mean the same in both.
#[derive(Debug)]
pub(crate) struct Comparison<'a> {
    old: &'a Picture,
    new_segments: &'a SegmentTable,
    /// Handles of `old` as handles of the newer picture.
    handles: HashMap<SegId, Option<SegId>>,
}

impl<'a> Comparison<'a> {
    pub(crate) fn new(old: &'a Picture, new_segments: &'a SegmentTable) -> Self {
        Self { old, new_segments, handles: HashMap::new() }
    }

    /// Splits a run of the newer picture into parts that changed and parts that did not.
    pub(crate) fn split(&mut self, run: BlockRange, new: Place, mut tell: impl FnMut(BlockRange, bool)) {
        let known = BlockRange::new(run.start, self.old.map.blocks().saturating_sub(run.start.0).min(run.nblocks));
        if !known.is_empty() {
            for span in self.old.map.lookup(known) {
                let part = span.range();
                let there = new.plus(part.start.0 - run.start.0);
                let same = match span {
                    Span::Hole(_) => there == Place::Hole,
                    Span::Run(old) => match self.translate(old.address.segment) {
                        Some(segment) => there == Place::Stored(SegmentAddress { segment, lblk: old.address.lblk }),
                        None => false,
                    },
                };
                tell(part, !same);
            }
        }
        if known.nblocks < run.nblocks {
            let behind = Lba(run.start.0 + known.nblocks);
            tell(BlockRange::new(behind, run.nblocks - known.nblocks), true);
        }
    }

    fn translate(&mut self, segment: SegId) -> Option<SegId> {
        let Self { old, new_segments, handles } = self;
        *handles
            .entry(segment)
            .or_insert_with(|| old.segments.get(segment).and_then(|entry| new_segments.find(&entry.name)))
    }
}

#[cfg(test)]
mod tests;
