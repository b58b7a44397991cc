//! When garbage is collected: the engine decides, the driver does it.
//!
//! A round is asked for when something may have become worth it: after a checkpoint, and when garbage grew noticeably
//! since nothing was found. Looking is cheap and asks the store for nothing. A timer is armed only while a round waits
//! for its pace, so a disk at rest is silent.

use super::{Arrival, Effect, Engine, Millis, State, Timer};
use crate::{
    GcRules,
    format::{BLOCK_SIZE, CheckpointNo, SegId, Wseq},
    gc::{pace::Pace, select::Ask},
    map::Entries,
};

/// Without a write for so long the disk counts as idle.
const IDLE_AFTER: Millis = 60_000;

/// Writes wait so long for the store that moving data would only stand in their way.
const LATE: Millis = 5_000;

/// See the [module](self).
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "a round, a reason for one, a goal and a timer, each by itself")]
pub(super) struct Collector {
    rules: GcRules,
    pace: Pace,
    /// A round is under way.
    running: bool,
    /// Something may have become worth a round.
    look: bool,
    /// Cleaning has begun and has not reached its goal.
    active: bool,
    armed: bool,
    /// Garbage when nothing was worth a round, in blocks.
    base: u64,
    last_write: Millis,
}

/// What a round works on.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The segments.
    pub(crate) entries: Entries,
    /// The last published checkpoint.
    pub(crate) checkpoint: CheckpointNo,
    /// The last committed mutation.
    pub(crate) wseq: Wseq,
}

/// How a round ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Collected {
    /// Plain bytes that were moved.
    pub(crate) moved_bytes: u64,
    /// Another round may find something.
    pub(crate) more: bool,
    /// The goal is not reached.
    pub(crate) active: bool,
}

/// Whether background work may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing speaks against it.
    Calm,
    /// Clients' writes need the store for themselves.
    Rough,
    /// The disk is closing, or lost.
    Over,
}

impl Collector {
    pub(super) fn new(rules: &GcRules) -> Self {
        Self {
            rules: *rules,
            pace: Pace::new(rules.pace_percent, rules.idle_rate),
            running: false,
            look: true,
            active: false,
            armed: false,
            base: 0,
            last_write: 0,
        }
    }

    /// Something was published.
    pub(super) fn look(&mut self) {
        self.look = true;
    }

    pub(super) fn due(&mut self) {
        self.armed = false;
    }
}

impl Engine {
    /// Clients' bytes were committed.
    pub(super) fn earn(&mut self, now: Millis, bytes: u64) {
        let usage = self.committed.segments.usage();
        self.collector.last_write = now;
        self.collector.pace.earn(bytes, (usage.live * 100).checked_div(usage.blocks).unwrap_or(100));
    }

    /// Asks for a round if it is time, and sees to it that it will be.
    pub(super) fn keep_clean(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if !self.collector.rules.enabled || self.collector.running {
            return;
        }
        let usage = self.committed.segments.usage();
        let garbage = usage.blocks - usage.live;
        let collector = &mut self.collector;
        let grown = (garbage / 16).max(u64::from(collector.rules.small_segment) / BLOCK_SIZE as u64);
        collector.look |= garbage > collector.base + grown;
        if !collector.look {
            return;
        }
        match collector.pace.wait(now) {
            Some(0) => {
                collector.running = true;
                collector.look = false;
                collector.base = garbage;
                let idle = now >= collector.last_write + IDLE_AFTER;
                effects.push(Effect::Collect(Ask { active: collector.active, idle }));
            }
            Some(wait) if !collector.armed => {
                collector.armed = true;
                effects.push(Effect::Timer(Timer::Collect, wait));
            }
            Some(_) | None => {}
        }
    }

    /// A round ended.
    pub(super) fn collected(&mut self, collected: Collected) {
        let usage = self.committed.segments.usage();
        let collector = &mut self.collector;
        collector.running = false;
        collector.active = collected.active;
        collector.look |= collected.more;
        collector.base = usage.blocks - usage.live;
        collector.pace.spend(collected.moved_bytes);
    }

    /// A part of a segment of moved data is in the store.
    pub(super) fn arrived(&mut self, now: Millis, arrival: &Arrival) {
        if matches!(self.state, State::Failed(_)) {
            return;
        }
        self.committed.arrive(now, arrival);
        self.reads.frames.keep_index(&arrival.index);
    }

    /// What a round works on; `None` if there is to be none.
    pub(crate) fn survey(&self) -> Option<Survey> {
        let open = matches!(self.state, State::Open) && !self.shape.read_only;
        open.then(|| Survey {
            entries: self.committed.segments.entries(),
            checkpoint: self.committed.checkpoint,
            wseq: self.committed.position().wseq,
        })
    }

    /// Whether background work may use the store now.
    pub(crate) fn weather(&self, now: Millis) -> Weather {
        if !matches!(self.state, State::Open) {
            return Weather::Over;
        }
        let filling = !self.journals() && self.log.dirty * 2 >= self.limits.dirty_budget;
        // A client that writes as fast as it can would put collection off for ever: far behind, it takes its share.
        let usage = self.committed.segments.usage();
        let behind = usage.live * 2 < usage.blocks;
        let full = !behind && (self.admission.waiting() > 0 || filling);
        let late = self.log.oldest().is_some_and(|since| now >= since + self.limits.upload_delay + LATE);
        if full || late { Weather::Rough } else { Weather::Calm }
    }

    /// Whether the object of a segment may be deleted as far as this process knows: nothing refers to it and nobody
    /// reads it.
    pub(crate) fn is_unused(&self, segment: SegId) -> bool {
        let Some(entry) = self.committed.segments.get(segment) else { return true };
        let read = self.reads.uses(&self.committed.object(segment));
        entry.live == 0 && self.committed.arriving() != Some(segment) && !read
    }

    /// Drops segments from the table whose objects are deleted, or belong to an ancestor and are not in use. Returns
    /// which were dropped; the others are dropped another time.
    pub(crate) fn drop_segments(&mut self, segments: impl IntoIterator<Item = SegId>) -> Vec<SegId> {
        let dropped: Vec<SegId> = segments.into_iter().filter(|&segment| self.is_unused(segment)).collect();
        for &segment in &dropped {
            self.committed.segments.remove(segment);
        }
        dropped
    }
}

#[cfg(test)]
mod tests;
