//! Blocks that changed their place without changing their content: the map learns of a segment of moved data.
//!
//! A block is taken to its new place only if it still is at its old one. What was written or cleared since it was read
//! stays as it is, so moving never brings anything back.

use std::sync::Arc;

use super::Committed;
use crate::{
    engine::Millis,
    format::{BlockRange, CheckpointNo, Lba, SegId, SegmentAddress, SegmentIndex},
    map::{Run, SegmentEntry, Span, segments::SegmentName},
};

/// Blocks of the disk that were copied from one segment to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Move {
    /// First block on the disk.
    pub(crate) lba: Lba,
    /// Blocks.
    pub(crate) nblocks: u32,
    /// Where they were read.
    pub(crate) from: SegmentAddress,
    /// First block in the new segment.
    pub(crate) lblk: u32,
}

/// A part of a stored segment of moved data. Parts keep the lock short; each is complete in itself.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The new segment.
    pub(crate) name: SegmentName,
    /// Its frames.
    pub(crate) index: Arc<SegmentIndex>,
    /// Length of its object.
    pub(crate) object_len: u64,
    /// What it holds.
    pub(crate) moves: Vec<Move>,
    /// No further part follows.
    pub(crate) last: bool,
}

impl Committed {
    /// Installs a part of a segment of moved data; returns its handle.
    pub(in crate::engine) fn arrive(&mut self, now: Millis, arrival: &Arrival) -> SegId {
        let id = self.segments.find(&arrival.name).unwrap_or_else(|| self.welcome(now, arrival));
        for moved in &arrival.moves {
            self.take(id, moved);
        }
        self.arriving = (!arrival.last).then_some(id);
        id
    }

    fn welcome(&mut self, now: Millis, arrival: &Arrival) -> SegId {
        self.since.segments += 1;
        self.since.first.get_or_insert(now);
        self.segments.insert(SegmentEntry {
            name: arrival.name,
            lblocks: arrival.index.lblocks(),
            live: 0,
            stored_bytes: u32::try_from(arrival.object_len).unwrap_or(u32::MAX),
            birth: CheckpointNo(self.checkpoint.0 + 1),
        })
    }

    fn take(&mut self, id: SegId, moved: &Move) {
        let unchanged: Vec<Run> = self.still_there(moved).collect();
        let Self { map, segments, .. } = self;
        for run in unchanged {
            let skip = run.address.lblk - moved.from.lblk;
            let address = SegmentAddress { segment: id, lblk: moved.lblk + skip };
            map.update(Run { address, ..run }, |old| {
                segments.sub_live(old.address.segment, old.nblocks);
            });
            segments.add_live(id, run.nblocks);
        }
    }

    /// The parts of a run of blocks that still are where it says.
    pub(crate) fn still_there(&self, moved: &Move) -> impl Iterator<Item = Run> {
        let Move { lba, nblocks, from, .. } = *moved;
        let range = BlockRange::new(lba, u64::from(nblocks));
        self.map.lookup(range).filter_map(move |span| match span {
            Span::Run(run) => {
                let skip = run.lba.0 - lba.0;
                let here = u64::from(from.lblk) + skip == u64::from(run.address.lblk);
                (run.address.segment == from.segment && here).then_some(run)
            }
            Span::Hole(_) => None,
        })
    }

    /// The segment of which parts are still to come. Without live blocks it is not dead.
    pub(crate) fn arriving(&self) -> Option<SegId> {
        self.arriving
    }
}

#[cfg(test)]
mod tests;
