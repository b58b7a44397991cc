//! B4 and B6 under concurrency: readers beside a writer, writers beside each other.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::{
    ByteRange,
    conformance::{Context, Duty, Failure, cases::side_by_side, disk::Disk},
};

const VERSIONS: u8 = 100;
const READERS: u16 = 2;

/// One writer gives the same range one version after the other; whatever a reader sees in a block was ended before
/// the read was submitted, or in flight with it.
pub(super) fn readers_see_old_or_new(context: &Context) -> Result<(), Failure> {
    let disk = context.open(1 << 20)?;
    if disk.info().read_only {
        context.skip("the disk is read-only");
        return disk.finish().map(drop);
    }
    let minimum = u64::from(disk.info().block.minimum);
    // Unaligned where that is possible, and over several of whatever units the backend has.
    let range = ByteRange::between(minimum, minimum + (3 << 17));
    let race = Race { disk: &disk, range, started: AtomicU8::new(0), ended: AtomicU8::new(0) };
    side_by_side(1 + READERS, |worker| if worker == 0 { race.write_versions() } else { race.read_versions() })?;
    disk.finish().map(drop)
}

struct Race<'a> {
    disk: &'a Disk,
    range: ByteRange,
    started: AtomicU8,
    ended: AtomicU8,
}

impl Race<'_> {
    /// The readers stop with the last version, so it is announced even if the writes fail.
    fn write_versions(&self) -> Result<(), Failure> {
        let written = self.write_each_version();
        self.started.store(VERSIONS, Ordering::SeqCst);
        self.ended.store(VERSIONS, Ordering::SeqCst);
        written
    }

    fn write_each_version(&self) -> Result<(), Failure> {
        let length = usize::try_from(self.range.length()).expect("a payload fits in memory");
        for version in 1..=VERSIONS {
            self.started.store(version, Ordering::SeqCst);
            self.disk.write(self.range.offset(), vec![version; length])?;
            self.ended.store(version, Ordering::SeqCst);
        }
        Ok(())
    }

    fn read_versions(&self) -> Result<(), Failure> {
        let block = usize::try_from(self.disk.info().block.minimum).expect("a block fits in memory");
        loop {
            let oldest = self.ended.load(Ordering::SeqCst);
            let found = self.disk.read(self.range)?;
            let newest = self.started.load(Ordering::SeqCst);
            for (number, found) in found.chunks(block).enumerate() {
                let torn = found.iter().any(|&byte| byte != found[0]);
                if torn || !(oldest..=newest).contains(&found[0]) {
                    let text = format!(
                        "block {number} of {} is version {}{}, between {oldest} and {newest} were possible",
                        self.range,
                        found[0],
                        if torn { ", torn" } else { "" }
                    );
                    return Err(Failure::new(Duty::B4, text));
                }
            }
            if oldest == VERSIONS {
                return Ok(());
            }
        }
    }
}

/// Threads that write to blocks next to each other, which a backend with larger units reads, changes and writes.
pub(super) fn neighbours_do_not_disturb(context: &Context) -> Result<(), Failure> {
    const WRITERS: u16 = 4;
    let disk = context.open(1 << 20)?;
    if disk.info().read_only {
        context.skip("the disk is read-only");
        return disk.finish().map(drop);
    }
    let block = u64::from(disk.info().block.minimum).max(16);
    let count = ((1 << 16) / block).clamp(WRITERS.into(), 256);
    let work = |writer: u16| {
        for version in 0..4_u64 {
            for index in (writer.into()..count).step_by(WRITERS.into()) {
                let byte = u8::try_from((index * 7 + version) % 255 + 1).expect("below 256");
                let bytes = vec![byte; usize::try_from(block).expect("a block fits in memory")];
                disk.write(index * block, bytes.clone())?;
                if disk.read(ByteRange::between(index * block, (index + 1) * block))? != bytes {
                    let text = format!("the write at {} was undone by a write beside it", index * block);
                    return Err(Failure::new(Duty::B6, text));
                }
            }
        }
        Ok(())
    };
    side_by_side(WRITERS, work)?;
    let whole = disk.read(ByteRange::between(0, count * block))?;
    for (index, found) in (0_u64..).zip(whole.chunks(usize::try_from(block).expect("a block fits in memory"))) {
        if found.iter().any(|&byte| u64::from(byte) != (index * 7 + 3) % 255 + 1) {
            let text = format!("the last write at {} was undone by a write beside it", index * block);
            return Err(Failure::new(Duty::B6, text));
        }
    }
    disk.finish().map(drop)
}
