//! What a connection remembers of a request in flight.

use std::time::Instant;

use nbdgate_api::{ByteRange, Error, Extent};
use smallvec::SmallVec;

use crate::{
    nbd::proto::{Command, ReplyTo},
    scheduler::plan::{Gather, Stream},
};

/// A request in flight.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) to: ReplyTo,
    pub(super) command: Command,
    pub(super) answer: Answer,
    /// What it holds of the permits.
    pub(super) cost: u32,
    pub(super) started: Instant,
    /// The backend requests it was cut into that have not ended.
    pub(super) left: u32,
    /// The first failure of a streamed read, told in a chunk of its own.
    pub(super) error: Option<Error>,
}

/// How its reply comes together.
#[derive(Debug)]
pub(super) enum Answer {
    /// Chunks that leave as they come.
    Stream {
        plan: Stream,
        parts: Parts,
        /// The chunk with DONE has been written.
        done: bool,
    },
    /// Data that leaves as a whole.
    Gather(Gather),
    /// Extents, one list for each context asked for.
    Status(SmallVec<[Vec<Extent>; 1]>),
    /// Success or failure, no more.
    Plain(Option<Error>),
}

/// The backend requests of a read.
pub(super) type Parts = SmallVec<[ByteRange; 1]>;

/// Names a request and one of its parts to the backend: slot, generation of the slot, part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) slot: u32,
    pub(super) generation: u16,
    pub(super) part: u16,
}

impl Tag {
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.slot) << 32 | u64::from(self.generation) << 16 | u64::from(self.part)
    }

    #[expect(clippy::cast_possible_truncation, reason = "takes the fields apart again")]
    pub(super) fn from_bits(bits: u64) -> Self {
        Self { slot: (bits >> 32) as u32, generation: (bits >> 16) as u16, part: bits as u16 }
    }
}
