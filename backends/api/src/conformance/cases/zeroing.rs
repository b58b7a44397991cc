//! B7: TRIM and WRITE_ZEROES.

use crate::{
    ByteRange, ExtentKind, Kind, Op, Zeroes,
    conformance::{
        Context, Duty, Failure,
        disk::{Disk, describe},
        model::Model,
    },
};

const SIZE: u64 = 1 << 20;

pub(super) fn trimmed_bytes_are_zeros(context: &Context) -> Result<(), Failure> {
    let disk = context.open_odd(SIZE)?;
    if disk.info().read_only || !disk.info().capabilities.trim {
        context.skip("no TRIM");
    } else {
        let fua = disk.info().capabilities.fua;
        zero_random_ranges(context, &disk, |range, number| Op::Trim { range, fua: fua && number % 2 == 0 })?;
    }
    disk.finish().map(drop)
}

pub(super) fn zeroed_bytes_are_zeros(context: &Context) -> Result<(), Failure> {
    let disk = context.open_odd(SIZE)?;
    let capabilities = disk.info().capabilities;
    if disk.info().read_only || !capabilities.write_zeroes {
        context.skip("no WRITE_ZEROES");
    } else {
        zero_random_ranges(context, &disk, |range, number| {
            let fast = capabilities.fast_zero && number & 1 != 0;
            let zeroes = Zeroes { no_hole: number & 2 != 0, fast };
            Op::WriteZeroes { range, zeroes, fua: capabilities.fua && number & 4 != 0 }
        })?;
    }
    disk.finish().map(drop)
}

/// Fills the disk, zeroes a range, compares it all; again with the next range.
fn zero_random_ranges(context: &Context, disk: &Disk, zero: impl Fn(ByteRange, u32) -> Op) -> Result<(), Failure> {
    let mut generator = context.generator(disk.info());
    let mut model = Model::new(disk.info().size, disk.info().block.minimum);
    for number in 0..32 {
        if number % 8 == 0 {
            fill(disk, &mut model)?;
        }
        let op = zero(generator.range(SIZE / 2), number);
        let pending = disk.submit(op.clone());
        match pending.outcome()? {
            Ok(_) => model.apply(&op),
            Err(error) if may_refuse(&op) && error.kind() == Kind::NotSupported => {}
            Err(error) => {
                let text = format!("{} failed with {:?}: {}", describe(&op), error.kind(), error.chain());
                return Err(Failure::new(Duty::B7, text));
            }
        }
        model.expect(disk.whole()).check(&disk.read_all(disk.whole())?, Duty::B7)?;
        if disk.info().capabilities.extents {
            model.check_extents(&disk.extents(disk.whole())?)?;
        }
    }
    Ok(())
}

fn may_refuse(op: &Op) -> bool {
    matches!(op, Op::WriteZeroes { zeroes, .. } if zeroes.fast)
}

fn fill(disk: &Disk, model: &mut Model) -> Result<(), Failure> {
    for piece in disk.whole().pieces(1 << 19) {
        let payload = vec![0x5a; usize::try_from(piece.length()).expect("a payload fits in memory")];
        let op = Op::Write { offset: piece.offset(), payload: payload.into(), fua: false };
        disk.call(op.clone(), Duty::B4)?;
        model.apply(&op);
    }
    Ok(())
}

pub(super) fn zeroes_stay_allocated(context: &Context) -> Result<(), Failure> {
    let block = u64::from(context.info()?.block.preferred).clamp(1 << 16, 1 << 20);
    let disk = context.open(8 * block)?;
    let capabilities = disk.info().capabilities;
    if disk.info().read_only || !capabilities.write_zeroes || !capabilities.extents {
        context.skip("no WRITE_ZEROES or no BLOCK_STATUS");
        return disk.finish().map(drop);
    }
    disk.write(block, vec![1; usize::try_from(block).expect("a block fits in memory")])?;
    let kept = ByteRange::between(0, 4 * block);
    let zeroes = Zeroes { no_hole: true, fast: false };
    disk.call(Op::WriteZeroes { range: kept, zeroes, fua: false }, Duty::B7)?;
    if let Some(hole) = disk.extents(kept)?.iter().find(|extent| extent.kind == ExtentKind::Hole) {
        return Err(Failure::new(Duty::B7, format!("{} is a hole after zeroes with NO_HOLE", hole.range)));
    }
    disk.finish().map(drop)
}

/// The commands without payload have no limit but the size (C2).
pub(super) fn the_whole_disk_can_be_zeroed(context: &Context) -> Result<(), Failure> {
    let size = 96 << 20;
    let disk = context.open(size)?;
    let (capabilities, range) = (disk.info().capabilities, disk.whole());
    let zeroes = Zeroes::default();
    let ops = [
        (capabilities.trim, Op::Trim { range, fua: false }),
        (capabilities.write_zeroes, Op::WriteZeroes { range, zeroes, fua: false }),
    ];
    let block = u64::from(disk.info().block.minimum);
    for (_, op) in ops.into_iter().filter(|(can, _)| *can && !disk.info().read_only) {
        for offset in [0, size / 2, size - block] {
            let bytes = vec![7; usize::try_from(block).expect("a block fits in memory")];
            disk.write(offset, bytes)?;
        }
        disk.call(op.clone(), Duty::B7)?;
        for offset in [0, size / 2, size - block] {
            if disk.read(ByteRange::between(offset, offset + block))?.iter().any(|&byte| byte != 0) {
                return Err(Failure::new(Duty::B7, format!("{} left the byte at {offset}", describe(&op))));
            }
        }
    }
    disk.finish().map(drop)
}
