//! Sets of blocks of the disk that something is wrong with, as byte ranges.

use nbdgate_api::ByteRange;

use crate::format::{BLOCK_SIZE, BlockRange};

/// Ranges kept per finding; the number of bytes is exact all the same.
const RANGES_MAX: usize = 4096;

/// Byte ranges of a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// In ascending order, disjoint, neighbours joined. At most 4096; more are left out, and `bytes` tells.
    pub ranges: Vec<ByteRange>,
    /// Bytes in all ranges, those left out included.
    pub bytes: u64,
}

impl Affected {
    /// Of block ranges in any order that do not overlap.
    pub(crate) fn of(mut blocks: Vec<BlockRange>) -> Self {
        blocks.sort_unstable_by_key(|range| range.start);
        let mut affected = Self::default();
        let block = BLOCK_SIZE as u64;
        for range in blocks.into_iter().filter(|range| !range.is_empty()) {
            let range = ByteRange::between(range.start.0 * block, range.end().0 * block);
            affected.bytes += range.length();
            let room = affected.ranges.len() < RANGES_MAX;
            match affected.ranges.last_mut() {
                Some(last) if last.end() == range.offset() => *last = ByteRange::between(last.offset(), range.end()),
                _ if room => affected.ranges.push(range),
                _ => {}
            }
        }
        affected
    }

    /// All of a disk.
    pub(crate) fn whole(blocks: u64) -> Self {
        Self::of(vec![BlockRange::new(crate::format::Lba(0), blocks)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Lba;

    #[test]
    fn neighbours_are_joined_and_bytes_counted_beyond_the_limit() {
        let range = |start, nblocks| BlockRange::new(Lba(start), nblocks);
        let affected = Affected::of(vec![range(10, 2), range(0, 1), range(1, 1), range(7, 0)]);
        assert_eq!(affected.ranges, [ByteRange::between(0, 8192), ByteRange::between(40960, 49152)]);
        assert_eq!(affected.bytes, 4 * 4096);
        let many = Affected::of((0..5000).map(|n| range(n * 2, 1)).collect());
        assert_eq!((many.ranges.len(), many.bytes), (4096, 5000 * 4096));
    }
}
