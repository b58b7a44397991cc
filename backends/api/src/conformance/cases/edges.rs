//! Shapes: what a backend says of itself, the end of the disk, disks of a few blocks, the longest payload.

use crate::{
    ByteRange, Info, Op,
    conformance::{Context, Duty, Failure, disk::Disk, model::Model},
};

pub(super) fn info_follows_its_rules(context: &Context) -> Result<(), Failure> {
    let info = context.info()?;
    let Info { size, block, read_piece, .. } = &info;
    let minimum = block.minimum;
    let rules = [
        (minimum.is_power_of_two() && minimum <= 65536, "the minimum block is a power of two up to 65536"),
        (block.preferred.is_power_of_two(), "the preferred block is a power of two"),
        (block.preferred >= minimum.max(512), "the preferred block is at least 512 and the minimum"),
        // The specification asks servers for no less, and the other cases count on it.
        (block.maximum_payload >= 1 << 20, "the maximum payload is at least 1 MiB"),
        (block.maximum_payload >= block.preferred, "the maximum payload holds a preferred block"),
        (block.maximum_payload.is_multiple_of(minimum), "the maximum payload is a multiple of the minimum block"),
        (*read_piece > 0 && read_piece.is_multiple_of(minimum), "read_piece is a multiple of the minimum block"),
        (size.is_multiple_of(minimum.into()), "the size is a multiple of the minimum block"),
    ];
    match rules.iter().find(|(kept, _)| !kept) {
        None => Ok(()),
        Some((_, rule)) => Err(Failure::new(Duty::Info, format!("{rule}, but: {info:?}"))),
    }
}

pub(super) fn the_end_of_the_disk_is_usable(context: &Context) -> Result<(), Failure> {
    let block = u64::from(context.info()?.block.minimum);
    for size in [1 << 16, 1 << 20, (1 << 20) + block, (3 << 20) - block] {
        let disk = context.open(size)?;
        for blocks in [1, 2, 3, 17] {
            let range = ByteRange::between(size.saturating_sub(blocks * block), size);
            rewrite(&disk, range)?;
        }
        disk.finish()?;
    }
    Ok(())
}

pub(super) fn tiny_disks_work(context: &Context) -> Result<(), Failure> {
    let block = u64::from(context.info()?.block.minimum);
    for blocks in [1, 2, 3, 511, 513] {
        let disk = context.open(blocks * block)?;
        rewrite(&disk, disk.whole())?;
        let mut generator = context.generator(disk.info());
        for _ in 0..20 {
            rewrite(&disk, generator.transfer())?;
        }
        disk.flush()?;
        disk.finish()?;
    }
    Ok(())
}

pub(super) fn the_longest_payload_is_taken(context: &Context) -> Result<(), Failure> {
    let longest = u64::from(context.info()?.block.maximum_payload).min(32 << 20);
    let block = u64::from(context.info()?.block.minimum);
    let disk = context.open(longest - longest % block + block)?;
    rewrite(&disk, ByteRange::between(block, disk.info().size))?;
    disk.finish().map(drop)
}

/// Reads, status, and where it is possible a write that must read back; of no more than a payload, at the range's end.
fn rewrite(disk: &Disk, range: ByteRange) -> Result<(), Failure> {
    let longest = u64::from(disk.info().block.maximum_payload);
    let range = ByteRange::between(range.offset().max(range.end().saturating_sub(longest)), range.end());
    disk.read(range)?;
    if !disk.info().read_only {
        let mut model = Model::new(disk.info().size, disk.info().block.minimum);
        // No byte is zero, so that a byte which is left out shows on a new disk.
        let bytes: Vec<u8> =
            (0..range.length()).map(|index| u8::try_from(index % 255 + 1).expect("below 256")).collect();
        let op = Op::Write { offset: range.offset(), payload: bytes.into(), fua: false };
        disk.call(op.clone(), Duty::B4)?;
        model.apply(&op);
        model.expect(range).check(&disk.read(range)?, Duty::B4)?;
    }
    if disk.info().capabilities.extents {
        disk.extents(range)?;
    }
    Ok(())
}
