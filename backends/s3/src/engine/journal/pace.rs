//! How fast mutations come in while there is a journal: its room, the lag behind it, and the memory they take.

use nbdgate_api::{Error, Reply};

use super::Journal;
use crate::{
    engine::{Content, Effect, Engine, Millis, State},
    format::{BLOCK_SIZE, BlockRange, Wseq, manifest::FlushMode},
    observer::JournalLevels,
};

/// Of a thousand parts of the ring: from here on writes are delayed.
const SLOW: u64 = 500;
/// And here they wait for space.
const FULL: u64 = 950;
/// The delay of a write at [`FULL`], and of each write while the bucket lags more than `rpo`.
const LONGEST_DELAY: Millis = 50;

impl Journal {
    /// Bytes of the ring that are taken, or will be by what waits for its record.
    fn taken(&self) -> u64 {
        self.ring.used() + self.group.bytes()
    }

    fn has_room(&self, payload: u64) -> bool {
        let block = BLOCK_SIZE as u64;
        let more = payload.next_multiple_of(block) + 2 * block;
        self.taken() == 0 || (self.taken() + more) * 1000 <= self.ring.size() * FULL
    }

    /// How long the next write is held back: k x (fill - 0.5).
    fn delay(&self) -> Millis {
        let fill = (self.taken() * 1000 / self.ring.size()).min(FULL);
        fill.saturating_sub(SLOW) * LONGEST_DELAY / (FULL - SLOW)
    }
}

impl Engine {
    /// Whether mutations are answered by the journal.
    pub(in crate::engine) fn journals(&self) -> bool {
        self.shape.flush == FlushMode::Journal && self.journal.is_some()
    }

    /// Why FLUSH and mutations end with an error, if they do: the journal that answers them failed.
    pub(in crate::engine) fn journal_failure(&self) -> Option<Error> {
        self.journal.as_ref().filter(|_| self.journals()).and_then(Journal::failure)
    }

    /// Whether a mutation of so many bytes may come in.
    pub(in crate::engine) fn has_room(&self, cost: u64) -> bool {
        match &self.journal {
            Some(journal) if self.journals() => journal.failed.is_some() || journal.has_room(cost),
            _ => self.log.dirty == 0 || self.log.dirty + cost <= self.limits.dirty_budget,
        }
    }

    /// How long the next mutation has to wait after the one before it.
    pub(in crate::engine) fn write_delay(&self, now: Millis) -> Millis {
        let Some(journal) = self.journal.as_ref().filter(|journal| self.journals() && journal.failed.is_none()) else {
            return 0;
        };
        if self.is_late(now) { LONGEST_DELAY } else { journal.delay() }
    }

    /// The bucket lags behind the journal by more than was asked for.
    pub(in crate::engine) fn is_late(&self, now: Millis) -> bool {
        let rpo = self.journal.as_ref().and_then(|journal| journal.rpo);
        rpo.is_some_and(|rpo| self.log.oldest().is_some_and(|since| now >= since + rpo))
    }

    /// Brings a mutation on its way into the journal.
    pub(in crate::engine) fn journal_runs(&mut self, wseq: Wseq, runs: &[(BlockRange, Content)]) {
        if self.journals()
            && let Some(journal) = self.journal.as_mut().filter(|journal| journal.failed.is_none())
        {
            journal.group.push(wseq, runs);
        }
    }

    /// Answers an appended mutation, or lets it wait for its record, or with FUA for its sync.
    pub(in crate::engine) fn acknowledge_journaled(&mut self, reply: Reply, fua: bool, effects: &mut Vec<Effect>) {
        if fua {
            self.flush(reply, effects);
            return;
        }
        let last = self.log.last;
        let journal = self.journal.as_mut().expect("the caller knows that there is one");
        match journal.failure() {
            // It was on its way when the medium failed.
            Some(error) => effects.push(Effect::End(reply, Err(error))),
            None => journal.acks.push(last, reply),
        }
    }

    /// A FLUSH in journal mode: at once if everything is stable, else with the next sync.
    pub(in crate::engine) fn flush_journaled(&mut self, reply: Reply, effects: &mut Vec<Effect>) {
        let last = self.log.last;
        let journal = self.journal.as_mut().expect("the caller knows that there is one");
        match journal.failure() {
            Some(error) => effects.push(Effect::End(reply, Err(error))),
            None => journal.flushes.push(last, reply),
        }
    }

    /// Lets go of data that the journal has, oldest first, until what is in memory fits the budget.
    pub(in crate::engine) fn release_memory(&mut self) {
        if let Some(journal) = &self.journal {
            self.log.release(self.limits.dirty_budget, journal.written);
        }
    }

    /// Whether the open batch should go although it is neither full nor old.
    pub(in crate::engine) fn journal_presses(&self, now: Millis) -> bool {
        let Some(journal) = &self.journal else { return false };
        journal.failed.is_some() || self.is_late(now) || journal.taken() * 1000 >= journal.ring.size() * SLOW
    }

    pub(in crate::engine) fn tell_journal(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let Some(journal) = &self.journal else { return };
        effects.push(Effect::JournalLevels(JournalLevels {
            size_bytes: journal.ring.size(),
            used_bytes: journal.ring.used(),
            unsynced_bytes: journal.ring.head() - journal.synced_to.max(journal.ring.tail()) + journal.group.bytes(),
            lag_bytes: self.log.dirty,
            lag_ms: self.log.oldest().map_or(0, |since| now.saturating_sub(since)),
            memory_bytes: self.log.memory(),
            delay_ms: self.write_delay(now),
            failed: journal.failed.is_some() || matches!(self.state, State::Failed(_)),
        }));
    }
}
