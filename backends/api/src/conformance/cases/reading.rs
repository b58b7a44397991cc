//! B3 and B4: reads deliver all of their range, and what was written last.

use crate::{
    ByteRange, Op,
    conformance::{Context, Duty, Failure, disk::Disk, model::Model},
};

const SIZE: u64 = 3 << 20;

pub(super) fn unwritten_bytes_are_zeros(context: &Context) -> Result<(), Failure> {
    let disk = context.open_odd(SIZE)?;
    if !disk.info().read_only {
        let mut generator = context.generator(disk.info());
        for _ in 0..50 {
            let range = generator.transfer();
            if disk.read(range)?.iter().any(|&byte| byte != 0) {
                return Err(Failure::new(Duty::B4, format!("{range} of a new disk is not all zeros")));
            }
        }
    }
    disk.finish()?;
    Ok(())
}

/// Data and gaps of one, two, three.. blocks, then reads of every kind of place and length.
pub(super) fn reads_cover_their_range_once(context: &Context) -> Result<(), Failure> {
    let disk = context.open_odd(SIZE)?;
    if !disk.info().read_only {
        checkered(&disk)?;
    }
    let mut generator = context.generator(disk.info());
    let step = u64::from(disk.info().read_piece);
    for border in disk.whole().pieces(step).map(ByteRange::offset).chain([1 << 16, 1 << 20]) {
        let block = u64::from(disk.info().block.minimum);
        let around = ByteRange::between(border.saturating_sub(block), (border + block).min(disk.info().size));
        if !around.is_empty() {
            disk.read(around)?;
        }
    }
    for _ in 0..100 {
        disk.read(generator.transfer())?;
    }
    disk.finish()?;
    Ok(())
}

fn checkered(disk: &Disk) -> Result<(), Failure> {
    let block = u64::from(disk.info().block.minimum).max(512);
    let (mut offset, mut blocks) = (0, 1);
    while offset + blocks * block < disk.info().size {
        disk.write(offset, vec![0xa5; usize::try_from(blocks * block).expect("a payload fits in memory")])?;
        offset += 2 * blocks * block;
        blocks += 1;
    }
    Ok(())
}

pub(super) fn repeated_reads_agree(context: &Context) -> Result<(), Failure> {
    let disk = context.open_odd(SIZE)?;
    let before = disk.read_all(disk.whole())?;
    let mut generator = context.generator(disk.info());
    for _ in 0..50 {
        let range = generator.transfer();
        let at = |offset| usize::try_from(offset).expect("a test disk fits in memory");
        if disk.read(range)? != before[at(range.offset())..at(range.end())] {
            return Err(Failure::new(Duty::B4, format!("{range} differs from the same bytes of an earlier read")));
        }
    }
    disk.finish()?;
    Ok(())
}

pub(super) fn writes_read_back(context: &Context) -> Result<(), Failure> {
    let disk = context.open_odd(SIZE)?;
    if disk.info().read_only {
        context.skip("the disk is read-only");
        return disk.finish().map(drop);
    }
    let mut model = Model::new(disk.info().size, disk.info().block.minimum);
    let mut generator = context.generator(disk.info());
    for _ in 0..100 {
        let range = generator.transfer();
        let op = Op::Write { offset: range.offset(), payload: generator.payload(range.length()), fua: false };
        disk.call(op.clone(), Duty::B4)?;
        model.apply(&op);
        model.expect(range).check(&disk.read(range)?, Duty::B4)?;
    }
    model.expect(disk.whole()).check(&disk.read_all(disk.whole())?, Duty::B4)?;
    disk.finish()?;
    Ok(())
}

/// The same few places, again and again, each checked after every write.
pub(super) fn overwrites_win(context: &Context) -> Result<(), Failure> {
    let disk = context.open(SIZE)?;
    if disk.info().read_only {
        context.skip("the disk is read-only");
        return disk.finish().map(drop);
    }
    let block = u64::from(disk.info().block.minimum).max(4096);
    for version in 1..=40_u8 {
        for offset in [0, 16 * block, SIZE - block] {
            let bytes = vec![version; usize::try_from(block).expect("a block fits in memory")];
            disk.write(offset, bytes.clone())?;
            if disk.read(ByteRange::between(offset, offset + block))? != bytes {
                return Err(Failure::new(Duty::B4, format!("write {version} of a block at {offset} is not read back")));
            }
        }
    }
    disk.finish()?;
    Ok(())
}
