//! Overlapping mutations, one after the other, in the order of their arrival.

use std::collections::{BTreeMap, VecDeque};

use nbdgate_api::{ByteRange, Op};

/// Ranges held by mutations in flight, and those that wait for them. The held ranges are disjoint.
#[derive(Debug, Default)]
pub(super) struct RangeTable {
    /// The only one that is held, which most are that a backend serves at once; then `held` is empty.
    sole: Option<ByteRange>,
    /// Offset → end.
    held: BTreeMap<u64, u64>,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    range: ByteRange,
    tag: usize,
    op: Op,
}

impl RangeTable {
    /// Takes `range`, unless it overlaps one that is held, or one that waits: nobody overtakes.
    pub(super) fn acquire(&mut self, range: ByteRange) -> bool {
        if self.is_held(range) || self.is_wanted(range, self.waiting.len()) {
            return false;
        }
        self.hold(range);
        true
    }

    fn hold(&mut self, range: ByteRange) {
        if self.sole.is_none() && self.held.is_empty() {
            self.sole = Some(range);
            return;
        }
        for range in self.sole.take().into_iter().chain([range]) {
            self.held.insert(range.offset(), range.end());
        }
    }

    /// Whether `range` was held; it is not any more.
    fn let_go(&mut self, range: ByteRange) -> bool {
        match self.sole {
            Some(_) => self.sole.take() == Some(range),
            None => self.held.remove(&range.offset()) == Some(range.end()),
        }
    }

    /// Queues a mutation that could not acquire its range.
    pub(super) fn wait(&mut self, range: ByteRange, tag: usize, op: Op) {
        self.waiting.push_back(Waiter { range, tag, op });
    }

    /// Gives `range` back and hands every mutation that can start now to `start`, oldest first.
    pub(super) fn release(&mut self, range: ByteRange, mut start: impl FnMut(usize, Op)) {
        assert!(self.let_go(range), "released range {range} was not held");
        if self.waiting.is_empty() {
            return;
        }
        // Bytes of `range` that no waiter seen so far wants. Only a waiter that wants some of them can start now.
        let mut free = Free::new(range);
        let mut index = 0;
        while index < self.waiting.len() && !free.is_empty() {
            let wanted = self.waiting[index].range;
            if !free.overlaps(wanted) {
                index += 1;
                continue;
            }
            let first = free.take(wanted.intersect(range).expect("what is free lies in the range"));
            let starts = first && !self.is_held(wanted) && (range.contains(wanted) || !self.is_wanted(wanted, index));
            if !starts {
                index += 1;
                continue;
            }
            let Waiter { range, tag, op } = self.waiting.remove(index).expect("index is below the length");
            self.hold(range);
            start(tag, op);
        }
    }

    /// Whether one of the first `count` waiters wants a byte of `range`.
    fn is_wanted(&self, range: ByteRange, count: usize) -> bool {
        self.waiting.iter().take(count).any(|waiter| waiter.range.overlaps(range))
    }

    /// Held ranges are disjoint, so only the last one that begins before the end can overlap.
    fn is_held(&self, range: ByteRange) -> bool {
        self.sole.is_some_and(|sole| sole.overlaps(range))
            || self.held.range(..range.end()).next_back().is_some_and(|(_, end)| *end > range.offset())
    }
}

/// What is left of a range, as disjoint ranges by offset and end.
struct Free(BTreeMap<u64, u64>);

impl Free {
    fn new(range: ByteRange) -> Self {
        Self(BTreeMap::from([(range.offset(), range.end())]))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn overlaps(&self, range: ByteRange) -> bool {
        self.0.range(..range.end()).next_back().is_some_and(|(_, end)| *end > range.offset())
    }

    /// Takes out what is left of `range`; whether that was all of it.
    fn take(&mut self, range: ByteRange) -> bool {
        let mut taken = 0;
        while let Some((&start, &end)) =
            self.0.range(..range.end()).next_back().filter(|(_, end)| **end > range.offset())
        {
            self.0.remove(&start);
            if start < range.offset() {
                self.0.insert(start, range.offset());
            }
            if end > range.end() {
                self.0.insert(range.end(), end);
            }
            taken += end.min(range.end()) - start.max(range.offset());
        }
        taken == range.length()
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
                if table.acquire(range) {
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
