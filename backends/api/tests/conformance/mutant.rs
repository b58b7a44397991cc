//! The plain backend with one bug around it.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use nbdgate_api::{
    Backend, ByteRange, Error, Extent, ExtentKind, Info, Io, Kind, Op, Piece, Reply, Zeroes,
    wait::{self, Answer},
};
use parking_lot::{Condvar, Mutex};

use crate::plain::{PAGE, Plain};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    OddPreferredBlock,
    LargerThanAsked,
    Panics,
    ForgetsReplies,
    EndsWithTheNext,
    EndsInBatches,
    LocksAroundTheEnd,
    ReadGap,
    ReadOverlap,
    ReadHoleOverData,
    NewDiskOfGarbage,
    FlipsAByte,
    StaleReads,
    LostWrites,
    LostLastByte,
    LostPastSixteenMib,
    LostSlice,
    KeepsPayload,
    LostUpdates,
    TornBlocks,
    TrimIgnored,
    TrimTooFar,
    LongTrimIgnored,
    FastZeroesIgnored,
    RefusedZeroesChange,
    NoHoleIgnored,
    ExtentHoleOverData,
    ExtentEmpty,
    ExtentPastTheEnd,
    ExtentGap,
    NoExtents,
    ReqOneDiffers,
    FlushIgnored,
    FuaIgnored,
    CloseKeepsNothing,
    CloseKeepsServing,
    CloseForgetsWrites,
    /// Not a bug by itself: every fifth mutation fails half-way.
    Fails,
    FailsBeyondItsRange,
}

pub(crate) struct Mutant {
    plain: Plain,
    bug: Bug,
    info: Info,
    submits: AtomicU32,
    held: Mutex<Vec<(Reply, Answer)>>,
    seen: Mutex<HashMap<ByteRange, Vec<u8>>>,
    kept: Mutex<Vec<Op>>,
    ending: Mutex<()>,
    passed: Mutex<u32>,
    passing: Condvar,
}

impl Mutant {
    pub(crate) fn new(plain: Plain, bug: Bug) -> Self {
        let mut info = plain.info().clone();
        match bug {
            Bug::OddPreferredBlock => info.block.preferred = 1000,
            Bug::LargerThanAsked => info.size += 512,
            Bug::TornBlocks => info.block.minimum = 512,
            _ => {}
        }
        Self {
            plain,
            bug,
            info,
            submits: AtomicU32::default(),
            held: Mutex::default(),
            seen: Mutex::default(),
            kept: Mutex::default(),
            ending: Mutex::default(),
            passed: Mutex::default(),
            passing: Condvar::default(),
        }
    }

    /// The request as the bug would have it; `None` if it is answered without being served.
    fn altered(&self, op: Op, number: u32) -> Option<Op> {
        let size = self.info.size;
        let keep = |length: u64, op: &Op| match op {
            Op::Write { offset, payload, fua } if length > 0 => {
                Some(Op::Write { offset: *offset, payload: payload.slice(0, length), fua: *fua })
            }
            _ => None,
        };
        match (self.bug, &op) {
            (Bug::LostWrites, Op::Write { .. }) if number.is_multiple_of(7) => None,
            (Bug::LostLastByte, Op::Write { offset, payload, .. }) if offset + payload.len() == size => {
                keep(payload.len() - 1, &op)
            }
            (Bug::LostPastSixteenMib, Op::Write { payload, .. }) => keep(payload.len().min(16 << 20), &op),
            (Bug::LostSlice, Op::Write { payload, .. }) if payload.slices().len() > 2 => {
                keep(payload.slices()[0].len() as u64, &op)
            }
            (Bug::TrimIgnored, Op::Trim { .. }) | (Bug::FlushIgnored, Op::Flush) => None,
            (Bug::LongTrimIgnored, Op::Trim { range, .. }) if range.length() > 32 << 20 => None,
            (Bug::FastZeroesIgnored, Op::WriteZeroes { zeroes, .. }) if zeroes.fast => None,
            (Bug::TrimTooFar, Op::Trim { range, fua }) => {
                let (start, end) = (range.offset() / PAGE * PAGE, range.end().next_multiple_of(PAGE).min(size));
                Some(Op::Trim { range: ByteRange::between(start, end), fua: *fua })
            }
            (Bug::NoHoleIgnored, Op::WriteZeroes { range, zeroes, fua }) => {
                let zeroes = Zeroes { no_hole: false, ..*zeroes };
                Some(Op::WriteZeroes { range: *range, zeroes, fua: *fua })
            }
            (Bug::FuaIgnored, _) => Some(without_fua(op)),
            _ => Some(op),
        }
    }

