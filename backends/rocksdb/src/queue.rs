//! What waits for the committer of a disk: mutations in the order in which they came.

use std::{
    collections::VecDeque,
    thread,
    time::{Duration, Instant},
};

use nbdgate_api::{Error, Kind};
use nbdgate_io::busy_poll;
use parking_lot::{Condvar, Mutex};

use crate::{disk::Pending, draft::Change};

/// Bytes that one batch writes, beyond which nothing more is taken.
pub(crate) const BATCH_BYTES: u64 = 1 << 20;
/// Mutations of one batch at most.
const BATCH_MUTATIONS: usize = 1024;
/// Zeroing more whole extents than this is one range deletion: a batch for itself, that costs reads more than single ones.
const RANGE_EXTENTS: u64 = 64;
/// How long the committer looks for more before it sleeps.
const LINGER: Duration = Duration::from_micros(50);
/// Bytes that a mutation counts for beside its extents.
const OVERHEAD: u64 = 512;

/// What [`Queue::take`] found.
#[derive(Debug)]
pub(crate) enum Taken {
    /// These, in their order.
    Batch(Vec<Mutation>),
    /// Nothing came for a while.
    Nothing,
    /// Nothing will come any more.
    Closed,
}

/// A mutation on its way.
#[derive(Debug)]
pub(crate) struct Mutation {
    pub(crate) request: Pending,
    pub(crate) change: Change,
    /// Durable before it is answered.
    pub(crate) fua: bool,
    /// Bytes that it makes a batch write, at most.
    weight: u64,
}

impl Mutation {
    pub(crate) fn new(request: Pending, change: Change, fua: bool) -> Self {
        let core = &*request.ticket;
        let (range, extents) = (change.range(), core.extents_of(change.range()));
        let ends = u64::from(!range.offset().is_multiple_of(core.extent))
            + u64::from(!range.end().is_multiple_of(core.extent));
        let weight = OVERHEAD
            + match &change {
                // Of what it touches, all is written.
                Change::Write { .. } => (extents.end - extents.start) * core.extent,
                Change::Zero { .. } => ends * core.extent,
            };
        Self { request, change, fua, weight }
    }

    /// Bytes that it makes a batch write, at most.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    /// Whether it is a range deletion.
    pub(crate) fn is_long(&self, extent: u64) -> bool {
        matches!(&self.change, Change::Zero { range, .. } if range.length() / extent > RANGE_EXTENTS)
    }
}

/// What waits for the committer. Bounded by the permits that requests hold.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<Waiting>,
    work: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    mutations: VecDeque<Mutation>,
    bytes: u64,
    closed: bool,
}

impl Queue {
    pub(crate) fn push(&self, mutation: Mutation) {
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            return mutation.request.end(Err(Error::new(Kind::Shutdown, "the disk is closed")));
        }
        state.bytes += mutation.weight;
        state.mutations.push_back(mutation);
        drop(state);
        self.work.notify_one();
    }

    /// How many there are, and their bytes.
    pub(crate) fn waiting(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.mutations.len() as u64, state.bytes)
    }

    /// Lets the committer end when nothing is left.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_all();
    }

    /// Looks for mutations for a while, where that has found some lately: to be woken takes longer than a short write.
    pub(crate) fn linger(&self, pays: &mut busy_poll::Pace) {
        if !pays.pass(1) {
            return;
        }
        let began = Instant::now();
        let found = loop {
            if !self.state.lock().mutations.is_empty() {
                break true;
            }
            thread::yield_now();
            if began.elapsed() > LINGER {
                break false;
            }
        };
        pays.polled(found);
    }

    /// Waits for mutations, for as long as `patience` says; none if none came. Then it is over if it is closed.
    pub(crate) fn take(&self, extent: u64, patience: Option<Duration>) -> Taken {
        let mut state = self.state.lock();
        while state.mutations.is_empty() && !state.closed {
            match patience {
                None => self.work.wait(&mut state),
                Some(patience) if self.work.wait_for(&mut state, patience).timed_out() => return Taken::Nothing,
                Some(_) => {}
            }
        }
        if state.mutations.is_empty() {
            return Taken::Closed;
        }
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(next) = state.mutations.front() {
            let full = bytes > 0 && bytes + next.weight > BATCH_BYTES || taken.len() == BATCH_MUTATIONS;
            let alone = next.is_long(extent);
            if full || alone && !taken.is_empty() {
                break;
            }
            bytes += next.weight;
            taken.extend(state.mutations.pop_front());
            if alone {
                break;
            }
        }
        state.bytes -= bytes;
        Taken::Batch(taken)
    }
}
