//! A disk under test: every answer is checked, every wait is bounded, every request is remembered to the close.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::{
    Backend, ByteRange, Error, Extent, Info, Io, Op, Payload, Piece, Reply,
    conformance::{Duty, Failure, answer, probe::Probe},
};

pub(super) struct Disk {
    backend: Arc<dyn Backend>,
    patience: Duration,
    probes: Mutex<Vec<Arc<Probe>>>,
}

impl Disk {
    pub(super) fn new(backend: Arc<dyn Backend>, patience: Duration) -> Self {
        Self { backend, patience, probes: Mutex::default() }
    }

    pub(super) fn info(&self) -> &Info {
        self.backend.info()
    }

    /// All of it.
    pub(super) fn whole(&self) -> ByteRange {
        ByteRange::between(0, self.info().size)
    }

    /// Submits without waiting.
    pub(super) fn submit(&self, op: Op) -> Pending {
        let probe = Probe::new(None);
        self.probes.lock().push(probe.clone());
        let pending = Pending { probe: probe.clone(), op: op.clone(), patience: self.patience };
        self.backend.submit(Io { op, reply: Reply::new(probe, 0) });
        pending
    }

    /// Submits a write and keeps nothing of its payload.
    pub(super) fn submit_once(&self, offset: u64, payload: Payload, fua: bool) -> Pending {
        let probe = Probe::new(None);
        self.probes.lock().push(probe.clone());
        let op = Op::Write { offset, payload: Payload::default(), fua };
        let pending = Pending { probe: probe.clone(), op, patience: self.patience };
        self.backend.submit(Io { op: Op::Write { offset, payload, fua }, reply: Reply::new(probe, 0) });
        pending
    }

    /// Submits and expects a good end.
    pub(super) fn call(&self, op: Op, duty: Duty) -> Result<(), Failure> {
        self.submit(op).good(duty).map(drop)
    }

    pub(super) fn read(&self, range: ByteRange) -> Result<Vec<u8>, Failure> {
        self.submit(Op::Read(range)).bytes()
    }

    pub(super) fn write(&self, offset: u64, payload: impl Into<Payload>) -> Result<(), Failure> {
        self.call(Op::Write { offset, payload: payload.into(), fua: false }, Duty::B4)
    }

    pub(super) fn flush(&self) -> Result<(), Failure> {
        self.call(Op::Flush, Duty::B5)
    }

    /// The bytes of any range, read in pieces that the backend allows.
    pub(super) fn read_all(&self, range: ByteRange) -> Result<Vec<u8>, Failure> {
        let mut all = Vec::with_capacity(usize::try_from(range.length()).expect("a test disk fits in memory"));
        for piece in range.pieces(longest_transfer(self.info())) {
            all.extend(self.read(piece)?);
        }
        Ok(all)
    }

    /// All extents of the range, however many answers that takes.
    pub(super) fn extents(&self, range: ByteRange) -> Result<Vec<Extent>, Failure> {
        let mut all = Vec::new();
        let mut next = range.offset();
        while next < range.end() {
            let rest = ByteRange::between(next, range.end());
            all.extend(self.submit(Op::BlockStatus { range: rest, req_one: false }).extents()?);
            next = all.last().map_or(range.end(), |last: &Extent| last.range.end());
        }
        Ok(all)
    }

    /// Closes; checks that every request ended exactly once. Returns the closed backend.
    pub(super) fn finish(self) -> Result<Arc<dyn Backend>, Failure> {
        self.close()?;
        self.verdict()?;
        Ok(self.backend)
    }

    /// Closes and keeps the disk.
    pub(super) fn close(&self) -> Result<(), Failure> {
        self.backend.close().map_err(|error| Failure::new(Duty::B10, format!("close failed: {}", error.chain())))
    }

    /// After a close: whether every request ended exactly once.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        self.probes.lock().iter().try_for_each(|probe| probe.verdict())
    }

    /// The backend, for submits that the disk does not remember.
    pub(super) fn backend(&self) -> Arc<dyn Backend> {
        self.backend.clone()
    }

    /// The backend, not closed.
    pub(super) fn abandon(self) -> Arc<dyn Backend> {
        self.backend
    }
}

/// A request in flight.
pub(super) struct Pending {
    probe: Arc<Probe>,
    op: Op,
    patience: Duration,
}

impl Pending {
    pub(super) fn op(&self) -> &Op {
        &self.op
    }

    pub(super) fn is_ended(&self) -> bool {
        self.probe.is_ended()
    }

    /// Waits for any end.
    pub(super) fn outcome(&self) -> Result<Result<Vec<Piece>, Error>, Failure> {
        let (pieces, outcome) = self.probe.wait(&describe(&self.op), self.patience)?;
        Ok(outcome.map(|()| pieces))
    }

    /// Waits for a good end; another one breaks `duty`.
    pub(super) fn good(&self, duty: Duty) -> Result<Vec<Piece>, Failure> {
        self.outcome()?.map_err(|error| {
            Failure::new(duty, format!("{} failed with {:?}: {}", describe(&self.op), error.kind(), error.chain()))
        })
    }

    /// The bytes of a READ.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, Failure> {
        let Op::Read(range) = self.op else { panic!("{:?} is not a read", self.op) };
        answer::assemble(range, self.good(Duty::B3)?)
    }

    /// The extents of a BLOCK_STATUS.
    pub(super) fn extents(&self) -> Result<Vec<Extent>, Failure> {
        let Op::BlockStatus { range, .. } = self.op else { panic!("{:?} is not a block status", self.op) };
        answer::extents(range, self.good(Duty::B8)?)
    }
}

/// The longest READ or WRITE that the suite makes: not more than it likes, nor than the backend takes (C2).
pub(super) fn longest_transfer(info: &Info) -> u64 {
    const LIKED: u64 = 4 << 20;
    let limit = u64::from(info.block.maximum_payload).min(LIKED);
    limit - limit % u64::from(info.block.minimum)
}

/// A request without its payload.
pub(super) fn describe(op: &Op) -> String {
    match op {
        Op::Write { offset, payload, fua } => format!("Write {{ {offset}+{}, fua: {fua} }}", payload.len()),
        other => format!("{other:?}"),
    }
}
