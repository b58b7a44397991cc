//! What follows from a change: seal, build, put, commit, admit, checkpoint, drain.
//!
//! Run after every event that can have changed the write path, so that each rule stands in one place.

use super::{Effect, Engine, Millis, SegmentUse, State, Timer, committed::log_segment, log::Commit};
use crate::observer::Levels;

/// How often the levels of a dirty disk are told at least.
const LEVELS_EVERY: Millis = 1000;

impl Engine {
    pub(super) fn settle(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if matches!(self.state, State::Failed(_)) {
            self.tell_levels(now, effects);
            return;
        }
        while let Some(commit) = self.log.next_commit() {
            self.commit(now, &commit);
        }
        self.log.waiters.wake(self.log.durable, effects);
        self.admit(now, effects);
        self.keep_journal(now, effects);
        self.release_memory();
        if self.wants_seal(now) {
            self.log.seal();
        }
        while let Some(job) = self.log.next_build(self.shape.writer, self.limits.window) {
            effects.push(Effect::Build(job));
        }
        while let Some((seq, built)) = self.log.next_put(self.limits.window) {
            self.lease.put_began(seq, now);
            effects.push(Effect::Put(seq, built.index.object(), built));
        }
        let open = matches!(self.state, State::Open) && !self.shape.read_only;
        if open && self.committed.wants_checkpoint(now, &self.limits) {
            self.committed.checkpoint_begins();
            effects.push(Effect::Checkpoint);
        }
        if open {
            self.keep_clean(now, effects);
        }
        self.arm_timers(now, effects);
        self.arm_levels(effects);
        self.keep_watch(now, effects);
        self.keep_lease(now, effects);
        if matches!(self.state, State::Draining) && !self.drain_told && self.is_drained() {
            self.drain_told = true;
            effects.push(Effect::Drained);
        }
        self.tell_levels(now, effects);
    }

    /// Moves a batch from pending to the map, in one step under the caller's lock.
    fn commit(&mut self, now: Millis, commit: &Commit) {
        let built = &commit.built.segment;
        self.committed.install(
            now,
            &SegmentUse {
                name: log_segment(self.shape.writer, commit.built.seq),
                lblocks: built.lblocks(),
                object_len: built.object_len(),
                meta_len: u64::from(built.prelude.meta_len),
                last_wseq: commit.batch.last,
                layout: &built.layout,
                zeros: &built.zeros,
            },
        );
        self.reads.frames.keep_index(&commit.built.index);
        self.earn(now, commit.batch.data());
        // Where conditions are ignored a slot that was filled proves nothing.
        self.lease.committed(commit.built.seq, !self.shape.advisory);
    }

    /// Whether the open batch should go (§5.2 step 6, §5.3).
    fn wants_seal(&self, now: Millis) -> bool {
        let Some(since) = self.log.active_since() else { return false };
        if matches!(self.state, State::Draining) && self.admission.is_empty() {
            return true;
        }
        let few = self.log.uploads() < self.limits.flush_inflight;
        if self.log.active_is_awaited() && few {
            return true;
        }
        let in_window = self.log.uploads() < self.limits.window;
        let pressure = self.journal_presses(now)
            || self.admission.waiting() > 0
            || self.log.dirty * 4 >= self.limits.dirty_budget * 3;
        in_window && (pressure || now >= since + self.limits.upload_delay)
    }

    /// No timer while nothing is dirty and nothing is behind the checkpoint: an idle disk sends nothing.
    fn arm_timers(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        // What is due and did not go waits for room, and the event that makes room is on its way.
        if let Some(since) = self.log.active_since()
            && let Some(wait) = (since + self.limits.upload_delay).checked_sub(now).filter(|&wait| wait > 0)
            && !self.seal_armed
        {
            self.seal_armed = true;
            effects.push(Effect::Timer(Timer::Seal, wait));
        }
        if !self.shape.read_only
            && let Some(due) = self.committed.checkpoint_due(&self.limits)
            && let Some(wait) = due.checked_sub(now).filter(|&wait| wait > 0)
            && !self.checkpoint_armed
        {
            self.checkpoint_armed = true;
            effects.push(Effect::Timer(Timer::Checkpoint, wait));
        }
    }

    /// Keeps the age of what is dirty moving while the store is silent.
    fn arm_levels(&mut self, effects: &mut Vec<Effect>) {
        if !self.levels_armed && self.log.oldest().is_some() {
            self.levels_armed = true;
            effects.push(Effect::Timer(Timer::Levels, LEVELS_EVERY));
        }
    }

    fn is_drained(&self) -> bool {
        self.log.is_empty()
            && self.admission.is_empty()
            && self.log.waiters.is_empty()
            && !self.committed.is_checkpointing()
            && self.journal.as_ref().is_none_or(super::journal::Journal::is_idle)
    }

    fn tell_levels(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        effects.push(Effect::Levels(Levels {
            dirty_bytes: self.log.dirty,
            uploads: u32::try_from(self.log.uploads()).unwrap_or(u32::MAX),
            commit_lag_ms: self.log.oldest().map_or(0, |since| now.saturating_sub(since)),
            waiting: u32::try_from(self.admission.waiting()).unwrap_or(u32::MAX),
        }));
        self.tell_journal(now, effects);
    }
}
