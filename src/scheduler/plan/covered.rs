//! Which bytes of a read have been answered.

use nbdgate_api::ByteRange;
use smallvec::SmallVec;

/// Disjoint ranges in order; neighbours are joined, so an answer that comes in order is always one range.
#[derive(Debug, Default)]
pub(super) struct Covered {
    ranges: SmallVec<[ByteRange; 2]>,
}

impl Covered {
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether a byte of `range` is covered.
    pub(super) fn overlaps(&self, range: ByteRange) -> bool {
        let next = self.ranges.partition_point(|known| known.end() <= range.offset());
        self.ranges.get(next).is_some_and(|known| known.offset() < range.end())
    }

    /// Whether all of `range` is covered, which is not empty.
    pub(super) fn contains(&self, range: ByteRange) -> bool {
        let next = self.ranges.partition_point(|known| known.end() <= range.offset());
        self.ranges.get(next).is_some_and(|known| known.contains(range))
    }

    /// Covers `range`, whatever was covered of it before.
    pub(super) fn fill(&mut self, range: ByteRange) {
        let first = self.ranges.partition_point(|known| known.end() < range.offset());
        let past = self.ranges.partition_point(|known| known.offset() <= range.end());
        if first == past {
            return self.ranges.insert(first, range);
        }
        let start = range.offset().min(self.ranges[first].offset());
        let end = range.end().max(self.ranges[past - 1].end());
        self.ranges[first] = ByteRange::between(start, end);
        self.ranges.drain(first + 1..past);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_agree_with_a_set_of_bytes(steps in prop::collection::vec((0_u64..60, 1_u64..12), 1..40)) {
            let mut covered = Covered::default();
            let mut model = [false; 80];
            for (offset, length) in steps {
                let range = ByteRange::new(offset, length).unwrap();
                let bytes = &mut model[usize::try_from(offset).unwrap()..usize::try_from(range.end()).unwrap()];
                prop_assert_eq!(covered.overlaps(range), bytes.iter().any(|byte| *byte));
                prop_assert_eq!(covered.contains(range), bytes.iter().all(|byte| *byte));
                covered.fill(range);
                bytes.fill(true);
                prop_assert!(covered.ranges.windows(2).all(|pair| pair[0].end() < pair[1].offset()));
            }
        }
    }
}
