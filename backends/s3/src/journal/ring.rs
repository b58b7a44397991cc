//! The arithmetic of the ring: positions that never wrap, room, and where the next record goes.
//!
//! A position counts all bytes ever taken; its place in the ring is the remainder by the ring's size. Everything is
//! a multiple of 4096. Invariant: `tail <= head <= tail + size`.

use super::RING_START;
use crate::format::BLOCK_SIZE;

const BLOCK: u64 = BLOCK_SIZE as u64;

/// See the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ring {
    size: u64,
    head: u64,
    tail: u64,
}

/// Where a record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Bytes in front of it, up to the end of the ring, that a pad record covers; 0 for none.
    pub(crate) pad: u64,
    /// Position of the record.
    pub(crate) at: u64,
}

impl Ring {
    /// A ring whose records from `tail` to `head` are kept.
    pub(crate) fn new(size: u64, tail: u64, head: u64) -> Self {
        assert!(size > 0 && size.is_multiple_of(BLOCK), "a ring has whole blocks");
        assert!(tail.is_multiple_of(BLOCK) && head.is_multiple_of(BLOCK), "positions are multiples of blocks");
        assert!(tail <= head && head - tail <= size, "the kept part fits into the ring");
        Self { size, head, tail }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    pub(crate) fn tail(&self) -> u64 {
        self.tail
    }

    /// Bytes between tail and head.
    pub(crate) fn used(&self) -> u64 {
        self.head - self.tail
    }

    /// Where a record of `length` bytes would go; `None` if there is no room for it now.
    pub(crate) fn slot(&self, length: u64) -> Option<Slot> {
        debug_assert!(length.is_multiple_of(BLOCK) && length > 0, "records have whole blocks");
        let left = self.left_from(self.head);
        let pad = if length > left { left } else { 0 };
        let fits = length <= self.size && self.used() + pad + length <= self.size;
        fits.then_some(Slot { pad, at: self.head + pad })
    }

    /// Takes the bytes of a slot that was just offered, up to its record's end.
    pub(crate) fn take(&mut self, slot: Slot, length: u64) {
        assert_eq!(self.slot(length), Some(slot), "only an offered slot is taken");
        self.head = slot.at + length;
    }

    /// Frees everything before `tail`.
    pub(crate) fn free_to(&mut self, tail: u64) {
        assert!((self.tail..=self.head).contains(&tail), "only what was written is freed, and only forwards");
        self.tail = tail;
    }

    /// Bytes from a position to the end of the ring.
    pub(crate) fn left_from(&self, position: u64) -> u64 {
        self.size - position % self.size
    }

    /// The offset on the medium of a position.
    pub(crate) fn offset(&self, position: u64) -> u64 {
        RING_START + position % self.size
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_never_crosses_the_end_of_the_ring() {
        let mut ring = Ring::new(8 * BLOCK, 0, 0);
        for (length, pad) in [(3, 0), (3, 0)] {
            let slot = ring.slot(length * BLOCK).unwrap();
            assert_eq!(slot.pad, pad);
            ring.take(slot, length * BLOCK);
        }
        assert_eq!(ring.slot(3 * BLOCK), None, "two blocks of padding and three of the record do not fit");
        ring.free_to(3 * BLOCK);
        assert_eq!(ring.slot(3 * BLOCK), Some(Slot { pad: 2 * BLOCK, at: 8 * BLOCK }));
        assert_eq!(ring.slot(2 * BLOCK), Some(Slot { pad: 0, at: 6 * BLOCK }));
    }

    #[test]
    fn a_full_ring_has_no_slot_and_an_exact_fit_has() {
        let mut ring = Ring::new(4 * BLOCK, 0, 0);
        let slot = ring.slot(4 * BLOCK).unwrap();
        ring.take(slot, 4 * BLOCK);
        assert_eq!((ring.used(), ring.slot(BLOCK)), (4 * BLOCK, None));
        ring.free_to(4 * BLOCK);
        assert_eq!(ring.slot(5 * BLOCK), None, "longer than the ring");
        assert!(ring.slot(4 * BLOCK).is_some());
    }

    proptest! {
        /// The model: an array of owners, written and freed block by block.
        #[test]
        fn nothing_kept_is_ever_overwritten(
            blocks in 2_u64..24,
            steps in proptest::collection::vec((1_u64..12, any::<bool>()), 1..200),
        ) {
            let mut ring = Ring::new(blocks * BLOCK, 0, 0);
            let mut owners: Vec<Option<u64>> = vec![None; usize::try_from(blocks).unwrap()];
            let mut kept: VecDeque<(u64, u64)> = VecDeque::new();
            let index = |ring: &Ring, position: u64| usize::try_from((ring.offset(position) - RING_START) / BLOCK).unwrap();
            for (number, (length, free)) in steps.into_iter().enumerate() {
                if free {
                    if let Some((_, end)) = kept.pop_front() {
                        for at in (ring.tail()..end).step_by(4096) {
                            owners[index(&ring, at)] = None;
                        }
                        ring.free_to(end);
                    }
                    continue;
                }
                let Some(slot) = ring.slot(length * BLOCK) else {
                    let free = owners.iter().filter(|owner| owner.is_none()).count() as u64;
                    let left = ring.left_from(ring.head()) / BLOCK;
                    let wanted = if length > left { length + left } else { length };
                    prop_assert!(wanted > free, "room was refused although there is some");
                    continue;
                };
                let start = ring.head();
                ring.take(slot, length * BLOCK);
                for at in (start..ring.head()).step_by(4096) {
                    let owner = &mut owners[index(&ring, at)];
                    prop_assert!(owner.is_none(), "a kept block was overwritten");
                    *owner = Some(number as u64);
                }
                let (first, last) = (ring.offset(slot.at), ring.offset(slot.at + (length - 1) * BLOCK));
                prop_assert_eq!(last - first, (length - 1) * BLOCK, "a record is in one piece");
                kept.push_back((slot.at, ring.head()));
            }
        }
    }
}