    /// Serves the mutations that the bug makes in steps of its own.
    fn misdone(&self, op: &Op, number: u32) -> Option<Result<(), Error>> {
        match (self.bug, op) {
            (Bug::LostUpdates, Op::Write { offset, payload, .. }) if offset / PAGE < 16 && payload.len() < PAGE => {
                let (start, end) = (offset / PAGE * PAGE, (offset + payload.len()).next_multiple_of(PAGE));
                let unit = ByteRange::between(start, end.min(self.info.size));
                let mut bytes = wait::read(&self.plain, unit).expect("plain reads do not fail");
                self.let_another_pass();
                let at = usize::try_from(offset - start).expect("below a page");
                let length = usize::try_from(payload.len()).expect("below a page");
                payload.copy_to(&mut bytes[at..at + length]);
                Some(wait::write(&self.plain, start, bytes))
            }
            (Bug::TornBlocks, Op::Write { offset, payload, .. }) => {
                let half = |from, length| wait::write(&self.plain, offset + from, payload.slice(from, length));
                let first = half(0, 256);
                self.let_another_pass();
                Some(first.and(half(256, payload.len() - 256)))
            }
            (Bug::RefusedZeroesChange, Op::WriteZeroes { range, zeroes, .. }) if zeroes.fast => {
                wait::call(&self.plain, Op::Trim { range: *range, fua: false }).outcome.expect("plain trims");
                Some(Err(Error::new(Kind::NotSupported, "not fast after all")))
            }
            (Bug::Fails | Bug::FailsBeyondItsRange, op) if op.is_mutation() && number.is_multiple_of(5) => {
                let range = op.range().expect("a mutation has a range");
                let beyond = u64::from(self.bug == Bug::FailsBeyondItsRange);
                let half = ByteRange::between(range.offset(), range.offset() + range.length().div_ceil(2));
                let most = ByteRange::between(range.offset(), (range.end() + beyond).min(self.info.size));
                let done = if beyond > 0 { most } else { half };
                wait::call(&self.plain, Op::Trim { range: done, fua: false }).outcome.expect("plain trims");
                Some(Err(Error::new(Kind::NoSpace, "no space left on the plain disk")))
            }
            _ => None,
        }
    }

    /// Makes a race likely: waits, but not for long, for another request.
    fn let_another_pass(&self) {
        let mut passed = self.passed.lock();
        let mine = *passed;
        self.passing.wait_while_for(&mut passed, |passed| *passed == mine, Duration::from_millis(2));
    }

    fn spoil(&self, op: &Op, answer: &mut Answer, number: u32) {
        let pieces = &mut answer.pieces;
        match op {
            Op::Read(range) => self.spoil_read(*range, pieces, number),
            Op::BlockStatus { req_one, .. } => {
                for piece in pieces.iter_mut() {
                    if let Piece::Extents(list) = piece {
                        self.spoil_extents(list, *req_one);
                    }
                }
            }
            _ => {}
        }
    }

    fn spoil_read(&self, range: ByteRange, pieces: &mut Vec<Piece>, number: u32) {
        match self.bug {
            Bug::ReadGap if pieces.len() > 3 => drop(pieces.remove(1)),
            Bug::ReadOverlap if pieces.len() > 3 => pieces.push(Piece::Hole(range)),
            Bug::ReadHoleOverData => *pieces = vec![Piece::Hole(range)],
            Bug::NewDiskOfGarbage => pieces.iter_mut().for_each(|piece| {
                if let Piece::Hole(hole) = *piece {
                    *piece = data(hole.offset(), vec![0xee; usize::try_from(hole.length()).expect("a page")]);
                }
            }),
            Bug::FlipsAByte if number.is_multiple_of(10) => {
                let mut bytes = assembled(range, pieces);
                bytes[0] ^= 1;
                *pieces = vec![data(range.offset(), bytes)];
            }
            Bug::StaleReads => {
                let bytes = assembled(range, pieces);
                let old = self.seen.lock().entry(range).or_insert(bytes).clone();
                *pieces = vec![data(range.offset(), old)];
            }
            _ => {}
        }
    }

