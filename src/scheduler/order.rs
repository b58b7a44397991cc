//! Overlapping mutations, one after the other, in the order of their arrival.

use std::collections::{BTreeMap, VecDeque};

use nbdgate_api::{ByteRange, Op};

/// Ranges held by mutations in flight, and those that wait for them. The held ranges are disjoint.
#[derive(Debug, Default)]
pub(super) struct RangeTable {
    /// Offset → end and holder.
    held: BTreeMap<u64, (u64, usize)>,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    range: ByteRange,
    tag: usize,
    op: Op,
}

impl RangeTable {
    /// Takes `range` for `tag`, unless it overlaps one that is held, or one that waits: nobody overtakes.
    pub(super) fn acquire(&mut self, range: ByteRange, tag: usize) -> bool {
        if self.is_held(range) || self.waiting.iter().any(|waiter| waiter.range.overlaps(range)) {
            return false;
        }
        self.held.insert(range.offset(), (range.end(), tag));
        true
    }

    /// Queues a mutation that could not acquire its range.
    pub(super) fn wait(&mut self, range: ByteRange, tag: usize, op: Op) {
        self.waiting.push_back(Waiter { range, tag, op });
    }

    /// Gives `range` back and hands every mutation that can start now to `start`, oldest first.
    pub(super) fn release(&mut self, range: ByteRange, mut start: impl FnMut(usize, Op)) {
        let held = self.held.remove(&range.offset());
        assert!(held.is_some_and(|(end, _)| end == range.end()), "released range {range} was not held");
        if self.waiting.is_empty() {
            return;
        }
        let mut still = VecDeque::with_capacity(self.waiting.len());
        for waiter in std::mem::take(&mut self.waiting) {
            let blocked = self.is_held(waiter.range) || still.iter().any(|w: &Waiter| w.range.overlaps(waiter.range));
            if blocked {
                still.push_back(waiter);
            } else {
                self.held.insert(waiter.range.offset(), (waiter.range.end(), waiter.tag));
                start(waiter.tag, waiter.op);
            }
        }
        self.waiting = still;
    }

    /// Held ranges are disjoint, so only the last one that begins before the end can overlap.
    fn is_held(&self, range: ByteRange) -> bool {
        self.held.range(..range.end()).next_back().is_some_and(|(_, (end, _))| *end > range.offset())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a naive list: never two overlapping holders, nobody is lost, overlapping ones start in order.
        #[test]
        fn overlapping_ranges_start_in_order_of_arrival(
            steps in prop::collection::vec((0_u64..40, 1_u64..12, any::<bool>()), 1..120),
        ) {
            let mut table = RangeTable::default();
            let mut running: Vec<(usize, ByteRange)> = Vec::new();
            let mut arrived: Vec<ByteRange> = Vec::new();
            let mut started: Vec<usize> = Vec::new();
            let end_oldest = |table: &mut RangeTable, running: &mut Vec<(usize, ByteRange)>, started: &mut Vec<usize>, arrived: &[ByteRange]| {
                let (_, range) = running.remove(0);
                table.release(range, |tag, _| {
                    started.push(tag);
                    running.push((tag, arrived[tag]));
                });
            };
            for (offset, length, finish) in steps {
                let tag = arrived.len();
                let range = ByteRange::new(offset, length).unwrap();
                arrived.push(range);
                if table.acquire(range, tag) {
                    started.push(tag);
                    running.push((tag, range));
                } else {
                    table.wait(range, tag, Op::Trim { range, fua: false });
                }
                if finish && !running.is_empty() {
                    end_oldest(&mut table, &mut running, &mut started, &arrived);
                }
                for (i, (_, a)) in running.iter().enumerate() {
                    prop_assert!(running[i + 1..].iter().all(|(_, b)| !a.overlaps(*b)));
                }
            }
            while !running.is_empty() {
                end_oldest(&mut table, &mut running, &mut started, &arrived);
            }
            let position = |tag: usize| started.iter().position(|s| *s == tag);
            for a in 0..arrived.len() {
                prop_assert!(position(a).is_some(), "request {} never started", a);
                for b in a + 1..arrived.len() {
                    if arrived[a].overlaps(arrived[b]) {
                        prop_assert!(position(a) < position(b));
                    }
                }
            }
            prop_assert!(table.held.is_empty() && table.waiting.is_empty());
        }
    }
}
