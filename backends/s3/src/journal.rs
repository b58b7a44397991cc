//! The journal (OBJECT-LOG §11): a ring of chained records on local storage that a FLUSH waits for instead of the bucket.
//!
//! ```text
//!  block 0, 1   superblock A/B, written alternately, rarely
//!  block 2 ...  the ring:  free | tail record record pad | record record head | free
//! ```
//!
//! Parts: `ring` (arithmetic), `record` and `superblock` (bytes), `scan` (reading the chain), `medium` (what I/O is needed),
//! `file` and `writer` (a file or block device and its thread), `keeper` (opening, formatting, judging what is found).
//!
//! Invariants: a record is believed only as the successor of the one before it; nothing between the tail of the newest
//! stable superblock and the head is ever overwritten; a journal that is not known to be spent is never reused.
//! The engine decides what is written and when; nothing here answers a request.

mod file;
mod keeper;
mod medium;
mod record;
mod ring;
mod scan;
mod seal;
mod superblock;
mod writer;

pub use medium::{Done, Medium};

pub(crate) use self::{
    keeper::{Keeper, Standing},
    medium::io,
    record::{
        ExtentJob, Link, MutationContent, Part, RecordJob, ReplayMutation, ReplayRecord, encode_pad, encode_record,
        max_extents, record_len,
    },
    ring::Ring,
    scan::{Scan, Step},
    seal::{RecordSealing, SealedExtent},
    superblock::{Mark, Superblock},
};

/// Where the ring begins: behind the two superblocks.
pub(crate) const RING_START: u64 = 2 * crate::format::BLOCK_SIZE as u64;

/// The smallest journal file or device: several of the longest records.
pub const MIN_SIZE: u64 = 16 << 20;

/// Where an extent's bytes lie in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Position in the ring of the record's header.
    pub(crate) record: u64,
    /// Position in the ring of the extent's first block; positions never wrap.
    pub(crate) extent: u64,
    /// The record, and which of its extents: what a sealed extent is opened with.
    pub(crate) lsn: u64,
    /// See `lsn`.
    pub(crate) number: u16,
    /// Blocks of the extent before the ones that are meant.
    pub(crate) skip: u64,
}

impl Place {
    /// The place `blocks` further on in the same extent.
    #[must_use]
    pub(crate) fn plus(self, blocks: u64) -> Self {
        Self { skip: self.skip + blocks, ..self }
    }
}

/// Where some blocks of an extent lie on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    /// Offset of the header of their record.
    pub(crate) header: u64,
    /// Offset of the extent.
    pub(crate) extent: u64,
    /// The record, and which of its extents.
    pub(crate) lsn: u64,
    /// See `lsn`.
    pub(crate) number: u16,
    /// Blocks of the extent before the ones that are meant.
    pub(crate) skip: u64,
    /// Blocks that are meant.
    pub(crate) nblocks: u64,
}

impl Spot {
    /// The bytes of the blocks, if they are in clear.
    pub(crate) fn range(&self) -> std::ops::Range<u64> {
        let start = self.extent + self.skip * crate::format::BLOCK_SIZE as u64;
        start..start + self.nblocks * crate::format::BLOCK_SIZE as u64
    }

    /// The header's bytes.
    pub(crate) fn header(&self) -> std::ops::Range<u64> {
        self.header..self.header + crate::format::BLOCK_SIZE as u64
    }
}