    fn spoil_extents(&self, list: &mut Vec<Extent>, req_one: bool) {
        let last = list.last().expect("plain extents are some").range;
        match self.bug {
            Bug::ExtentHoleOverData => list.iter_mut().for_each(|extent| extent.kind = ExtentKind::Hole),
            Bug::ExtentEmpty => {
                list.push(Extent { range: ByteRange::between(last.end(), last.end()), kind: ExtentKind::Data });
            }
            Bug::ExtentPastTheEnd => {
                list.push(Extent { range: ByteRange::between(last.end(), last.end() + 1), kind: ExtentKind::Data });
            }
            Bug::ExtentGap if list.len() > 2 => drop(list.remove(1)),
            Bug::NoExtents => list.clear(),
            Bug::ReqOneDiffers if req_one => list.iter_mut().for_each(|extent| extent.kind = ExtentKind::Zero),
            _ => {}
        }
    }

    fn deliver(&self, reply: Reply, answer: Answer, op: &Op, number: u32) {
        match self.bug {
            Bug::ForgetsReplies if number % 9 == 8 => mem::forget(reply),
            Bug::CloseForgetsWrites if op.is_mutation() => mem::forget(reply),
            Bug::EndsWithTheNext => {
                let previous = mem::replace(&mut *self.held.lock(), vec![(reply, answer)]);
                for (reply, answer) in previous {
                    end(reply, answer);
                }
            }
            Bug::EndsInBatches => {
                let mut held = self.held.lock();
                held.push((reply, answer));
                let batch = if held.len() == 7 { mem::take(&mut *held) } else { Vec::new() };
                drop(held);
                for (reply, answer) in batch {
                    end(reply, answer);
                }
            }
            Bug::LocksAroundTheEnd => {
                let _guard = self.ending.lock();
                end(reply, answer);
            }
            _ => end(reply, answer),
        }
    }
}

impl Backend for Mutant {
    fn info(&self) -> &Info {
        &self.info
    }

    fn submit(&self, io: Io) {
        let Io { op, reply } = io;
        let number = self.submits.fetch_add(1, Ordering::SeqCst);
        if self.bug == Bug::KeepsPayload {
            self.kept.lock().push(op.clone());
        }
        assert!(self.bug != Bug::Panics || number != 5, "the sixth request is too much");
        *self.passed.lock() += 1;
        self.passing.notify_all();
        let mut answer = match (self.misdone(&op, number), self.altered(op.clone(), number)) {
            (Some(outcome), _) => Answer { pieces: Vec::new(), outcome },
            (None, Some(altered)) => wait::call(&self.plain, altered),
            (None, None) => Answer { pieces: Vec::new(), outcome: Ok(()) },
        };
        if answer.outcome.is_ok() {
            self.spoil(&op, &mut answer, number);
        }
        self.deliver(reply, answer, &op, number);
    }

    fn close(&self) -> Result<(), Error> {
        match self.bug {
            Bug::CloseKeepsServing | Bug::CloseKeepsNothing => Ok(()),
            _ => self.plain.close(),
        }
    }
}

/// Opens the plain disk behind a mutant again, with the same bug.
pub(crate) fn again(mutant: &Mutant) -> Arc<Mutant> {
    Arc::new(Mutant::new(mutant.plain.crashed(), mutant.bug))
}

fn end(reply: Reply, answer: Answer) {
    answer.pieces.into_iter().for_each(|piece| reply.piece(piece));
    reply.end(answer.outcome);
}

fn data(offset: u64, bytes: Vec<u8>) -> Piece {
    Piece::Data { offset, bytes: bytes.into() }
}

fn assembled(range: ByteRange, pieces: &[Piece]) -> Vec<u8> {
    let mut all = vec![0; usize::try_from(range.length()).expect("a read fits in memory")];
    for piece in pieces {
        if let Piece::Data { offset, bytes } = piece {
            let at = usize::try_from(offset - range.offset()).expect("inside the range");
            all[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }
    all
}

fn without_fua(mut op: Op) -> Op {
    if let Op::Write { fua, .. } | Op::Trim { fua, .. } | Op::WriteZeroes { fua, .. } = &mut op {
        *fua = false;
    }
    op
}
