//! The core of an open disk: a state machine without I/O, clock, randomness or threads.
//!
//! ```text
//!  requests ──► Engine::step(now, event, effects) ──► effects: replies, builds, puts, gets, timers
//!                 ▲                                       │
//!                 └────────── completions ◄── driver ◄────┘
//! ```
//!
//! The driver calls `step` under a lock and executes the effects outside of it. Whatever the order of
//! completions, the engine commits segments in the order of their slots, answers a FLUSH only behind
//! every earlier slot, and never answers anything well again once it was fenced.
//!
//! Parts: `admit` (mutations come in), `collect` (when garbage is collected), `log` (batches, slots, commits), `reads`
//! (spans, indexes, frames), `prefetch` (reading ahead), `budget` (memory shared with other disks), `status` (block
//! status), `committed` (the map), `settle` (what follows from a change).

mod absorb;
mod admit;
mod at_hand;
mod budget;
mod changes;
mod collect;
mod committed;
mod cut;
mod edges;
mod effect;
mod fifo;
mod flush;
mod frames;
mod gets;
mod held;
mod intervals;
mod journal;
mod lease;
mod log;
mod memory;
mod plan;
mod prefetch;
mod reads;
mod settle;
mod status;
mod streams;
mod token;
mod watch;

use std::sync::Arc;

use nbdgate_api::{Error, Io, Kind, Op, Reply};

use crate::{
    CheckpointRules, GcRules, ReadRules, Tuning,
    attach_profile::AttachProfile,
    format::{BLOCK_SIZE, Writer, manifest::FlushMode},
    memory::Share,
};

use self::{admit::Admission, budget::Budget, log::Log, prefetch::Ahead, reads::Reads};
pub(crate) use self::{
    collect::{Collected, Weather},
    committed::{Arrival, Committed, Move, SegmentUse, log_segment},
    effect::{Effect, Event, FetchJob, IndexJob, Millis, Timer},
    intervals::{Content, Run},
    journal::{Done as JournalDone, Order as JournalOrder, Wanted, WantedFor},
    log::{BuildJob, Built, LogStart},
    token::Part,
};

/// What the engine is told once.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Blocks of the disk.
    pub(crate) blocks: u64,
    /// Refuses mutations.
    pub(crate) read_only: bool,
    /// Who writes.
    pub(crate) writer: Writer,
    /// Stored bytes at which a segment is closed.
    pub(crate) segment_target: u64,
    /// The store does not keep two writers apart, so the manifest is watched.
    pub(crate) advisory: bool,
    /// How long reads are answered after a proof of ownership; 0 for ever.
    pub(crate) lease: Millis,
    /// What FLUSH waits for; with [`FlushMode::Journal`] there is a journal if the disk is served.
    pub(crate) flush: FlushMode,
}

/// The limits of an engine; the words are those of [`Tuning`].
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    dirty_budget: u64,
    upload_delay: u64,
    window: usize,
    flush_inflight: usize,
    index_budget: u64,
    frame_budget: u64,
    get_budget: u64,
    read_deadline: u64,
    checkpoint: CheckpointRules,
    checkpoint_interval: u64,
    gc: GcRules,
    reads: ReadRules,
    profile_time: u64,
    /// Bytes that clients and profiles may wish for at once.
    hint_budget: u64,
}

impl Limits {
    /// The same for a disk with a read cache on local storage, which can hold much more than memory of what is read ahead.
    pub(crate) fn with_cache(self) -> Self {
        Self { hint_budget: HINTS_TO_CACHE, ..self }
    }
}

/// Bytes that clients and profiles may wish for at once if there is a read cache.
const HINTS_TO_CACHE: u64 = 2 << 30;

impl From<&Tuning> for Limits {
    fn from(tuning: &Tuning) -> Self {
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            dirty_budget: tuning.dirty_budget,
            upload_delay: millis(tuning.upload_delay),
            window: tuning.window.max(1) as usize,
            flush_inflight: tuning.flush_inflight.max(1) as usize,
            index_budget: tuning.index_budget,
            frame_budget: tuning.frame_budget,
            get_budget: tuning.get_budget,
            read_deadline: millis(tuning.read_deadline),
            checkpoint: tuning.checkpoint,
            checkpoint_interval: millis(tuning.checkpoint.interval),
            gc: tuning.gc,
            reads: tuning.reads,
            profile_time: millis(tuning.reads.profile),
            hint_budget: tuning.reads.readahead_budget,
        }
    }
}

