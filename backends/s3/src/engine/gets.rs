//! The queue of GETs: indexes and frames share one budget of bytes in flight.
//!
//! Invariant: what is in flight stays within the budget, unless it is a single GET.

use std::collections::VecDeque;

use super::{Effect, Millis, effect::FetchJob};
use crate::format::{Object, SegId, object::HEAD_FETCH};

/// A GET that waits for its turn.
#[derive(Debug)]
pub(super) enum Get {
    /// The index of a segment, with its deadline.
    Index(SegId, Object, Millis),
    /// Frames of one segment.
    Frames(FetchJob),
}

impl Get {
    fn bytes(&self) -> u64 {
        match self {
            Self::Index(..) => HEAD_FETCH,
            Self::Frames(job) => job.range.end - job.range.start,
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Gets {
    queued: VecDeque<Get>,
    in_flight: u64,
    budget: u64,
}

impl Gets {
    pub(super) fn new(budget: u64) -> Self {
        Self { queued: VecDeque::new(), in_flight: 0, budget }
    }

    pub(super) fn push(&mut self, get: Get) {
        self.queued.push_back(get);
    }

    /// Starts what there is room for, in order.
    pub(super) fn start(&mut self, effects: &mut Vec<Effect>) {
        while let Some(get) = self.queued.front() {
            if self.in_flight > 0 && self.in_flight + get.bytes() > self.budget {
                return;
            }
            self.in_flight += get.bytes();
            effects.push(match self.queued.pop_front().expect("it was just seen") {
                Get::Index(segment, object, deadline) => Effect::LoadIndex(segment, object, deadline),
                Get::Frames(job) => Effect::Fetch(job),
            });
        }
    }

    /// The GET of an index ended.
    pub(super) fn index_ended(&mut self) {
        self.in_flight -= HEAD_FETCH;
    }

    /// A GET of frames ended.
    pub(super) fn frames_ended(&mut self, bytes: u64) {
        self.in_flight -= bytes;
    }

    /// Forgets what was not started.
    pub(super) fn clear(&mut self) {
        self.queued.clear();
    }
}
