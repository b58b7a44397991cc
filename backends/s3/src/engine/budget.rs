//! The disk's part of the memory of the process (`memory`): what it holds, when it may hold more, when it must let go.
//!
//! Only what can wait asks: mutations and GETs. Caches keep what they are given, and give way at the end of the step.

use std::sync::Arc;

use super::Engine;
use crate::memory::Share;

/// See the [module](self). Without a share, only the disk's own limits hold.
#[derive(Debug, Default)]
pub(super) struct Budget {
    share: Option<Arc<Share>>,
    /// Something was refused since the last settling.
    refused: bool,
    /// Something was asked for since then, so what is said to be held is to be put right.
    asked: bool,
    settled: u64,
    waiting: bool,
}

impl Budget {
    pub(super) fn new(share: Option<Arc<Share>>) -> Self {
        Self { share, ..Self::default() }
    }

    /// Whether `bytes` more may be held. If somebody `waits` for them and they are refused, it is told when to ask again.
    fn grow(&mut self, bytes: u64, waits: bool) -> bool {
        self.asked = true;
        let granted = self.share.as_ref().is_none_or(|share| share.grow(bytes, waits));
        self.refused |= waits && !granted;
        granted
    }
}

impl Engine {
    fn held(&self) -> u64 {
        // What is in the journal too can be let go of, and is.
        let dirty = if self.journals() { self.log.memory() } else { self.log.dirty };
        dirty + self.reads.frames.bytes() + self.reads.gets.in_flight()
    }

    /// Whether a mutation of `bytes` may come in as far as the memory of the process goes. One that the journal takes
    /// needs none for long, and one that finds nothing dirty comes in whatever the others hold.
    pub(super) fn has_memory_for_write(&mut self, bytes: u64) -> bool {
        self.has_memory(bytes) || self.journals() || self.log.dirty == 0
    }

    /// Whether the process has room for a mutation of `bytes`. The disk's own caches give way to it.
    pub(super) fn has_memory(&mut self, bytes: u64) -> bool {
        if self.budget.grow(bytes, true) {
            return true;
        }
        if self.reads.frames.shrink_by(bytes) == 0 {
            return false;
        }
        let held = self.held();
        if let Some(share) = &self.budget.share {
            share.settle(held, true);
        }
        self.budget.grow(bytes, true)
    }

    pub(super) fn start_gets(&mut self, effects: &mut Vec<super::Effect>) {
        let Self { reads, budget, .. } = self;
        reads.gets.start(effects, |bytes, waits| budget.grow(bytes, waits));
    }

    /// Says what is held, and lets go of what is too much.
    pub(super) fn settle_memory(&mut self, moved: bool) {
        let Some(share) = self.budget.share.clone() else { return };
        let waits = self.admission.waiting() > 0 || self.reads.gets.is_short();
        let waiting = (self.budget.refused || self.budget.waiting) && waits;
        self.budget.refused = false;
        let asked = std::mem::take(&mut self.budget.asked);
        let mut held = self.held();
        if !moved && !asked && (held, waiting) == (self.budget.settled, self.budget.waiting) {
            return;
        }
        let excess = share.excess(held);
        if excess > 0 {
            self.reads.frames.shrink_by(excess);
            held = self.held();
        }
        share.settle(held, waiting);
        (self.budget.settled, self.budget.waiting) = (held, waiting);
    }
}
