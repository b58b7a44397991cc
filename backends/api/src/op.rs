//! A request on its way to a backend.

use std::sync::Arc;

use crate::{ByteRange, Payload, Reply};

/// One request together with the token that answers it. It travels whole, so neither can be lost.
#[derive(Debug)]
pub struct Io {
    /// What to do.
    pub op: Op,
    /// How to answer.
    pub reply: Reply,
}

/// The whole vocabulary of a backend.
#[derive(Clone, Debug)]
pub enum Op {
    /// Deliver the bytes of the range, as data and hole pieces.
    Read(ByteRange),
    /// Store the payload from the offset on.
    Write {
        /// First byte to be written.
        offset: u64,
        /// The bytes; never empty.
        payload: Payload,
        /// Durable before the reply ends.
        fua: bool,
    },
    /// Make durable whatever ended before this was submitted.
    Flush,
    /// Give the space back; reads as zeros afterwards.
    Trim {
        /// Where.
        range: ByteRange,
        /// Durable before the reply ends.
        fua: bool,
    },
    /// Make the range read as zeros.
    WriteZeroes {
        /// Where.
        range: ByteRange,
        /// How.
        zeroes: Zeroes,
        /// Durable before the reply ends.
        fua: bool,
    },
    /// Tell extents, from the range's offset on.
    BlockStatus {
        /// Where.
        range: ByteRange,
        /// The first extent is enough.
        req_one: bool,
    },
    /// Tell what changed since the dirty bitmap of that name began, as extents from the range's offset on.
    DirtyStatus {
        /// Where.
        range: ByteRange,
        /// The first extent is enough.
        req_one: bool,
        /// One of [`Backend::bitmaps`](crate::Backend::bitmaps).
        bitmap: Arc<str>,
    },
    /// Prefetch the range; a hint.
    Cache(ByteRange),
}

/// The two flags of WRITE_ZEROES.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zeroes {
    /// Keep the range allocated (NBD_CMD_FLAG_NO_HOLE).
    pub no_hole: bool,
    /// Only if faster than writing (NBD_CMD_FLAG_FAST_ZERO).
    pub fast: bool,
}

impl Op {
    /// The bytes it touches; `None` for FLUSH.
    pub fn range(&self) -> Option<ByteRange> {
        match self {
            Self::Read(range)
            | Self::Cache(range)
            | Self::Trim { range, .. }
            | Self::WriteZeroes { range, .. }
            | Self::BlockStatus { range, .. }
            | Self::DirtyStatus { range, .. } => Some(*range),
            Self::Write { offset, payload, .. } => Some(ByteRange::between(*offset, *offset + payload.len())),
            Self::Flush => None,
        }
    }

    /// Makes the payload of a write its own, so that it may be kept (B11).
    pub fn detach(&mut self) {
        if let Self::Write { payload, .. } = self {
            payload.detach();
        }
    }

    /// Whether it changes the disk (WRITE, TRIM, WRITE_ZEROES).
    pub fn is_mutation(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Trim { .. } | Self::WriteZeroes { .. })
    }

    /// Whether it must be durable when it ends: FLUSH, and mutations with FUA.
    pub fn is_durable(&self) -> bool {
        match self {
            Self::Flush => true,
            Self::Write { fua, .. } | Self::Trim { fua, .. } | Self::WriteZeroes { fua, .. } => *fua,
            Self::Read(_) | Self::BlockStatus { .. } | Self::DirtyStatus { .. } | Self::Cache(_) => false,
        }
    }
}
