//! One chunk: a hole, an allocated stretch of zeros, or bytes.
//!
//! The bytes are reference-counted, so that a long read can take them along. A write changes them in place while
//! nobody else holds them and replaces them by a changed copy otherwise: bytes once handed out never change.
//!
//! ```text
//!           write                 zero_allocated
//!   Hole ──────────► Data ◄────► Zero ◄──────── Hole        trim: what now reads as zeros becomes a Hole,
//!                                                           or Zero where a part of it was zeroed to stay
//! ```

use std::{mem, ops::Range};

use bytes::Bytes;
use nbdgate_api::{Error, ExtentKind, Kind, Payload};

use crate::{budget::Budget, table::CHUNK_SIZE};

#[expect(clippy::cast_possible_truncation, reason = "65536")]
static ZEROS: [u8; CHUNK_SIZE as usize] = [0; CHUNK_SIZE as usize];

#[derive(Debug, Default)]
pub(crate) enum Chunk {
    /// Not allocated.
    #[default]
    Hole,
    /// Allocated: counted in the budget, but without memory until it is written to.
    Zero,
    /// Allocated, and the memory of exactly the chunk's length.
    Data {
        bytes: Bytes,
        /// A part was zeroed with NO_HOLE: a TRIM of the rest must not make that part a hole.
        keep: bool,
    },
}

impl Chunk {
    /// The bytes; `None` if all are zeros.
    pub(crate) fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Data { bytes, .. } => Some(bytes),
            Self::Hole | Self::Zero => None,
        }
    }

    pub(crate) fn kind(&self) -> ExtentKind {
        match self {
            Self::Hole => ExtentKind::Hole,
            Self::Zero => ExtentKind::Zero,
            Self::Data { .. } => ExtentKind::Data,
        }
    }

    /// Stores `payload` at `part`; `length` is the chunk's. Nothing has changed if it fails.
    pub(crate) fn write(
        &mut self,
        part: Range<usize>,
        payload: &Payload,
        length: usize,
        budget: &Budget,
    ) -> Result<(), Error> {
        let was_hole = matches!(self, Self::Hole);
        if was_hole {
            budget.reserve(length)?;
        }
        let stored = self.store(part, payload, length);
        if was_hole && stored.is_err() {
            budget.release(length);
        }
        stored
    }

    /// Makes `part` zeros and keeps the chunk allocated, or allocates it.
    pub(crate) fn zero_allocated(&mut self, part: Range<usize>, length: usize, budget: &Budget) -> Result<(), Error> {
        if matches!(self, Self::Hole) {
            budget.reserve(length)?;
        }
        if self.is_zero_outside(&part) {
            *self = Self::Zero;
            return Ok(());
        }
        self.store_zeros(part, length)?;
        if let Self::Data { keep, .. } = self {
            *keep = true;
        }
        Ok(())
    }

    /// Makes `part` zeros and gives the chunk back if nothing else is in it.
    pub(crate) fn trim(&mut self, part: Range<usize>, length: usize, budget: &Budget) -> Result<(), Error> {
        if part.len() == length {
            self.release(length, budget);
            return Ok(());
        }
        match self {
            Self::Hole | Self::Zero => Ok(()),
            Self::Data { .. } if !self.is_zero_outside(&part) => self.store_zeros(part, length),
            Self::Data { keep: true, .. } => {
                *self = Self::Zero;
                Ok(())
            }
            Self::Data { .. } => {
                self.release(length, budget);
                Ok(())
            }
        }
    }

    /// Becomes a hole.
    fn release(&mut self, length: usize, budget: &Budget) {
        if !matches!(mem::take(self), Self::Hole) {
            budget.release(length);
        }
    }

    fn store_zeros(&mut self, part: Range<usize>, length: usize) -> Result<(), Error> {
        let zeros = Bytes::from_static(&ZEROS[..part.len()]);
        self.store(part, &zeros.into(), length)
    }

    fn store(&mut self, part: Range<usize>, payload: &Payload, length: usize) -> Result<(), Error> {
        let (bytes, keep) = match mem::take(self) {
            Self::Data { bytes, keep } => match bytes.try_into_mut() {
                Ok(mut own) => {
                    payload.copy_to(&mut own[part]);
                    *self = Self::Data { bytes: own.freeze(), keep };
                    return Ok(());
                }
                Err(shared) => {
                    let changed = assemble(&shared[..part.start], payload, &shared[part.end..]);
                    (changed.map_err(|error| (error, Self::Data { bytes: shared, keep })), keep)
                }
            },
            blank => {
                let keep = matches!(blank, Self::Zero);
                let fresh = assemble(&ZEROS[..part.start], payload, &ZEROS[..length - part.end]);
                (fresh.map_err(|error| (error, blank)), keep)
            }
        };
        match bytes {
            Ok(bytes) => {
                *self = Self::Data { bytes, keep };
                Ok(())
            }
            Err((error, before)) => {
                *self = before;
                Err(error)
            }
        }
    }

    fn is_zero_outside(&self, part: &Range<usize>) -> bool {
        self.bytes().is_none_or(|bytes| is_zero(&bytes[..part.start]) && is_zero(&bytes[part.end..]))
    }
}

