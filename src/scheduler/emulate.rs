//! What a backend lacks, made of what it has: FUA by a flush afterwards, zeroes by writing them.

use bytes::Bytes;
use nbdgate_api::{BlockSizes, ByteRange, Error, Info, Kind, Op, Payload, Zeroes};

/// Most zeros written per step where WRITE_ZEROES is emulated, in bytes; a multiple of every minimum block.
const ZERO_STEP: u64 = 1 << 20;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What follows when the step in progress has ended well.
#[derive(Debug)]
pub(super) struct Step {
    /// Still to be written with zeros.
    zeroing: Option<ByteRange>,
    /// Zeros written at once, in bytes: no more than the maximum payload (C2), in whole blocks (C1).
    stride: u64,
    /// Then flush.
    flush: bool,
    /// The step in progress, or a later one, promises durability.
    durable: bool,
    /// The step in progress is a flush.
    flushing: bool,
}

/// The first operation for the backend and what is left after it.
pub(super) fn first(op: Op, info: &Info) -> Result<(Op, Step), Error> {
    let has = info.capabilities;
    let durable = op.is_durable();
    let stride = ZERO_STEP.min(longest_io(&info.block));
    let mut step = Step { zeroing: None, stride, flush: false, durable, flushing: matches!(op, Op::Flush) };
    let mut op = match op {
        Op::WriteZeroes { zeroes: Zeroes { fast: true, .. }, .. } if !has.write_zeroes || !has.fast_zero => {
            return Err(Error::new(Kind::NotSupported, "zeroing is not faster than writing on this export"));
        }
        Op::WriteZeroes { range, fua, .. } if !has.write_zeroes => {
            step.zeroing = Some(range);
            step.flush = fua;
            let op = step.advance().expect("a validated range is not empty");
            return Ok((op, step));
        }
        Op::Trim { .. } if !has.trim => {
            return Err(Error::new(Kind::NotSupported, "trim is not supported by this export"));
        }
        op => op,
    };
    if !has.fua
        && let Op::Write { fua, .. } | Op::Trim { fua, .. } | Op::WriteZeroes { fua, .. } = &mut op
    {
        step.flush = std::mem::replace(fua, false);
    }
    Ok((op, step))
}

impl Step {
    /// The next operation, `None` if that was the last.
    pub(super) fn advance(&mut self) -> Option<Op> {
        if let Some(rest) = self.zeroing.take() {
            let here = rest.length().min(self.stride);
            let split = rest.offset() + here;
            if split < rest.end() {
                self.zeroing = Some(ByteRange::between(split, rest.end()));
            }
            return Some(Op::Write { offset: rest.offset(), payload: zeros(here), fua: false });
        }
        if std::mem::take(&mut self.flush) {
            self.flushing = true;
            return Some(Op::Flush);
        }
        None
    }

    /// Whether its end is a promise.
    pub(super) fn is_durable(&self) -> bool {
        self.durable
    }

    /// Whether a failure now means that something acknowledged may not be durable: a flush that failed, or a FUA
    /// whose device failed. A FUA that was refused (no space, not supported) changed nothing that was promised.
    pub(super) fn latches(&self, error: &Error) -> bool {
        match error.kind() {
            Kind::Shutdown => false,
            Kind::Io => self.durable,
            _ => self.flushing,
        }
    }
}

/// The longest READ or WRITE that a backend may be asked for, in bytes (C2), cut to whole blocks (C1).
pub(super) fn longest_io(block: &BlockSizes) -> u64 {
    u64::from(block.maximum_payload / block.minimum * block.minimum)
}

/// A payload of `length` zeros that shares one static page run.
pub(super) fn zeros(length: u64) -> Payload {
    let mut payload = Payload::default();
    let mut rest = length;
    while rest > 0 {
        let here = rest.min(ZEROS.len() as u64);
        let end = usize::try_from(here).expect("at most the static's length");
        payload.push(Bytes::from_static(&ZEROS[..end]));
        rest -= here;
    }
    payload
}
