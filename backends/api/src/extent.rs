//! What a stretch of an export is made of, as BLOCK_STATUS tells it.

use crate::ByteRange;

/// The states that a backend can tell apart: of `base:allocation`, and of a dirty bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtentKind {
    /// Allocated; content unknown without reading.
    Data,
    /// Not allocated; reads as zeros.
    Hole,
    /// Allocated; known to read as zeros.
    Zero,
    /// In a dirty bitmap: may differ from what it was when the bitmap began.
    Dirty,
    /// In a dirty bitmap: the same as when it began.
    Clean,
}

impl ExtentKind {
    /// Whether the bytes are known to be zeros without reading them.
    pub fn reads_zero(self) -> bool {
        matches!(self, Self::Hole | Self::Zero)
    }
}

/// A stretch of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Where.
    pub range: ByteRange,
    /// What.
    pub kind: ExtentKind,
}

impl Extent {
    /// Appends `next` to `list`, joining it with the last extent where that continues it.
    pub fn push_onto(self, list: &mut Vec<Self>) {
        match list.last_mut() {
            Some(last) if last.kind == self.kind && last.range.end() == self.range.offset() => {
                last.range = ByteRange::between(last.range.offset(), self.range.end());
            }
            _ => list.push(self),
        }
    }
}
