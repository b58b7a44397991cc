//! Faults by rule: the N-th request of a kind fails, is held back, or is lost.

mod rule;

use std::{collections::VecDeque, sync::Arc};

use nbdgate_api::{Backend, ByteRange, Error, Info, Io, Kind, Op};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};

pub use self::rule::{Action, Rule};
use crate::relay::relay;

/// Passes through what no rule concerns. Rules are asked in the order in which they were added; the first that
/// applies decides.
///
/// What is held reaches the backend by [`release`](Fault::release) and its kin, by later requests
/// ([`Action::HoldFor`]), or by the close; until then it waits, which is what B1 allows and a caller must bear.
pub struct Fault {
    inner: Arc<dyn Backend>,
    state: Mutex<State>,
}

struct State {
    rules: Vec<Rule>,
    held: VecDeque<Held>,
    rng: StdRng,
}

struct Held {
    io: Io,
    /// Later requests still to come before it goes on; `None` waits for the test.
    later: Option<u32>,
}

impl Fault {
    /// No rules yet; `seed` decides what is random in those to come.
    pub fn new(inner: Arc<dyn Backend>, seed: u64) -> Self {
        let state = State { rules: Vec::new(), held: VecDeque::new(), rng: StdRng::seed_from_u64(seed) };
        Self { inner, state: Mutex::new(state) }
    }

    /// Adds a rule.
    pub fn add(&self, rule: Rule) {
        self.state.lock().rules.push(rule);
    }

    /// Removes all rules; what is held stays so.
    pub fn clear(&self) {
        self.state.lock().rules.clear();
    }

    /// Requests held now, oldest first.
    pub fn held(&self) -> Vec<Op> {
        self.state.lock().held.iter().map(|held| held.io.op.clone()).collect()
    }

    /// Lets the oldest held request go on; whether there was one.
    pub fn release(&self) -> bool {
        let held = self.state.lock().held.pop_front();
        let found = held.is_some();
        self.pass_on(held);
        found
    }

    /// Lets all that are held now go on, in their order.
    pub fn release_all(&self) {
        let held = std::mem::take(&mut self.state.lock().held);
        self.pass_on(held);
    }

    /// Lets all that are held now go on, in an order that the seed decides.
    pub fn release_shuffled(&self) {
        let mut state = self.state.lock();
        let mut held: Vec<Held> = std::mem::take(&mut state.held).into();
        let mut shuffled = Vec::with_capacity(held.len());
        while !held.is_empty() {
            let index = state.rng.random_range(0..held.len());
            shuffled.push(held.swap_remove(index));
        }
        drop(state);
        self.pass_on(shuffled);
    }

    fn pass_on(&self, held: impl IntoIterator<Item = Held>) {
        for Held { io, .. } in held {
            self.inner.submit(io);
        }
    }

    fn act(&self, action: Action, mut io: Io) {
        match action {
            Action::Fail(kind) => io.reply.end(Err(injected(kind))),
            Action::FailAfter(kind) => self.serve_and_fail(io, kind),
            Action::FailPart(kind) => {
                let op = first_half(&io.op, self.info().block.minimum.into());
                self.serve_and_fail(Io { op, reply: io.reply }, kind);
            }
            Action::FailPiece(kind) => match io.op {
                Op::Read(range) => {
                    io.reply.fail(range, injected(kind));
                    io.reply.end(Ok(()));
                }
                _ => io.reply.end(Err(injected(kind))),
            },
            Action::Lose => drop(io),
            Action::Hold => {
                io.op.detach();
                self.state.lock().held.push_back(Held { io, later: None });
            }
            Action::HoldFor(most) => {
                io.op.detach();
                let mut state = self.state.lock();
                let later = Some(state.rng.random_range(1..=most.max(1)));
                state.held.push_back(Held { io, later });
            }
        }
    }

    fn serve_and_fail(&self, io: Io, kind: Kind) {
        let reply = relay(io.reply, move |outcome| outcome.and(Err(injected(kind))));
        self.inner.submit(Io { op: io.op, reply });
    }
}

impl State {
    /// Counts a new request; what it brings to an end of waiting.
    fn due(&mut self) -> Vec<Held> {
        let mut due = Vec::new();
        let mut waiting = VecDeque::with_capacity(self.held.len());
        for mut held in self.held.drain(..) {
            held.later = held.later.map(|later| later - 1);
            if held.later == Some(0) { due.push(held) } else { waiting.push_back(held) }
        }
        self.held = waiting;
        due
    }
}

impl Backend for Fault {
    fn info(&self) -> &Info {
        self.inner.info()
    }

    fn submit(&self, io: Io) {
        let (due, action) = {
            let mut state = self.state.lock();
            let action = state.rules.iter_mut().find_map(|rule| rule.applies(&io.op));
            (state.due(), action)
        };
        match action {
            None => self.inner.submit(io),
            Some(action) => self.act(action, io),
        }
        self.pass_on(due);
    }

    fn bitmaps(&self) -> Vec<Arc<str>> {
        self.inner.bitmaps()
    }

    fn close(&self) -> Result<(), Error> {
        self.clear();
        self.release_all();
        self.inner.close()
    }
}

fn injected(kind: Kind) -> Error {
    Error::new(kind, "injected fault")
}

/// The first half of a mutation, at least one block; other requests as they are.
fn first_half(op: &Op, block: u64) -> Op {
    let half = |range: ByteRange| {
        // Rounded up: a whole range is a multiple of the block, so its half is at least one and at most the whole.
        let length = (range.length() / 2).max(1).next_multiple_of(block);
        ByteRange::between(range.offset(), range.offset() + length)
    };
    match op {
        Op::Write { offset, payload, fua } => {
            let length = half(ByteRange::between(*offset, offset + payload.len())).length();
            Op::Write { offset: *offset, payload: payload.slice(0, length), fua: *fua }
        }
        Op::Trim { range, fua } => Op::Trim { range: half(*range), fua: *fua },
        Op::WriteZeroes { range, zeroes, fua } => Op::WriteZeroes { range: half(*range), zeroes: *zeroes, fua: *fua },
        Op::Read(_) | Op::Flush | Op::BlockStatus { .. } | Op::DirtyStatus { .. } | Op::Cache(_) => op.clone(),
    }
}
