//! The queue of GETs: indexes and frames share one budget of bytes in flight, and read-ahead gives way.
//!
//! Invariants: what is in flight stays within the budget, unless it is a single GET; nothing is begun ahead while
//! a GET that somebody waits for has no room.

use std::collections::VecDeque;

use super::{
    Effect,
    effect::{FetchJob, IndexJob},
};
use crate::{
    format::{Object, object::HEAD_FETCH},
    observer::Cause,
};

/// A GET that waits for its turn.
#[derive(Debug)]
pub(super) enum Get {
    /// The index of a segment.
    Index(IndexJob),
    /// Frames of one segment.
    Frames(FetchJob),
}

impl Get {
    fn bytes(&self) -> u64 {
        match self {
            Self::Index(_) => HEAD_FETCH,
            Self::Frames(job) => job.range.end - job.range.start,
        }
    }

    fn is_ahead(&self) -> bool {
        let cause = match self {
            Self::Index(job) => job.cause,
            Self::Frames(job) => job.cause,
        };
        cause == Cause::Prefetch
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Gets {
    /// Somebody waits for them.
    wanted: VecDeque<Get>,
    /// Nobody does yet.
    ahead: VecDeque<Get>,
    in_flight: u64,
    /// Of read-ahead, in flight and queued.
    outstanding: u64,
    budget: u64,
}

impl Gets {
    pub(super) fn new(budget: u64) -> Self {
        Self { wanted: VecDeque::new(), ahead: VecDeque::new(), in_flight: 0, outstanding: 0, budget }
    }

    /// Bytes on their way.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Bytes of read-ahead that are on their way or queued.
    pub(super) fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// Whether a GET that somebody waits for has no room.
    pub(super) fn is_short(&self) -> bool {
        !self.wanted.is_empty()
    }

    pub(super) fn push(&mut self, get: Get) {
        if get.is_ahead() {
            self.outstanding += get.bytes();
            self.ahead.push_back(get);
        } else {
            self.wanted.push_back(get);
        }
    }

    /// Starts what there is room for, in order. `room` says whether the process has memory for so many bytes, and whether
    /// somebody waits for them.
    pub(super) fn start(&mut self, effects: &mut Vec<Effect>, mut room: impl FnMut(u64, bool) -> bool) {
        for waits in [true, false] {
            loop {
                let queue = if waits { &mut self.wanted } else { &mut self.ahead };
                let Some(bytes) = queue.front().map(Get::bytes) else { break };
                let fits = self.in_flight + bytes <= self.budget && room(bytes, waits);
                // A single one always goes, or a small budget would stop all reads.
                if !fits && self.in_flight > 0 {
                    return;
                }
                self.in_flight += bytes;
                effects.push(match queue.pop_front().expect("it was just seen") {
                    Get::Index(job) => Effect::LoadIndex(job),
                    Get::Frames(job) => Effect::Fetch(job),
                });
            }
        }
    }

    /// A GET ended.
    pub(super) fn ended(&mut self, bytes: u64, cause: Cause) {
        self.in_flight -= bytes;
        if cause == Cause::Prefetch {
            self.outstanding -= bytes;
        }
    }

    /// Somebody waits now for an index that was to be loaded ahead. `false` if it is on its way already.
    pub(super) fn hurry_index(&mut self, object: &Object) -> bool {
        self.hurry(|get| matches!(get, Get::Index(job) if job.object == *object), Cause::Index)
    }

    /// Somebody waits now for a fetch that was to be made ahead. `false` if it is on its way already.
    pub(super) fn hurry_frames(&mut self, number: u64) -> bool {
        self.hurry(|get| matches!(get, Get::Frames(job) if job.number == number), Cause::Data)
    }

    fn hurry(&mut self, which: impl Fn(&Get) -> bool, now: Cause) -> bool {
        let Some(at) = self.ahead.iter().position(which) else { return false };
        let mut get = self.ahead.remove(at).expect("it was just found");
        self.outstanding -= get.bytes();
        match &mut get {
            Get::Index(job) => job.cause = now,
            Get::Frames(job) => job.cause = now,
        }
        self.wanted.push_back(get);
        true
    }

    /// Forgets the read-ahead that was not started.
    pub(super) fn shed(&mut self) -> Vec<Get> {
        let shed: Vec<Get> = self.ahead.drain(..).collect();
        self.outstanding -= shed.iter().map(Get::bytes).sum::<u64>();
        shed
    }

    /// Forgets what was not started.
    pub(super) fn clear(&mut self) {
        self.wanted.clear();
        self.shed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Epoch, Nonce, ObjectName, Seq, VolumeId, Writer};

    fn object(number: u64) -> Object {
        let writer = Writer { epoch: Epoch(1), nonce: Nonce(1) };
        Object { volume: VolumeId(uuid::Uuid::nil()), name: ObjectName::Log { writer, seq: Seq(number) } }
    }

    fn index(number: u64, cause: Cause) -> Get {
        Get::Index(IndexJob { object: object(number), deadline: 0, cause })
    }

    /// What begins, if the process has memory for so many bytes.
    fn start(gets: &mut Gets, memory: u64) -> Vec<(Object, Cause)> {
        let (mut effects, mut left) = (Vec::new(), memory);
        gets.start(&mut effects, |bytes, _| {
            left.checked_sub(bytes).is_some_and(|rest| {
                left = rest;
                true
            })
        });
        let begun = effects.into_iter().map(|effect| match effect {
            Effect::LoadIndex(job) => (job.object, job.cause),
            other => panic!("only indexes were queued, not {other:?}"),
        });
        begun.collect()
    }

    #[test]
    fn read_ahead_waits_for_all_that_somebody_waits_for() {
        let mut gets = Gets::new(3 * HEAD_FETCH);
        gets.push(index(1, Cause::Prefetch));
        gets.push(index(2, Cause::Prefetch));
        (3..7).for_each(|number| gets.push(index(number, Cause::Index)));
        let begun = start(&mut gets, u64::MAX);
        assert_eq!(begun, [3, 4, 5].map(|number| (object(number), Cause::Index)));
        assert!(gets.is_short());
        assert_eq!(gets.shed().len(), 2, "and is what is dropped");
        assert_eq!(gets.outstanding(), 0);
    }

    #[test]
    fn what_somebody_begins_to_wait_for_overtakes() {
        let mut gets = Gets::new(HEAD_FETCH);
        (1..4).for_each(|number| gets.push(index(number, Cause::Prefetch)));
        assert!(gets.hurry_index(&object(3)));
        assert!(!gets.hurry_index(&object(3)), "once");
        assert_eq!(start(&mut gets, u64::MAX), [(object(3), Cause::Index)]);
        gets.ended(HEAD_FETCH, Cause::Index);
        assert_eq!(start(&mut gets, u64::MAX), [(object(1), Cause::Prefetch)]);
        assert_eq!(gets.outstanding(), 2 * HEAD_FETCH);
        gets.ended(HEAD_FETCH, Cause::Prefetch);
        assert_eq!((gets.outstanding(), gets.in_flight()), (HEAD_FETCH, 0));
    }

    #[test]
    fn one_get_goes_whatever_the_budgets_say() {
        let mut gets = Gets::new(1);
        gets.push(index(1, Cause::Index));
        gets.push(index(2, Cause::Index));
        assert_eq!(start(&mut gets, 0).len(), 1);
        assert_eq!(start(&mut gets, 0).len(), 0);
        gets.ended(HEAD_FETCH, Cause::Index);
        assert_eq!(start(&mut gets, 0).len(), 1);
    }
}