/// Where an engine stands (OBJECT-LOG §6.1).
#[derive(Debug)]
enum State {
    Open,
    /// `close` was called: nothing new, what is inside is finished.
    Draining,
    /// Terminal: another writer owns the disk, or the store holds what cannot be. Nothing ends well any more.
    Failed(Error),
}

/// The state machine; see the [module](self).
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "three timers and a message, each armed or told by itself")]
pub(crate) struct Engine {
    shape: Shape,
    limits: Limits,
    state: State,
    committed: Committed,
    log: Log,
    admission: Admission,
    reads: Reads,
    bases: changes::Bases,
    ahead: Ahead,
    budget: Budget,
    watch: watch::Watch,
    collector: collect::Collector,
    lease: lease::Lease,
    journal: Option<journal::Journal>,
    seal_armed: bool,
    checkpoint_armed: bool,
    levels_armed: bool,
    drain_told: bool,
}

impl Engine {
    /// An engine over what recovery found.
    pub(crate) fn new(shape: Shape, limits: Limits, committed: Committed, start: LogStart) -> Self {
        let reads = Reads::new(&limits);
        Self {
            log: Log::new(start),
            bases: changes::Bases::default(),
            admission: Admission::default(),
            state: State::Open,
            watch: watch::Watch::default(),
            collector: collect::Collector::new(&limits.gc),
            lease: lease::Lease::new(shape.lease),
            journal: None,
            seal_armed: false,
            checkpoint_armed: false,
            levels_armed: false,
            drain_told: false,
            shape,
            limits,
            committed,
            reads,
            ahead: Ahead::new(AttachProfile::default()),
            budget: Budget::default(),
        }
    }

    /// The same with what the last attach began with, and a part of the memory of the process.
    pub(crate) fn equipped(self, last: AttachProfile, share: Option<Arc<Share>>) -> Self {
        Self { ahead: Ahead::new(last), budget: Budget::new(share), ..self }
    }

    /// Takes one event at `now`, a time that never runs backwards, and says what is to be done.
    pub(crate) fn step(&mut self, now: Millis, event: Event, effects: &mut Vec<Effect>) {
        let moved = matches!(event, Event::Memory);
        self.take(now, event, effects);
        self.settle_memory(moved);
    }

