//! A span of bytes of an export.

use std::fmt;

/// `length` bytes from `offset`; the end never exceeds `u64::MAX`. May be empty.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteRange {
    offset: u64,
    length: u64,
}

impl ByteRange {
    /// `None` if `offset + length` does not fit in 64 bits.
    pub fn new(offset: u64, length: u64) -> Option<Self> {
        offset.checked_add(length)?;
        Some(Self { offset, length })
    }

    /// From a start and an end. Panics if `end < start`: a caller's bug.
    #[track_caller]
    pub fn between(start: u64, end: u64) -> Self {
        assert!(start <= end, "range {start}..{end} is reversed");
        Self { offset: start, length: end - start }
    }

    /// First byte.
    pub fn offset(self) -> u64 {
        self.offset
    }

    /// Bytes in the range.
    pub fn length(self) -> u64 {
        self.length
    }

    /// One past the last byte.
    pub fn end(self) -> u64 {
        self.offset + self.length
    }

    /// Whether the range has no bytes.
    pub fn is_empty(self) -> bool {
        self.length == 0
    }

    /// Whether every byte of `other` lies in this range.
    pub fn contains(self, other: Self) -> bool {
        self.offset <= other.offset && other.end() <= self.end()
    }

    /// Whether the two share a byte.
    pub fn overlaps(self, other: Self) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }

    /// The bytes in both, `None` if there are none.
    pub fn intersect(self, other: Self) -> Option<Self> {
        self.overlaps(other).then(|| Self::between(self.offset.max(other.offset), self.end().min(other.end())))
    }

    /// Whether both ends are multiples of `block`.
    pub fn is_aligned(self, block: u64) -> bool {
        self.offset.is_multiple_of(block) && self.length.is_multiple_of(block)
    }

    /// Cuts the range at every multiple of `step` (an absolute grid), in order.
    pub fn pieces(self, step: u64) -> impl Iterator<Item = Self> {
        assert!(step > 0, "pieces need a step");
        let mut start = self.offset;
        std::iter::from_fn(move || {
            (start < self.end()).then(|| {
                let grid = (start / step).saturating_add(1).saturating_mul(step);
                let piece = Self::between(start, grid.min(self.end()));
                start = piece.end();
                piece
            })
        })
    }
}

impl fmt::Debug for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.offset, self.length)
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
