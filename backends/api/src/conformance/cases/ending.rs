//! B1 and B2: requests end, once, whatever else is in flight and wherever they were submitted.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    Backend, ByteRange, Io, Op, Payload, Reply,
    conformance::{Context, Duty, Failure, cases::side_by_side, disk::Disk, probe::Probe},
};

const SIZE: u64 = 1 << 20;

pub(super) fn every_request_ends_once(context: &Context) -> Result<(), Failure> {
    let disk = context.open(SIZE)?;
    let mut generator = context.generator(disk.info());
    for _ in 0..100 {
        let op = generator.op();
        match op {
            Op::Read(_) => disk.submit(op).bytes().map(drop)?,
            Op::BlockStatus { .. } => disk.submit(op).extents().map(drop)?,
            // FAST_ZERO may be refused; what that means is another case's concern.
            Op::WriteZeroes { zeroes, .. } if zeroes.fast => disk.submit(op).outcome().map(drop)?,
            other => no_pieces(&disk, other)?,
        }
    }
    disk.finish()?;
    Ok(())
}

fn no_pieces(disk: &Disk, op: Op) -> Result<(), Failure> {
    let pending = disk.submit(op);
    let pieces = pending.good(Duty::B2)?;
    match pieces.first() {
        None => Ok(()),
        Some(piece) => Err(Failure::new(Duty::B3, format!("{:?} was answered with {piece:?}", pending.op()))),
    }
}

/// B11: when `submit` has returned, nobody refers to the payload, whether the write has ended or not.
pub(super) fn lent_payloads_are_given_back(context: &Context) -> Result<(), Failure> {
    let disk = context.open(SIZE)?;
    if disk.info().read_only {
        return disk.finish().map(drop);
    }
    let fua = disk.info().capabilities.fua;
    let step = u64::from(disk.info().block.minimum).max(4096);
    for number in 0..16 {
        let fill = u8::try_from(number).expect("sixteen writes");
        let memory: Arc<[u8]> = vec![fill; usize::try_from(step).expect("a block fits in memory")].into();
        let payload = Payload::lent(Bytes::from_owner(memory.clone()));
        let pending = disk.submit_once(number * step, payload, fua && number % 2 == 1);
        if Arc::strong_count(&memory) > 1 {
            return Err(Failure::new(Duty::B11, format!("write {number} keeps the payload that it was lent")));
        }
        pending.good(Duty::B11)?;
        if disk.read(ByteRange::between(number * step, (number + 1) * step))?[..] != memory[..] {
            return Err(Failure::new(Duty::B11, format!("write {number} of a lent payload does not read back")));
        }
    }
    disk.finish()?;
    Ok(())
}

/// C5: each request is submitted inside the end of the one before.
pub(super) fn replies_may_submit(context: &Context) -> Result<(), Failure> {
    const LINKS: u32 = 32;
    let info = context.info()?;
    let disk = context.open(SIZE)?;
    let block = u64::from(info.block.minimum);
    let last = Probe::new(None);
    let backend = disk.backend();
    let chain = Chain { backend, range: ByteRange::between(0, block), write: !info.read_only, last: last.clone() };
    chain.submit(LINKS);
    last.wait("the last of requests submitted inside replies", context.patience())?.1.map_err(|error| {
        Failure::new(Duty::B1, format!("a request submitted inside a reply failed: {}", error.chain()))
    })?;
    disk.finish()?;
    last.verdict()
}

#[derive(Clone)]
struct Chain {
    backend: Arc<dyn Backend>,
    range: ByteRange,
    write: bool,
    last: Arc<Probe>,
}

impl Chain {
    fn submit(self, links: u32) {
        let payload = vec![1; usize::try_from(self.range.length()).expect("a block fits in memory")];
        let op = match (self.write, links % 3) {
            (true, 0) => Op::Write { offset: self.range.offset(), payload: payload.into(), fua: false },
            (true, 1) => Op::Flush,
            _ => Op::Read(self.range),
        };
        let backend = self.backend.clone();
        let sink = if links == 0 { self.last } else { Probe::new(Some(Box::new(move || self.submit(links - 1)))) };
        backend.submit(Io { op, reply: Reply::new(sink, 0) });
    }
}

pub(super) fn many_requests_may_be_in_flight(context: &Context) -> Result<(), Failure> {
    const THREADS: u16 = 4;
    const EACH: u16 = 64;
    let disk = context.open(SIZE)?;
    let stripe = SIZE / u64::from(THREADS * EACH);
    let stripe = stripe.max(u64::from(disk.info().block.minimum));
    let length = usize::try_from(stripe).expect("a payload fits in memory");
    let work = |thread: u16| {
        let mine = (thread.into()..SIZE / stripe).step_by(THREADS.into()).take(EACH.into());
        let fill = move |index: u64| vec![u8::try_from(index % 255 + 1).expect("below 256"); length];
        let read_only = disk.info().read_only;
        let writes: Vec<_> = mine
            .clone()
            .filter(|_| !read_only)
            .map(|index| disk.submit(Op::Write { offset: index * stripe, payload: fill(index).into(), fua: false }))
            .collect();
        writes.iter().try_for_each(|write| write.good(Duty::B1).map(drop))?;
        let read = |index| disk.submit(Op::Read(ByteRange::between(index * stripe, (index + 1) * stripe)));
        let reads: Vec<_> = mine.map(|index| (index, read(index))).collect();
        for (index, read) in reads {
            if read.bytes()? != fill(index) && !read_only {
                return Err(Failure::new(Duty::B4, format!("{:?} lost what was written there", read.op())));
            }
        }
        Ok(())
    };
    side_by_side(THREADS, work)?;
    disk.finish()?;
    Ok(())
}
