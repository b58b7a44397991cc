//! The usual read of a disk in use: its bytes lie in one frame that is in memory. Answered without an event, a token or an
//! allocation.

use bytes::Bytes;
use nbdgate_api::ByteRange;

use super::{Effect, Engine, Millis, frames::Decoded, reads::Reads};
use crate::{
    format::{BLOCK_SIZE, BlockRange, Lba, Object},
    observer::ReadLevels,
};

const BLOCK: u64 = BLOCK_SIZE as u64;

/// The figures are told after so many hits, and after each fetch.
const TELL_HITS: u64 = 1024;

impl Reads {
    /// A block, if its frame was read lately.
    pub(super) fn block_in_cache(&mut self, object: Object, lblk: u32) -> Option<Bytes> {
        self.in_memory(object, lblk, 1)
    }

    /// Blocks of a segment, if they lie in one frame that is in memory.
    fn in_memory(&mut self, object: Object, lblk: u32, nblocks: u32) -> Option<Bytes> {
        let index = self.frames.index(&object)?;
        let frame = index.locate(lblk, nblocks).ok()?.next()?;
        if frame.lblk + frame.nblocks < lblk + nblocks {
            return None;
        }
        let Decoded { lblk: first, bytes } = self.frames.take(&(object, frame.number))?;
        let start = (lblk - first) as usize * BLOCK_SIZE;
        Some(bytes.slice(start..start + nblocks as usize * BLOCK_SIZE))
    }
}

impl Engine {
    /// The bytes of a read that lie in one frame in memory: the usual read of a disk in use, answered without an event.
    /// `None` for every other one, which is to come as a request.
    pub(crate) fn read_at_hand(&mut self, now: Millis, range: ByteRange, effects: &mut Vec<Effect>) -> Option<Bytes> {
        // Whoever is to be refused, or to wait for the lease, comes as a request.
        if self.refusal().is_some() || !self.lease.holds(now) {
            return None;
        }
        let bytes = self.at_hand(now, range)?;
        self.attached(now);
        self.read_ahead(now, effects);
        if self.reads.frames.counts.hits.is_multiple_of(TELL_HITS) {
            self.tell_reads(effects);
        }
        Some(bytes)
    }

    /// Where the read path stands, for whoever listens.
    pub(super) fn tell_reads(&self, effects: &mut Vec<Effect>) {
        let counts = self.reads.frames.counts;
        effects.push(Effect::Reads(ReadLevels {
            frame_hits: counts.hits,
            frame_misses: counts.misses,
            ahead_bytes: counts.ahead_bytes,
            ahead_used_bytes: counts.ahead_used,
            ahead_wasted_bytes: counts.ahead_wasted,
            memory_bytes: self.reads.frames.bytes(),
            in_flight_bytes: self.reads.gets.in_flight(),
        }));
    }

    fn at_hand(&mut self, now: Millis, range: ByteRange) -> Option<Bytes> {
        let first = range.offset() / BLOCK;
        let blocks = BlockRange::new(Lba(first), range.end().div_ceil(BLOCK) - first);
        if self.log.pending.overlapping(blocks).next().is_some() {
            return None;
        }
        let address = self.committed.lookup_whole(blocks)?;
        let object = self.committed.object(address.segment);
        let bytes = self.reads.in_memory(object, address.lblk, u32::try_from(blocks.nblocks).ok()?)?;
        self.reads.frames.counts.hits += 1;
        let skip = usize::try_from(range.offset() % BLOCK).expect("inside a block");
        let length = usize::try_from(range.length()).expect("inside a frame");
        self.ahead.record(now, range);
        self.follow(now, range, Some(address));
        Some(bytes.slice(skip..skip + length))
    }
}
