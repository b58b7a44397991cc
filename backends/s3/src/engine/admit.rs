//! How mutations come in: the dirty budget, the edges of unaligned requests, and the order of the disk.
//!
//! ```text
//!  mutate ─► waiting (budget full) ─► start ─► edges unknown? ─► rewrite: guards its edge blocks, reads them
//!                                       │                          │
//!                                       └────────► append ◄────────┘
//! ```
//!
//! Invariants: a block is guarded by at most one rewrite; a mutation that touches a guarded block waits for it, so a
//! rewrite's edge cannot change between being read and being written (P1, P3). What waits is bounded by the
//! scheduler above, which has budgets of its own.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use nbdgate_api::{ByteRange, Op, Payload, Reply};

use super::{Effect, Engine, Millis, Timer, edges::Rewrite};
use crate::format::{BLOCK_SIZE, BlockRange, Lba};

/// What a mutation costs beside its payload: map entries, records, bookkeeping.
pub(super) const OVERHEAD: u64 = 512;

/// The longest part of a WRITE that is never split over segments (P3).
const ATOMIC: u64 = 4 << 20;

/// A WRITE, TRIM or WRITE_ZEROES on its way in.
#[derive(Debug)]
pub(super) struct Mutation {
    pub(super) range: ByteRange,
    /// Without one: zeros.
    pub(super) payload: Option<Payload>,
    pub(super) fua: bool,
    pub(super) reply: Reply,
}

impl Mutation {
    fn cost(&self) -> u64 {
        OVERHEAD + self.payload.as_ref().map_or(0, Payload::len)
    }

    /// All blocks it touches.
    pub(super) fn blocks(&self) -> BlockRange {
        let block = BLOCK_SIZE as u64;
        let (first, end) = (self.range.offset() / block, self.range.end().div_ceil(block));
        BlockRange::new(Lba(first), end - first)
    }
}

/// Mutations that are not in the log yet.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// They wait for room, in order.
    waiting: VecDeque<Mutation>,
    /// Rewrites that read their edges.
    pub(super) rewrites: BTreeMap<u64, Rewrite>,
    /// Guarded blocks, each with who waits for it.
    pub(super) guards: BTreeMap<u64, VecDeque<Mutation>>,
    pub(super) next_rewrite: u64,
    /// A mutation that is held back starts now at the earliest.
    next_at: Millis,
    pub(super) is_timed: bool,
}

impl Admission {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.rewrites.is_empty() && self.guards.is_empty()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The replies of everything that is inside, which is forgotten.
    pub(super) fn take_all(&mut self) -> Vec<Reply> {
        let all = std::mem::take(self);
        (self.next_at, self.is_timed) = (all.next_at, all.is_timed);
        self.next_rewrite = all.next_rewrite;
        let guarded = all.guards.into_values().flatten();
        let rewritten = all.rewrites.into_values().map(|rewrite| rewrite.mutation);
        all.waiting.into_iter().chain(guarded).chain(rewritten).map(|mutation| mutation.reply).collect()
    }
}

impl Engine {
    pub(super) fn mutate(&mut self, now: Millis, op: Op, reply: Reply, effects: &mut Vec<Effect>) {
        let mutation = match op {
            Op::Write { offset, payload, fua } => {
                let range = ByteRange::between(offset, offset + payload.len());
                Mutation { range, payload: Some(payload), fua, reply }
            }
            Op::Trim { range, fua } | Op::WriteZeroes { range, fua, .. } => {
                Mutation { range, payload: None, fua, reply }
            }
            Op::Read(_) | Op::Flush | Op::BlockStatus { .. } | Op::DirtyStatus { .. } | Op::Cache(_) => {
                unreachable!("the caller sorts requests")
            }
        };
        assert!(!self.shape.read_only, "mutations of a read-only disk are refused above (C4)");
        assert!(mutation.range.end() <= super::bytes_of(self.shape.blocks), "ranges lie inside the disk (C1)");
        self.admission.waiting.push_back(mutation);
        self.admit(now, effects);
    }

    /// Starts what there is room for, in the dirty budget or with a journal in that, and not sooner than it slows writes
    /// down. One that is larger than the whole budget starts when nothing is dirty.
    pub(super) fn admit(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        while let Some(cost) = self.admission.waiting.front().map(Mutation::cost) {
            if !self.has_room(cost) || !self.has_memory_for_write(cost) {
                return;
            }
            if now < self.admission.next_at {
                if !self.admission.is_timed {
                    self.admission.is_timed = true;
                    effects.push(Effect::Timer(Timer::Admit, self.admission.next_at - now));
                }
                return;
            }
            let mutation = self.admission.waiting.pop_front().expect("it was just seen");
            self.start(now, mutation, effects);
            self.admission.next_at = now + self.write_delay(now);
        }
    }

    /// Takes a mutation that has its place in the order, unless a guarded block holds it up.
    pub(super) fn start(&mut self, now: Millis, mutation: Mutation, effects: &mut Vec<Effect>) {
        let blocks = mutation.blocks();
        if let Some((_, queue)) = self.admission.guards.range_mut(blocks.start.0..blocks.end().0).next() {
            queue.push_back(mutation);
            return;
        }
        if mutation.range.is_aligned(BLOCK_SIZE as u64) {
            self.append(now, mutation, effects);
        } else {
            self.rewrite(now, mutation, effects);
        }
    }

    /// Appends a mutation of whole blocks to the log and answers it, or lets it wait for its durability.
    pub(super) fn append(&mut self, now: Millis, mutation: Mutation, effects: &mut Vec<Effect>) {
        let Mutation { range, payload, fua, reply } = mutation;
        match payload {
            None => self.append_zeros(now, range, OVERHEAD),
            Some(payload) => {
                let atomic = self.journal.as_ref().map_or(ATOMIC, |journal| journal.atomic().min(ATOMIC));
                for piece in ByteRange::between(0, payload.len()).pieces(atomic) {
                    let part = payload.slice(piece.offset(), piece.length());
                    self.append_data(now, range.offset() + piece.offset(), &part, OVERHEAD);
                }
            }
        }
        self.acknowledge(reply, fua, effects);
    }

    /// Ends an appended mutation now, or with FUA when it is durable.
    pub(super) fn acknowledge(&mut self, reply: Reply, fua: bool, effects: &mut Vec<Effect>) {
        if self.journals() {
            self.acknowledge_journaled(reply, fua, effects);
        } else if fua {
            self.flush(reply, effects);
        } else {
            effects.push(Effect::End(reply, Ok(())));
        }
    }
}

/// A block of zeros, for edges.
pub(super) fn zero_block() -> Bytes {
    static ZEROS: [u8; BLOCK_SIZE] = [0; BLOCK_SIZE];
    Bytes::from_static(&ZEROS)
}
