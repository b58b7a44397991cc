//! What was read and is kept in memory: indexes of segments, decoded frames, and frames that were read ahead.
//!
//! Everything is known by its object, never by a handle of the segment table, because a handle may come to stand for another
//! segment. Frames that were read ahead wait in a queue of their own until a read wants them or newer ones need the
//! room, so that no read-ahead, however wrong, displaces what was really read.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;

use super::{Limits, fifo::Fifo};
use crate::format::{Object, SegmentIndex};

/// What a frame costs beside its bytes.
const OVERHEAD: u64 = 192;

pub(super) type FrameKey = (Object, u32);

/// A decoded frame.
#[derive(Clone, Debug)]
pub(super) struct Decoded {
    /// Its first block in the segment.
    pub(super) lblk: u32,
    pub(super) bytes: Bytes,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Frames {
    indexes: Fifo<Object, Arc<SegmentIndex>>,
    used: Fifo<FrameKey, Decoded>,
    ahead: Ahead,
    pub(super) counts: Counts,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) ahead_bytes: u64,
    pub(super) ahead_used: u64,
    pub(super) ahead_wasted: u64,
}

impl Frames {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            indexes: Fifo::new(limits.index_budget),
            used: Fifo::new(limits.frame_budget),
            ahead: Ahead { budget: limits.reads.readahead_budget, ..Ahead::default() },
            counts: Counts::default(),
        }
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.indexes.cost() + self.used.cost() + self.ahead.bytes
    }

    /// Lets go of `bytes`, or of everything: first what was only read ahead, indexes last.
    pub(super) fn shrink_by(&mut self, bytes: u64) -> u64 {
        let before = self.bytes();
        let most = before.saturating_sub(bytes);
        let others = self.indexes.cost() + self.used.cost();
        self.counts.ahead_wasted += self.ahead.shrink_to(most.saturating_sub(others));
        self.used.shrink_to(most.saturating_sub(self.indexes.cost() + self.ahead.bytes));
        self.indexes.shrink_to(most.saturating_sub(self.used.cost() + self.ahead.bytes));
        before - self.bytes()
    }

    pub(super) fn index(&mut self, object: &Object) -> Option<&Arc<SegmentIndex>> {
        self.indexes.get(object)
    }

    pub(super) fn keep_index(&mut self, index: &Arc<SegmentIndex>) {
        self.indexes.insert(index.object(), Arc::clone(index), index.bytes() as u64);
    }

    /// The frame, for a read. One that was read ahead is kept from now on.
    pub(super) fn take(&mut self, key: &FrameKey) -> Option<Decoded> {
        if let Some(frame) = self.used.get(key) {
            return Some(frame.clone());
        }
        let frame = self.ahead.take(key)?;
        self.counts.ahead_used += frame.bytes.len() as u64;
        self.keep(*key, frame.clone());
        Some(frame)
    }

    /// Whether it is in memory; that is no use of it.
    pub(super) fn has(&self, key: &FrameKey) -> bool {
        self.used.contains(key) || self.ahead.frames.contains_key(key)
    }

    /// Keeps a frame that was read.
    pub(super) fn keep(&mut self, key: FrameKey, frame: Decoded) {
        let cost = frame.bytes.len() as u64 + OVERHEAD;
        self.used.insert(key, frame, cost);
    }

    /// Keeps a frame that nobody asked for yet.
    pub(super) fn keep_ahead(&mut self, key: FrameKey, frame: Decoded) {
        let cost = frame.bytes.len() as u64 + OVERHEAD;
        if cost > self.ahead.budget {
            self.counts.ahead_wasted += frame.bytes.len() as u64;
            return;
        }
        self.counts.ahead_wasted += self.ahead.shrink_to(self.ahead.budget - cost);
        self.ahead.insert(key, frame);
    }
}

/// Frames that were read ahead, oldest first.
#[derive(Debug, Default)]
struct Ahead {
    frames: HashMap<FrameKey, (u64, Decoded)>,
    order: BTreeMap<u64, FrameKey>,
    stamp: u64,
    bytes: u64,
    budget: u64,
}

impl Ahead {
    fn insert(&mut self, key: FrameKey, frame: Decoded) {
        self.stamp += 1;
        self.bytes += frame.bytes.len() as u64 + OVERHEAD;
        self.order.insert(self.stamp, key);
        let before = self.frames.insert(key, (self.stamp, frame));
        assert!(before.is_none(), "what is in memory is not read ahead again");
    }

    fn take(&mut self, key: &FrameKey) -> Option<Decoded> {
        let (stamp, frame) = self.frames.remove(key)?;
        self.order.remove(&stamp);
        self.bytes -= frame.bytes.len() as u64 + OVERHEAD;
        Some(frame)
    }

    /// Lets the oldest go; says how many bytes of blocks that were.
    fn shrink_to(&mut self, most: u64) -> u64 {
        let mut gone = 0;
        while self.bytes > most {
            let (_, &oldest) = self.order.first_key_value().expect("what is kept is in the order");
            gone += self.take(&oldest).map_or(0, |frame| frame.bytes.len() as u64);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Tuning,
        format::{Epoch, Nonce, ObjectName, Seq, VolumeId, Writer},
    };

    fn key(number: u32) -> FrameKey {
        let writer = Writer { epoch: Epoch(1), nonce: Nonce(1) };
        (Object { volume: VolumeId(uuid::Uuid::nil()), name: ObjectName::Log { writer, seq: Seq(1) } }, number)
    }

    fn frames(budget: u64) -> Frames {
        let mut tuning = Tuning { frame_budget: budget, ..Tuning::default() };
        tuning.reads.readahead_budget = budget;
        Frames::new(&Limits::from(&tuning))
    }

    fn frame(number: u32) -> Decoded {
        Decoded { lblk: number, bytes: vec![7; 4096 - 192].into() }
    }

    #[test]
    fn what_is_read_ahead_displaces_nothing_that_was_read() {
        let mut frames = frames(4 * 4096);
        for number in 0..3 {
            frames.keep(key(number), frame(number));
        }
        for number in 100..200 {
            frames.keep_ahead(key(number), frame(number));
        }
        assert!((0..3).all(|number| frames.take(&key(number)).is_some()));
        assert_eq!(frames.counts.ahead_wasted, 96 * (4096 - 192));
        assert!((196..200).all(|number| frames.take(&key(number)).is_some_and(|frame| frame.lblk == number)));
        assert_eq!(frames.counts.ahead_used, 4 * (4096 - 192));
    }

    #[test]
    fn shrinking_begins_with_what_nobody_asked_for() {
        let mut frames = frames(8 * 4096);
        frames.keep(key(1), frame(1));
        frames.keep_ahead(key(2), frame(2));
        assert_eq!(frames.shrink_by(1), 4096);
        assert!(frames.has(&key(1)) && !frames.has(&key(2)));
        assert_eq!(frames.shrink_by(u64::MAX), 4096);
        assert_eq!(frames.bytes(), 0);
    }
}