/// A chunk's memory in one pass, without zeroing what is overwritten anyway.
fn assemble(before: &[u8], payload: &Payload, after: &[u8]) -> Result<Bytes, Error> {
    let length = before.len() + payload.slices().iter().map(Bytes::len).sum::<usize>() + after.len();
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|error| {
        Error::new(Kind::NoMemory, format!("allocating a chunk of {length} bytes of a memory disk")).with_source(error)
    })?;
    bytes.extend_from_slice(before);
    for slice in payload.slices() {
        bytes.extend_from_slice(slice);
    }
    bytes.extend_from_slice(after);
    Ok(bytes.into())
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes == &ZEROS[..bytes.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: usize = 1000;

    fn payload(byte: u8, length: usize) -> Payload {
        vec![byte; length].into()
    }

    fn written(budget: &Budget) -> Chunk {
        let mut chunk = Chunk::default();
        chunk.write(100..200, &payload(7, 100), LENGTH, budget).unwrap();
        chunk
    }

    #[test]
    fn a_first_write_allocates_and_the_rest_is_zeros() {
        let budget = Budget::new(u64::MAX);
        let chunk = written(&budget);
        let bytes = chunk.bytes().unwrap();
        assert_eq!(bytes.len(), LENGTH);
        assert!(is_zero(&bytes[..100]) && is_zero(&bytes[200..]));
        assert_eq!(bytes[100..200], [7; 100]);
        assert_eq!(budget.used(), LENGTH as u64);
    }

    #[test]
    fn a_write_is_in_place_unless_the_bytes_are_held() {
        let budget = Budget::new(u64::MAX);
        let mut chunk = written(&budget);
        let address = |chunk: &Chunk| chunk.bytes().unwrap().as_ptr();
        let first = address(&chunk);
        chunk.write(0..10, &payload(1, 10), LENGTH, &budget).unwrap();
        assert_eq!(address(&chunk), first);

        let held = chunk.bytes().unwrap().slice(0..10);
        chunk.write(0..10, &payload(2, 10), LENGTH, &budget).unwrap();
        assert_eq!(held, [1; 10].as_slice(), "held bytes never change");
        let second = address(&chunk);
        assert_ne!(second, first);
        drop(held);
        chunk.write(0..10, &payload(3, 10), LENGTH, &budget).unwrap();
        assert_eq!(address(&chunk), second);
    }

    #[test]
    fn trimming_the_last_data_gives_the_chunk_back() {
        let budget = Budget::new(u64::MAX);
        let mut chunk = written(&budget);
        chunk.trim(100..150, LENGTH, &budget).unwrap();
        assert_eq!(chunk.kind(), ExtentKind::Data);
        chunk.trim(140..300, LENGTH, &budget).unwrap();
        assert_eq!((chunk.kind(), budget.used()), (ExtentKind::Hole, 0));
    }

    #[test]
    fn what_was_zeroed_to_stay_survives_a_trim_beside_it() {
        let budget = Budget::new(u64::MAX);
        let mut chunk = written(&budget);
        chunk.zero_allocated(0..50, LENGTH, &budget).unwrap();
        chunk.trim(50..LENGTH, LENGTH, &budget).unwrap();
        assert_eq!((chunk.kind(), budget.used()), (ExtentKind::Zero, LENGTH as u64));
        chunk.write(60..61, &payload(1, 1), LENGTH, &budget).unwrap();
        chunk.trim(50..LENGTH, LENGTH, &budget).unwrap();
        assert_eq!(chunk.kind(), ExtentKind::Zero);
        chunk.trim(0..LENGTH, LENGTH, &budget).unwrap();
        assert_eq!((chunk.kind(), budget.used()), (ExtentKind::Hole, 0));
    }

    #[test]
    fn a_failed_mutation_leaves_a_hole_a_hole() {
        let budget = Budget::new(LENGTH as u64 - 1);
        let mut chunk = Chunk::default();
        assert_eq!(chunk.write(0..1, &payload(1, 1), LENGTH, &budget).unwrap_err().kind(), Kind::NoMemory);
        assert_eq!(chunk.zero_allocated(0..1, LENGTH, &budget).unwrap_err().kind(), Kind::NoMemory);
        assert_eq!((chunk.kind(), budget.used()), (ExtentKind::Hole, 0));
    }
}
