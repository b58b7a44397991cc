//! B10: close ends everything, and nothing happens after it.

use crate::{
    ByteRange, Kind, Op, Zeroes,
    conformance::{Context, Duty, Failure, disk::describe},
};

const SIZE: u64 = 1 << 20;

pub(super) fn submits_are_refused(context: &Context) -> Result<(), Failure> {
    let disk = context.open(SIZE)?;
    let (info, range) = (disk.info().clone(), ByteRange::between(0, 1 << 16));
    let capabilities = info.capabilities;
    disk.close()?;
    let payload = vec![1; 1 << 16].into();
    let ops = [
        (true, Op::Read(range)),
        (true, Op::Flush),
        (!info.read_only, Op::Write { offset: 0, payload, fua: false }),
        (!info.read_only && capabilities.trim, Op::Trim { range, fua: false }),
        (
            !info.read_only && capabilities.write_zeroes,
            Op::WriteZeroes { range, zeroes: Zeroes::default(), fua: false },
        ),
        (capabilities.extents, Op::BlockStatus { range, req_one: false }),
        (capabilities.cache, Op::Cache(range)),
    ];
    for (_, op) in ops.into_iter().filter(|(can, _)| *can) {
        let seen = match disk.submit(op.clone()).outcome()? {
            Err(error) if error.kind() == Kind::Shutdown => continue,
            Err(error) => format!("ended with {:?}", error.kind()),
            Ok(_) => "ended well".to_owned(),
        };
        return Err(Failure::new(Duty::B10, format!("{} after close {seen}", describe(&op))));
    }
    disk.verdict()
}

/// Submits a lot, closes without waiting for any of it.
pub(super) fn close_ends_what_is_in_flight(context: &Context) -> Result<(), Failure> {
    let disk = context.open(SIZE)?;
    let mut pending = Vec::new();
    for piece in disk.whole().pieces(1 << 16) {
        if !disk.info().read_only {
            let payload = vec![2; usize::try_from(piece.length()).expect("a payload fits in memory")];
            pending.push(disk.submit(Op::Write { offset: piece.offset(), payload: payload.into(), fua: false }));
        }
        pending.push(disk.submit(Op::Read(piece)));
        pending.push(disk.submit(Op::Flush));
    }
    disk.close()?;
    if let Some(request) = pending.iter().find(|request| !request.is_ended()) {
        let text = format!("{} has not ended when close returns", describe(request.op()));
        return Err(Failure::new(Duty::B10, text));
    }
    disk.verdict()
}
