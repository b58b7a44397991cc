//! What a disk should hold: a vector of bytes, and which of its blocks nobody can know.

use std::borrow::Cow;

use crate::{
    ByteRange, Extent, Op,
    conformance::{Duty, Failure},
};

/// The naive disk that a backend is compared with.
pub(super) struct Model {
    block: u64,
    bytes: Vec<u8>,
    known: Vec<bool>,
}

/// What a read may find: the bytes at its submission, and those of mutations in flight with it.
pub(super) struct Expected {
    range: ByteRange,
    block: u64,
    bytes: Vec<u8>,
    known: Vec<bool>,
    rivals: Vec<Op>,
}

impl Model {
    /// Zeros.
    pub(super) fn new(size: u64, block: u32) -> Self {
        Self::of(vec![0; index(size)], block)
    }

    /// What was found on a disk.
    pub(super) fn of(bytes: Vec<u8>, block: u32) -> Self {
        let block = u64::from(block);
        Self { block, known: vec![true; index(bytes.len() as u64 / block)], bytes }
    }

    /// A mutation ended well.
    pub(super) fn apply(&mut self, op: &Op) {
        let range = op.range().expect("a mutation has a range");
        self.bytes[span(range)].copy_from_slice(&content(op, range));
        self.known[blocks(range, self.block)].fill(true);
    }

    /// A mutation failed: its range may hold anything (B6).
    pub(super) fn forget(&mut self, range: ByteRange) {
        self.known[blocks(range, self.block)].fill(false);
    }

    /// What a read of the range that is submitted now may find.
    pub(super) fn expect(&self, range: ByteRange) -> Expected {
        let known = self.known[blocks(range, self.block)].to_vec();
        Expected { range, block: self.block, bytes: self.bytes[span(range)].to_vec(), known, rivals: Vec::new() }
    }

    /// Whether hole and zero extents are zeros here (B8).
    pub(super) fn check_extents(&self, extents: &[Extent]) -> Result<(), Failure> {
        for extent in extents.iter().filter(|extent| extent.kind.reads_zero()) {
            if self.bytes[span(extent.range)].iter().all(|&byte| byte == 0) {
                continue;
            }
            for block in extent.range.pieces(self.block) {
                let known = self.known[index(block.offset() / self.block)];
                if known && self.bytes[span(block)].iter().any(|&byte| byte != 0) {
                    let text = format!("{:?} at {} covers data at {block}", extent.kind, extent.range);
                    return Err(Failure::new(Duty::B8, text));
                }
            }
        }
        Ok(())
    }
}

impl Expected {
    /// Adds a mutation in flight at the same time.
    pub(super) fn add_rival(&mut self, op: &Op) {
        if op.range().is_some_and(|range| range.overlaps(self.range)) {
            self.rivals.push(op.clone());
        }
    }

    /// A mutation in flight at the same time has failed (B6).
    pub(super) fn forget(&mut self, range: ByteRange) {
        if let Some(both) = self.range.intersect(range) {
            let start = self.range.offset();
            let both = ByteRange::between(both.offset() - start, both.end() - start);
            self.known[blocks(both, self.block)].fill(false);
        }
    }

    /// Whether every minimum block is one of those that may be found; `duty` is what is broken otherwise.
    pub(super) fn check(&self, found: &[u8], duty: Duty) -> Result<(), Failure> {
        assert_eq!(found.len(), self.bytes.len(), "a read was assembled to its length");
        if found == self.bytes {
            return Ok(());
        }
        for (number, block) in self.range.pieces(self.block).enumerate() {
            let at = span(ByteRange::between(block.offset() - self.range.offset(), block.end() - self.range.offset()));
            let (found, before) = (&found[at.clone()], &self.bytes[at]);
            let allowed = |rival: &Op| {
                rival.range().is_some_and(|range| range.contains(block)) && content(rival, block).as_ref() == found
            };
            if self.known[number] && found != before && !self.rivals.iter().any(allowed) {
                let text = format!(
                    "block {block} in a read of {}: found {:02x?}.., expected {:02x?}.. or one of {} in flight",
                    self.range,
                    &found[..found.len().min(8)],
                    &before[..before.len().min(8)],
                    self.rivals.len()
                );
                return Err(Failure::new(duty, text));
            }
        }
        Ok(())
    }
}

/// What a mutation puts into a part of its range.
fn content(op: &Op, part: ByteRange) -> Cow<'_, [u8]> {
    let Op::Write { offset, payload, .. } = op else {
        return vec![0; index(part.length())].into();
    };
    let (start, mut bytes) = (part.offset() - offset, vec![0; index(part.length())]);
    payload.slice(start, part.length()).copy_to(&mut bytes);
    bytes.into()
}

fn span(range: ByteRange) -> std::ops::Range<usize> {
    index(range.offset())..index(range.end())
}

fn blocks(range: ByteRange, block: u64) -> std::ops::Range<usize> {
    index(range.offset() / block)..index(range.end() / block)
}

fn index(value: u64) -> usize {
    usize::try_from(value).expect("a test disk fits in memory")
}
