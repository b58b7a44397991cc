//! The serving lease (OBJECT-LOG §6.6): reads are answered for so long after the start of the last proof of ownership.
//!
//! A gateway that is cut off does not learn of its successor, but its successor waits until this time is over. What is
//! admitted while the lease holds may be answered later: it is a state that the disk had while the request was under
//! way. Without the lease reads wait for a proof, up to the deadline of a read: a host that was paused for a while has one
//! after a round trip, and a client that is told EIO may give up its file system. Writes need no lease, they have fences.
//!
//! Proofs: a commit, which counts from when its put began (no fence stood in or before that slot then), and a look at
//! the manifest chain. Only this machine's monotonic clock is used.

use std::collections::VecDeque;

use nbdgate_api::{ByteRange, Error, Io, Kind, Op, Reply};

use super::{Effect, Engine, Millis, State, Timer};
use crate::{format::Seq, observer::LeaseLevels};

/// The chain is looked at so long after the last proof, if the lease is not shorter than three of these.
const EVERY: Millis = 3000;

/// Pause after a look that proved nothing.
const RETRY: Millis = 1000;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Lease {
    /// How long a proof holds; 0 for ever.
    length: Millis,
    /// Start of the last proof.
    proof: Millis,
    /// The next look is not before this.
    not_before: Millis,
    proving: bool,
    armed: bool,
    /// Puts under way or not committed, in the order of their slots, and when they began.
    puts: VecDeque<(Seq, Millis)>,
    waiting: VecDeque<Waiting>,
    told: LeaseLevels,
}

/// A read that waits for a proof.
#[derive(Debug)]
struct Waiting {
    op: Op,
    reply: Reply,
    deadline: Millis,
}

impl Lease {
    /// The disk was published as open at the start of the engine's clock, or later.
    pub(super) fn new(length: Millis) -> Self {
        Self {
            length,
            proof: 0,
            not_before: 0,
            proving: false,
            armed: false,
            puts: VecDeque::new(),
            waiting: VecDeque::new(),
            told: LeaseLevels { held: true, waiting: 0 },
        }
    }

    /// Whether reads may be answered.
    pub(super) fn holds(&self, now: Millis) -> bool {
        self.length == 0 || now < self.proof + self.length
    }

    pub(super) fn take_waiting(&mut self) -> impl Iterator<Item = Reply> + use<> {
        std::mem::take(&mut self.waiting).into_iter().map(|waiting| waiting.reply)
    }

    /// The put of a segment begins.
    pub(super) fn put_began(&mut self, seq: Seq, now: Millis) {
        if self.length > 0 {
            self.puts.push_back((seq, now));
        }
    }

    /// Every segment up to `seq` is in its slot.
    pub(super) fn committed(&mut self, seq: Seq, proves: bool) {
        while let Some(&(first, began)) = self.puts.front()
            && first <= seq
        {
            self.puts.pop_front();
            if proves {
                self.proof = self.proof.max(began);
            }
        }
    }

    /// When to look at the chain next.
    fn due(&self) -> Millis {
        (self.proof + EVERY.min(self.length / 3)).max(self.not_before)
    }
}

impl Engine {
    /// Whether a request has to wait until the disk is known to be ours.
    pub(super) fn needs_lease(&self, now: Millis, op: &Op) -> bool {
        matches!(op, Op::Read(_) | Op::BlockStatus { .. } | Op::DirtyStatus { .. }) && !self.lease.holds(now)
    }

    pub(super) fn await_lease(&mut self, now: Millis, io: Io, effects: &mut Vec<Effect>) {
        let deadline = now + self.limits.read_deadline;
        self.lease.waiting.push_back(Waiting { op: io.op, reply: io.reply, deadline });
        self.keep_lease(now, effects);
    }

    /// The look that began at `start` found the chain as this writer left it.
    pub(super) fn proved(&mut self, now: Millis, start: Millis, effects: &mut Vec<Effect>) {
        self.lease.proving = false;
        self.lease.proof = self.lease.proof.max(start);
        self.serve_waiting(now, effects);
    }

    /// The look proved nothing.
    pub(super) fn unproved(&mut self, now: Millis) {
        self.lease.proving = false;
        self.lease.not_before = now + RETRY;
    }

    pub(super) fn lease_due(&mut self) {
        self.lease.armed = false;
    }

    /// Looks at the chain if it is time, and sees to it that it will be; gives up on reads that waited too long.
    pub(super) fn keep_lease(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if self.lease.length == 0 || !matches!(self.state, State::Open) {
            return;
        }
        self.serve_waiting(now, effects);
        self.expire_waiting(now, effects);
        let due = self.lease.due();
        if !self.lease.proving && now >= due {
            self.lease.proving = true;
            effects.push(Effect::Prove(self.shape.writer));
        }
        if !self.lease.armed {
            self.lease.armed = true;
            let wait = due.checked_sub(now).filter(|&wait| wait > 0).unwrap_or(RETRY);
            effects.push(Effect::Timer(Timer::Lease, wait));
        }
        let held = self.lease.holds(now);
        let levels = LeaseLevels { held, waiting: u32::try_from(self.lease.waiting.len()).unwrap_or(u32::MAX) };
        if self.lease.told != levels {
            self.lease.told = levels;
            effects.push(Effect::Lease(levels));
        }
    }

    /// Serves what waited, if the lease holds again.
    fn serve_waiting(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        while self.lease.holds(now)
            && let Some(Waiting { op, reply, .. }) = self.lease.waiting.pop_front()
        {
            self.request(now, Io { op, reply }, effects);
        }
    }

    fn expire_waiting(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        while let Some(waiting) = self.lease.waiting.pop_front_if(|waiting| waiting.deadline <= now) {
            let text = "the store does not tell whether the disk is still this gateway's, so nothing is read from it \
                        (check the endpoint, the network and the credentials)";
            let error = Error::new(Kind::Io, text);
            if let Op::Read(range) = waiting.op {
                fail_read(waiting.reply, range, error, effects);
            } else {
                effects.push(Effect::End(waiting.reply, Err(error)));
            }
        }
    }
}

/// As a read whose bytes could not be had: piece and end.
fn fail_read(reply: Reply, range: ByteRange, error: Error, effects: &mut Vec<Effect>) {
    let token = std::sync::Arc::new(super::token::ReadToken::new(reply, range.length()));
    effects.push(Effect::Deliver(token, vec![super::Part::Failed(range, error)]));
}
