//! FLUSH and FUA: wait until everything appended so far is committed.

use std::collections::VecDeque;

use nbdgate_api::Reply;

use super::{Effect, Engine};
use crate::format::{Wseq, manifest::FlushMode};

/// Replies that wait for a position in the order of mutations, ascending.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    queue: VecDeque<(Wseq, Reply)>,
}

impl Waiters {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn push(&mut self, wseq: Wseq, reply: Reply) {
        assert!(self.queue.back().is_none_or(|(last, _)| *last <= wseq), "positions only grow");
        self.queue.push_back((wseq, reply));
    }

    /// The first position behind `wseq` that someone waits for.
    pub(super) fn first_after(&self, wseq: Wseq) -> Option<Wseq> {
        let at = self.queue.partition_point(|(waited, _)| *waited <= wseq);
        self.queue.get(at).map(|(waited, _)| *waited)
    }

    /// The newest position that someone waits for.
    pub(super) fn newest(&self) -> Option<Wseq> {
        self.queue.back().map(|(wseq, _)| *wseq)
    }

    /// Ends who waited for `durable` or less.
    pub(super) fn wake(&mut self, durable: Wseq, effects: &mut Vec<Effect>) {
        while self.queue.front().is_some_and(|(wseq, _)| *wseq <= durable) {
            let (_, reply) = self.queue.pop_front().expect("it was just seen");
            effects.push(Effect::End(reply, Ok(())));
        }
    }

    pub(super) fn take(&mut self) -> impl Iterator<Item = Reply> + use<> {
        std::mem::take(&mut self.queue).into_iter().map(|(_, reply)| reply)
    }
}

impl Engine {
    /// Ends `reply` when every mutation appended so far is durable, as far as this disk promises it. Whoever was answered before was appended
    /// before, so this covers at least what it must (P2), and nothing that comes later.
    pub(super) fn flush(&mut self, reply: Reply, effects: &mut Vec<Effect>) {
        if self.journals() {
            self.flush_journaled(reply, effects);
        } else if self.shape.flush == FlushMode::None {
            effects.push(Effect::End(reply, Ok(())));
        } else {
            self.flush_to_bucket(reply, effects);
        }
    }

    /// Ends `reply` when every mutation appended so far is committed.
    pub(super) fn flush_to_bucket(&mut self, reply: Reply, effects: &mut Vec<Effect>) {
        if let Some(error) = self.failure() {
            effects.push(Effect::End(reply, Err(error)));
        } else if self.log.durable >= self.log.last {
            effects.push(Effect::End(reply, Ok(())));
        } else {
            self.log.waiters.push(self.log.last, reply);
        }
    }
}