    fn take(&mut self, now: Millis, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Begin | Event::Awake => {}
            Event::Settle(reply) => self.flush_to_bucket(reply, effects),
            Event::Request(io) => {
                if !self.request(now, io, effects) {
                    return;
                }
            }
            Event::Built(built) => self.built(*built),
            Event::Stored(seq) => self.stored(seq),
            Event::Lost(error) => self.fail(error, effects),
            Event::Index(object, result) => self.index_loaded(now, object, result, effects),
            Event::Fetched(fetch, frames) => self.fetched(now, fetch, frames, effects),
            Event::Tick(Timer::Seal) => self.seal_armed = false,
            Event::Tick(Timer::Checkpoint) => self.checkpoint_armed = false,
            Event::Tick(Timer::Levels) => self.levels_armed = false,
            Event::Tick(Timer::Watch) => self.watch_due(),
            Event::Tick(Timer::Collect) => self.collector.due(),
            Event::Tick(Timer::Admit) => self.admission.is_timed = false,
            Event::Journal(done) => self.journal_done(now, done, effects),
            Event::Watched => self.watched(),
            Event::Arrived(arrival) => self.arrived(now, &arrival),
            Event::Collected(collected) => self.collected(collected),
            Event::Checkpointed => {
                self.committed.checkpoint_ended();
                self.collector.look();
            }
            Event::Base(bitmap, result) => self.base_loaded(&bitmap, result, effects),
            Event::BaseGone(bitmap) => self.bases.forget(&bitmap),
            Event::Cut(reply) => self.cut(reply, effects),
            Event::Tick(Timer::Lease) => self.lease_due(),
            Event::Proved(start) => self.proved(now, start, effects),
            Event::Unproved => self.unproved(now),
            Event::CheckpointFailed => self.committed.checkpoint_failed(now),
            Event::Memory => self.start_gets(effects),
            Event::Drain => {
                self.tell_reads(effects);
                if matches!(self.state, State::Open) {
                    self.state = State::Draining;
                }
            }
            Event::Abandon => {
                let error = Error::new(Kind::Shutdown, "the disk was closed");
                self.fail(error, effects);
            }
        }
        self.settle(now, effects);
    }

    /// Where on the journal's medium blocks lie that were let go of.
    pub(crate) fn journal_spot(&self, held: &held::Held) -> crate::journal::Spot {
        self.spot_of(held)
    }

    /// Why the engine failed, if it did.
    pub(crate) fn failure(&self) -> Option<Error> {
        match &self.state {
            State::Failed(error) => Some(error.duplicate()),
            State::Open | State::Draining => None,
        }
    }

    /// Where the journal's chain ends and its newest superblock, once nothing is written any more; `None` if there is no
    /// journal, or one that failed.
    pub(crate) fn journal_head(&self) -> Option<(crate::journal::Mark, crate::journal::Superblock)> {
        self.journal.as_ref().filter(|journal| journal.failure().is_none()).map(journal::Journal::head)
    }

    /// Forgets a journal whose content is in the bucket and that this disk does not write.
    pub(crate) fn detach_journal(&mut self) {
        self.journal = None;
    }

    /// The profile for the next attach, if this one has a new one.
    pub(crate) fn attach_profile(&self, now: Millis) -> Option<&AttachProfile> {
        self.ahead.profile(now)
    }

    /// The committed state, for a checkpoint.
    pub(crate) fn committed(&mut self) -> &mut Committed {
        &mut self.committed
    }

    /// Takes a request; `false` if it cannot have changed anything but reads.
    fn request(&mut self, now: Millis, io: Io, effects: &mut Vec<Effect>) -> bool {
        if let Some(error) = self.refusal() {
            effects.push(Effect::End(io.reply, Err(error)));
            return false;
        }
        if self.needs_lease(now, &io.op) {
            self.await_lease(now, io, effects);
            return false;
        }
        let Io { op, reply } = io;
        match op {
            Op::Read(range) => {
                self.read(now, range, reply, effects);
                false
            }
            Op::BlockStatus { range, req_one } => {
                effects.push(Effect::Extents(reply, self.status(range, req_one)));
                false
            }
            Op::DirtyStatus { range, req_one, bitmap } => {
                self.dirty_status(changes::Question { range, req_one, reply }, &bitmap, effects);
                false
            }
            Op::Cache(range) => {
                self.attached(now);
                self.wish(range.offset()..range.end());
                effects.push(Effect::End(reply, Ok(())));
                self.read_ahead(now, effects);
                false
            }
            Op::Flush | Op::Write { .. } | Op::Trim { .. } | Op::WriteZeroes { .. }
                if self.journal_failure().is_some() =>
            {
                effects.push(Effect::End(reply, self.journal_failure().map_or(Ok(()), Err)));
                false
            }
            Op::Flush => {
                self.flush(reply, effects);
                true
            }
            Op::Write { .. } | Op::Trim { .. } | Op::WriteZeroes { .. } => {
                self.mutate(now, op, reply, effects);
                true
            }
        }
    }

    fn refusal(&self) -> Option<Error> {
        match &self.state {
            State::Open => None,
            State::Draining => Some(Error::new(Kind::Shutdown, "the disk is being closed")),
            State::Failed(error) => Some(error.duplicate()),
        }
    }

    /// Ends everything inside with `error`; what comes later is refused with it.
    fn fail(&mut self, error: Error, effects: &mut Vec<Effect>) {
        if matches!(self.state, State::Failed(_)) {
            return;
        }
        let end = |reply: Reply, effects: &mut Vec<Effect>| effects.push(Effect::End(reply, Err(error.duplicate())));
        let journaled = self.journal.as_mut().map(journal::Journal::take_waiters).unwrap_or_default();
        let waiting = self.admission.take_all().into_iter().chain(self.log.take_waiters()).chain(journaled);
        for reply in waiting.chain(self.lease.take_waiting()) {
            end(reply, effects);
        }
        self.reads.fail_all(&error, effects);
        self.bases.take_waiting().for_each(|reply| end(reply, effects));
        self.log.abandon();
        self.state = State::Failed(error);
        effects.push(Effect::Drained);
    }
}

/// Blocks of a disk as bytes.
fn bytes_of(blocks: u64) -> u64 {
    blocks * BLOCK_SIZE as u64
}

#[cfg(test)]
mod tests;
