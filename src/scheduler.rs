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

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
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
    meters: Meters,
    me: Weak<Self>,
}

/// What a scheduler counts by itself.
#[derive(Clone, Debug)]
pub struct Meters {
    /// Mutations that waited for an overlapping one.
    pub overlaps: metrics::Counter,
    /// 1 once a flush has failed.
    pub latched: metrics::Gauge,
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
    pub fn new(backend: Arc<dyn Backend>, read_only: bool, meters: Meters) -> Arc<Self> {
        let mut info = backend.info().clone();
        info.read_only |= read_only;
        Arc::new_cyclic(|me| Self {
            backend,
            info,
            flights: Mutex::default(),
            latched: AtomicBool::new(false),
            meters,
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

    /// The longest READ that it takes at once, in bytes: the backend's read piece, and never more than its maximum
    /// payload, which clients may exceed with reads of up to 64 KiB.
    pub fn read_step(&self) -> u64 {
        u64::from(self.info.read_piece).min(emulate::longest_io(&self.info.block))
    }

    /// Takes a validated request (C1, C2) and returns without waiting.
    pub fn submit(self: &Arc<Self>, op: Op, reply: Reply) {
        match op {
            Op::BlockStatus { range, .. } if !self.info.capabilities.extents => {
                reply.extents(vec![Extent { range, kind: ExtentKind::Data }]);
                reply.end(Ok(()));
            }
            Op::Cache(_) if !self.info.capabilities.cache => reply.end(Ok(())),
            Op::Read(_) | Op::BlockStatus { .. } | Op::DirtyStatus { .. } | Op::Cache(_) => {
                self.hand_over(Io { op, reply });
            }
            Op::Flush => self.launch(op, None, reply),
            Op::Write { .. } | Op::Trim { .. } | Op::WriteZeroes { .. } => {
                let range = op.range();
                self.launch(op, range, reply);
            }
        }
    }

    /// Starts a mutation or a flush, or queues it behind an overlapping one.
    fn launch(self: &Arc<Self>, op: Op, range: Option<ByteRange>, reply: Reply) {
        if self.is_latched() {
            return reply.end(Err(latch_error()));
        }
        if range.is_some() && self.info.read_only {
            return reply.end(Err(Error::new(Kind::Permission, "export is read-only")));
        }
        let (mut op, step) = match emulate::first(op, &self.info) {
            Ok(start) => start,
            Err(error) => return reply.end(Err(error)),
        };
        let tag = {
            let mut flights = self.flights.lock();
            let tag = flights.slots.insert(Flight { reply, range, step });
            if let Some(range) = range
                && !flights.ranges.acquire(range)
            {
                self.meters.overlaps.increment(1);
                op.detach();
                flights.ranges.wait(range, tag, op);
                return;
            }
            tag
        };
        self.to_backend(self.clone(), tag, op);
    }

    fn to_backend(&self, sink: Arc<Self>, tag: usize, op: Op) {
        self.hand_over(Io { op, reply: Reply::new(sink, tag as u64) });
    }

    /// A backend that panics has dropped the reply and so failed the request (B2). Unwinding further would lose the
    /// requests that wait behind this one, and those of whoever is up the stack.
    fn hand_over(&self, io: Io) {
        if catch_unwind(AssertUnwindSafe(|| self.backend.submit(io))).is_err() {
            tracing::error!("backend panicked while it took a request");
        }
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
                // What waited while a flush failed is refused like what comes later.
                Some((tag, _)) if self.is_latched() => self.end(tag as u64, Err(latch_error())),
                Some((tag, op)) => {
                    let sink = self.me.upgrade().expect("the backend's reply that called this holds a live scheduler");
                    self.to_backend(sink, tag, op);
                }
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
        let mut latches = false;
        let (flight, outcome, ready) = {
            let mut flights = self.flights.lock();
            let step = &mut flights.slots[tag].step;
            let outcome = match outcome {
                // A device may tell a failure once and then succeed without the data: no promise after the first.
                Ok(()) if step.is_durable() && self.is_latched() => Err(latch_error()),
                outcome => outcome,
            };
            if let Err(error) = &outcome {
                latches = step.latches(error) && !self.latched.swap(true, Ordering::AcqRel);
            }
            if outcome.is_ok()
                && let Some(op) = step.advance()
            {
                flights.ready.push_back((tag, op));
                (None, outcome, true)
            } else {
                let flight = flights.slots.remove(tag);
                if let Some(range) = flight.range {
                    let Flights { ranges, ready, .. } = &mut *flights;
                    ranges.release(range, |tag, op| ready.push_back((tag, op)));
                }
                (Some(flight), outcome, !flights.ready.is_empty())
            }
        };
        if latches && let Err(error) = &outcome {
            self.meters.latched.set(1.0);
            tracing::error!(error = error.chain(), "flush failed: the export refuses writes until it is reopened");
        }
        if let Some(flight) = flight {
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
