//! Mutations that are answered and not durable, in order.

use std::collections::BTreeMap;

use nbdgate_api::{ByteRange, Op, Zeroes};

#[derive(Default)]
pub(super) struct Pending {
    next: u64,
    ops: BTreeMap<u64, Op>,
    bytes: u64,
    refusing: bool,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }

    /// Payload bytes held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its number; `None` if the disk is closed.
    pub(super) fn push(&mut self, op: Op) -> Option<u64> {
        if self.refusing {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.bytes += payload_length(&op);
        self.ops.insert(number, op);
        Some(number)
    }

    pub(super) fn remove(&mut self, number: u64) {
        if let Some(op) = self.ops.remove(&number) {
            self.bytes -= payload_length(&op);
        }
    }

    /// The mutation of this number, if it is still pending.
    pub(super) fn get(&self, number: u64) -> Option<Op> {
        self.ops.get(&number).cloned()
    }

    /// The mutations that must go below before this one, in order: the earlier ones that it overlaps, those that they
    /// overlap, and so on. One left behind would cover what was written over it.
    pub(super) fn dependencies(&self, number: u64) -> Vec<(u64, Op)> {
        let mut taken: Vec<(u64, Op)> = Vec::new();
        let mut ranges: Vec<ByteRange> = self.get(number).and_then(|op| op.range()).into_iter().collect();
        for (number, op) in self.ops.range(..number).rev() {
            let range = op.range().expect("a mutation has a range");
            if ranges.iter().any(|later| later.overlaps(range)) {
                ranges.push(range);
                taken.push((*number, op.clone()));
            }
        }
        taken.reverse();
        taken
    }

    /// The mutations with lower numbers, in order.
    pub(super) fn up_to(&self, number: u64) -> Vec<(u64, Op)> {
        self.ops.range(..number).map(|(number, op)| (*number, op.clone())).collect()
    }

    pub(super) fn overlaps(&self, range: ByteRange) -> bool {
        self.ops.values().any(|op| op.range().is_some_and(|other| other.overlaps(range)))
    }

    /// From now on the disk is closed.
    pub(super) fn refuse(&mut self) {
        self.refusing = true;
    }

    pub(super) fn is_refusing(&self) -> bool {
        self.refusing
    }

    /// Empties it.
    pub(super) fn take(&mut self) -> Vec<Op> {
        self.bytes = 0;
        std::mem::take(&mut self.ops).into_values().collect()
    }
}

/// The mutation without the flags that were answered for already.
pub(super) fn plain(op: Op) -> Op {
    match op {
        Op::Write { offset, payload, .. } => Op::Write { offset, payload, fua: false },
        Op::Trim { range, .. } => Op::Trim { range, fua: false },
        Op::WriteZeroes { range, zeroes: Zeroes { no_hole, .. }, .. } => {
            Op::WriteZeroes { range, zeroes: Zeroes { no_hole, fast: false }, fua: false }
        }
        Op::Read(_) | Op::Flush | Op::BlockStatus { .. } | Op::DirtyStatus { .. } | Op::Cache(_) => op,
    }
}

/// The mutation cut at every multiple of `step`, plain.
pub(super) fn pieces(op: &Op, step: u64) -> Vec<Op> {
    let range = op.range().expect("a mutation has a range");
    let cut = |part: ByteRange| match plain(op.clone()) {
        Op::Write { offset, payload, fua } => {
            let payload = payload.slice(part.offset() - offset, part.length());
            Op::Write { offset: part.offset(), payload, fua }
        }
        Op::Trim { fua, .. } => Op::Trim { range: part, fua },
        Op::WriteZeroes { zeroes, fua, .. } => Op::WriteZeroes { range: part, zeroes, fua },
        other @ (Op::Read(_) | Op::Flush | Op::BlockStatus { .. } | Op::DirtyStatus { .. } | Op::Cache(_)) => other,
    };
    range.pieces(step).map(cut).collect()
}

/// Puts what the mutation makes of `range` over `bytes`, which are those of `range`.
pub(super) fn patch(bytes: &mut [u8], range: ByteRange, op: &Op) {
    let Some(both) = op.range().and_then(|other| other.intersect(range)) else { return };
    let index = |offset: u64| usize::try_from(offset - range.offset()).expect("inside a read");
    let target = &mut bytes[index(both.offset())..index(both.end())];
    match op {
        Op::Write { offset, payload, .. } => {
            payload.slice(both.offset() - offset, both.length()).copy_to(target);
        }
        _ => target.fill(0),
    }
}

fn payload_length(op: &Op) -> u64 {
    match op {
        Op::Write { payload, .. } => payload.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trim(start: u64, end: u64) -> Op {
        Op::Trim { range: ByteRange::between(start, end), fua: false }
    }

    #[test]
    fn dependencies_are_followed_through_others() {
        let mut pending = Pending::default();
        for (start, end) in [(0, 100), (300, 400), (50, 200), (150, 160)] {
            pending.push(trim(start, end)).unwrap();
        }
        let numbers = |number| pending.dependencies(number).into_iter().map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!(numbers(3), [0, 2]);
        assert_eq!(numbers(1), [0; 0]);
    }

    #[test]
    fn bytes_are_counted_and_a_closed_disk_takes_nothing() {
        let mut pending = Pending::default();
        let number = pending.push(Op::Write { offset: 0, payload: vec![1; 10].into(), fua: false }).unwrap();
        assert_eq!(pending.bytes(), 10);
        pending.remove(number);
        pending.remove(number);
        assert_eq!((pending.bytes(), pending.len()), (0, 0));
        pending.refuse();
        assert!(pending.push(trim(0, 1)).is_none());
    }
}
