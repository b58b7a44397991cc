//! The numbers of the object log, each its own type.
//!
//! There are two kinds of address, and they never mix: an [`Lba`] is a place on the disk, a [`SegmentAddress`]
//! a place in the log.

use std::fmt;
use uuid::Uuid;

/// log2 of [`BLOCK_SIZE`]; fixed in format version 1.
pub const BLOCK_SHIFT: u8 = 12;
/// Bytes in a block, the unit of every address and length below.
pub const BLOCK_SIZE: usize = 1 << BLOCK_SHIFT;

/// The same as a `u32`, for lengths on the bucket.
pub(crate) const BLOCK_BYTES: u32 = 1 << BLOCK_SHIFT;

/// A volume: one disk and its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VolumeId(pub Uuid);

/// A snapshot of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotId(pub Uuid);

/// The tenure of one writer; each claim takes the next. 32 bits, as in object names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u32);

/// 64 random bits drawn by each writer incarnation, so that no two ever write one data key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nonce(pub u64);

/// Slot of a log segment within its epoch's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seq(pub u64);

/// Number of a manifest in the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ManifestNo(pub u64);

/// Number of a checkpoint of a volume, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CheckpointNo(pub u32);

/// Position of a mutation in the volume's total order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wseq(pub u64);

/// One writer incarnation: the directory of its objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Writer {
    /// Its tenure.
    pub epoch: Epoch,
    /// Its random mark.
    pub nonce: Nonce,
}

/// A place on the disk, in blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lba(pub u64);

/// Handle of a segment in one volume's segment table. 0 is never given out: it marks a hole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegId(pub u32);

/// A place in the log: a block of the concatenation of a segment's uncompressed data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentAddress {
    /// The segment.
    pub segment: SegId,
    /// The block within it.
    pub lblk: u32,
}

impl SegmentAddress {
    /// The place `blocks` further on in the same segment.
    #[must_use]
    pub fn plus(self, blocks: u32) -> Self {
        Self { segment: self.segment, lblk: self.lblk + blocks }
    }
}

impl Lba {
    /// The place `blocks` further on.
    #[must_use]
    pub fn plus(self, blocks: u64) -> Self {
        Self(self.0 + blocks)
    }
}

/// Consecutive blocks of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BlockRange {
    /// First block.
    pub start: Lba,
    /// Number of blocks.
    pub nblocks: u64,
}

impl BlockRange {
    /// `nblocks` blocks from `start`.
    pub fn new(start: Lba, nblocks: u64) -> Self {
        Self { start, nblocks }
    }

    /// The first block behind the range.
    pub fn end(self) -> Lba {
        self.start.plus(self.nblocks)
    }

    /// Whether it holds no block.
    pub fn is_empty(self) -> bool {
        self.nblocks == 0
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// As in object names: `<epoch:8x>-<nonce:16x>`.
impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:016x}", self.epoch.0, self.nonce.0)
    }
}
