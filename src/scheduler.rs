//! The chunk scheduler: what stands between validated requests and a backend, once per export.
//!
//! ```text
//! connection ──Op──► Scheduler ──Io──► Backend
//!     ▲                 │  overlapping mutations wait, lacking capabilities are emulated,
//!     │                 │  a failed flush latches
//!     └──Event── Queue ◄┘──────────────────────────── pieces and ends, from any thread
//!        │
//!     ReadPlan: pieces → chunks of a reply
//! ```
//!
//! Invariants: a backend never sees two overlapping mutations at once (C3) nor a request it denies (C4); no lock is
//! held while the backend or a sink is called; every request is ended exactly once.
//!
//! FLUSH needs no barrier of its own: all connections of an export share one backend, a reply leaves only
//! after the backend ended the mutation, and a FLUSH is submitted after that, so B5 covers it on any connection.
//!
//! Absent: sockets and the wire format; clocks; threads. Pieces of reads are planned in [`plan`], which is pure.

mod emulate;
mod order;
pub mod permits;
pub mod plan;
pub mod queue;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use nbdgate_api::{Backend, ByteRange, Error, Extent, ExtentKind, Info, Io, Kind, Op, Piece, Reply, Sink};
use parking_lot::Mutex;
use slab::Slab;

use self::{emulate::Step, order::RangeTable};

/// Orders, emulates and latches for one export; shared by all its connections.
pub struct Scheduler {
    backend: Arc<dyn Backend>,
    info: Info,
    flights: Mutex<Flights>,
    /// A flush failed: nothing may be acknowledged as durable any more, until the export is opened again.
    latched: AtomicBool,
    overlaps: AtomicU64,
    me: Weak<Self>,
}

/// Mutations and flushes that have not ended.
#[derive(Default)]
struct Flights {
    slots: Slab<Flight>,
    ranges: RangeTable,
    /// Submissions that became possible inside an `end`; one thread at a time takes them out, so that a chain of
    /// inline completions cannot grow the stack.
    ready: VecDeque<(usize, Op)>,
    dispatching: bool,
}

struct Flight {
    reply: Reply,
    /// Held in the range table; `None` for FLUSH.
    range: Option<ByteRange>,
    /// What is to be done after the step in progress.
    step: Step,
}

impl Scheduler {
    /// A scheduler for `backend`; `read_only` takes mutation away where the backend would allow it.
    pub fn new(backend: Arc<dyn Backend>, read_only: bool) -> Arc<Self> {
        let mut info = backend.info().clone();
        info.read_only |= read_only;
        Arc::new_cyclic(|me| Self {
            backend,
            info,
            flights: Mutex::default(),
            latched: AtomicBool::new(false),
            overlaps: AtomicU64::new(0),
            me: me.clone(),
        })
    }

    /// What clients may be told: the backend's word with the export's own restriction.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Whether a flush failed, so that mutations and flushes are refused.
    pub fn is_latched(&self) -> bool {
        self.latched.load(Ordering::Acquire)
    }

    /// Mutations that had to wait for an overlapping one, since the start.
    pub fn overlaps(&self) -> u64 {
        self.overlaps.load(Ordering::Relaxed)
    }

    /// Takes a validated request (C1, C2) and returns without waiting.
    pub fn submit(&self, op: Op, reply: Reply) {
        match op {
            Op::BlockStatus { range, .. } if !self.info.capabilities.extents => {
                reply.extents(vec![Extent { range, kind: ExtentKind::Data }]);
                reply.end(Ok(()));
            }
            Op::Cache(_) if !self.info.capabilities.cache => reply.end(Ok(())),
            Op::Read(_) | Op::BlockStatus { .. } | Op::Cache(_) => self.backend.submit(Io { op, reply }),
            Op::Flush => self.launch(op, None, reply),
            Op::Write { .. } | Op::Trim { .. } | Op::WriteZeroes { .. } => {
                let range = op.range();
                self.launch(op, range, reply);
            }
        }
    }

    /// Starts a mutation or a flush, or queues it behind an overlapping one.
    fn launch(&self, op: Op, range: Option<ByteRange>, reply: Reply) {
        if self.is_latched() {
            return reply.end(Err(latch_error()));
        }
        if range.is_some() && self.info.read_only {
            return reply.end(Err(Error::new(Kind::Permission, "export is read-only")));
        }
        let (op, step) = match emulate::first(op, &self.info) {
            Ok(start) => start,
            Err(error) => return reply.end(Err(error)),
        };
        let tag = {
            let mut flights = self.flights.lock();
            let tag = flights.slots.insert(Flight { reply, range, step });
            if let Some(range) = range
                && !flights.ranges.acquire(range, tag)
            {
                self.overlaps.fetch_add(1, Ordering::Relaxed);
                flights.ranges.wait(range, tag, op);
                return;
            }
            tag
        };
        self.to_backend(tag, op);
    }

    fn to_backend(&self, tag: usize, op: Op) {
        let sink: Arc<dyn Sink> = self.me.upgrade().expect("submit is called on a live scheduler");
        self.backend.submit(Io { op, reply: Reply::new(sink, tag as u64) });
    }

    /// Submits what became ready, unless another caller (maybe this thread, further up its stack) is at it.
    fn dispatch(&self) {
        if std::mem::replace(&mut self.flights.lock().dispatching, true) {
            return;
        }
        loop {
            let next = {
                let mut flights = self.flights.lock();
                let next = flights.ready.pop_front();
                flights.dispatching = next.is_some();
                next
            };
            match next {
                Some((tag, op)) => self.to_backend(tag, op),
                None => return,
            }
        }
    }
}

impl Sink for Scheduler {
    fn piece(&self, _tag: u64, _piece: Piece) {
        // Mutations and flushes have no pieces; a backend that sends one breaks B3 and is not listened to.
    }

    fn end(&self, tag: u64, outcome: Result<(), Error>) {
        let tag = usize::try_from(tag).expect("tags come from slab keys");
        let (flight, ready) = {
            let mut flights = self.flights.lock();
            if outcome.is_ok()
                && let Some(op) = flights.slots[tag].step.advance()
            {
                flights.ready.push_back((tag, op));
                (None, true)
            } else {
                let flight = flights.slots.remove(tag);
                if let Some(range) = flight.range {
                    let Flights { ranges, ready, .. } = &mut *flights;
                    ranges.release(range, |tag, op| ready.push_back((tag, op)));
                }
                (Some(flight), !flights.ready.is_empty())
            }
        };
        if let Some(flight) = flight {
            if let Err(error) = &outcome
                && flight.step.latches(error)
                && !self.latched.swap(true, Ordering::AcqRel)
            {
                tracing::error!(error = error.chain(), "flush failed: the export refuses writes until it is reopened");
            }
            flight.reply.end(outcome);
        }
        if ready {
            self.dispatch();
        }
    }
}

fn latch_error() -> Error {
    Error::new(Kind::Io, "an earlier flush failed; the export must be reopened before it can be written")
}

#[cfg(test)]
mod tests;
