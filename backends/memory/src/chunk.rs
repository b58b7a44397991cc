//! One chunk: a hole, an allocated stretch of zeros, or bytes.
//!
//! The bytes are a reference-counted block, so that a long read can take them along. A write changes them in place
//! while nobody else holds them and replaces them by a changed copy otherwise: bytes once handed out never change.
//!
//! A block comes with whatever its last holder left in it. Whoever takes one writes all of the chunk's length, and what
//! a short last chunk leaves of its block is beyond the disk.
//!
//! ```text
//!           write                 zero_allocated
//!   Hole ──────────► Data ◄────► Zero ◄──────── Hole        trim: what now reads as zeros becomes a Hole,
//!                                                           or Zero where a part of it was zeroed to stay
//! ```

use std::{mem, ops::Range, sync::Arc};

use bytes::Bytes;
use nbdgate_api::{Error, ExtentKind, Payload};

use crate::{
    pool::Pool,
    region::{BLOCK_SIZE, Block},
};

static ZEROS: [u8; BLOCK_SIZE] = [0; BLOCK_SIZE];

#[derive(Debug, Default)]
pub(crate) enum Chunk {
    /// Not allocated.
    #[default]
    Hole,
    /// Allocated: counted in the budget, but without memory until it is written to.
    Zero,
    /// Allocated, and with memory.
    Data {
        /// The chunk's bytes, and beyond the end of a short last chunk nothing of meaning.
        block: Block,
        /// A part was zeroed with NO_HOLE: a TRIM of the rest must not make that part a hole.
        keep: bool,
    },
}

impl Chunk {
    /// The memory; `None` if all bytes are zeros.
    pub(crate) fn block(&self) -> Option<&Block> {
        match self {
            Self::Data { block, .. } => Some(block),
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
        pool: &Arc<Pool>,
    ) -> Result<(), Error> {
        let was_hole = matches!(self, Self::Hole);
        if was_hole {
            pool.budget.reserve(length)?;
        }
        let stored = self.store(part, payload, length, pool);
        if was_hole && stored.is_err() {
            pool.budget.release(length);
        }
        stored
    }

    /// Makes `part` zeros and keeps the chunk allocated, or allocates it.
    pub(crate) fn zero_allocated(&mut self, part: Range<usize>, length: usize, pool: &Arc<Pool>) -> Result<(), Error> {
        if matches!(self, Self::Hole) {
            pool.budget.reserve(length)?;
        }
        if self.is_zero_outside(&part, length) {
            *self = Self::Zero;
            return Ok(());
        }
        self.store_zeros(part, length, pool)?;
        if let Self::Data { keep, .. } = self {
            *keep = true;
        }
        Ok(())
    }

    /// Makes `part` zeros and gives the chunk back if nothing else is in it.
    pub(crate) fn trim(&mut self, part: Range<usize>, length: usize, pool: &Arc<Pool>) -> Result<(), Error> {
        if part.len() == length {
            self.release(length, pool);
            return Ok(());
        }
        match self {
            Self::Hole | Self::Zero => Ok(()),
            Self::Data { .. } if !self.is_zero_outside(&part, length) => self.store_zeros(part, length, pool),
            Self::Data { keep: true, .. } => {
                *self = Self::Zero;
                Ok(())
            }
            Self::Data { .. } => {
                self.release(length, pool);
                Ok(())
            }
        }
    }

    /// Becomes a hole.
    fn release(&mut self, length: usize, pool: &Arc<Pool>) {
        if !matches!(mem::take(self), Self::Hole) {
            pool.budget.release(length);
        }
    }

    fn store_zeros(&mut self, part: Range<usize>, length: usize, pool: &Arc<Pool>) -> Result<(), Error> {
        let zeros = Bytes::from_static(&ZEROS[..part.len()]);
        self.store(part, &zeros.into(), length, pool)
    }

    fn store(&mut self, part: Range<usize>, payload: &Payload, length: usize, pool: &Arc<Pool>) -> Result<(), Error> {
        let (before, keep) = match self {
            Self::Data { block, keep } => {
                if let Some(bytes) = block.get_mut() {
                    payload.copy_to(&mut bytes[part]);
                    return Ok(());
                }
                (&block[..length], *keep)
            }
            Self::Zero => (&ZEROS[..length], true),
            Self::Hole => (&ZEROS[..length], false),
        };
        let block = assemble(before, part, payload, pool)?;
        *self = Self::Data { block, keep };
        Ok(())
    }

    fn is_zero_outside(&self, part: &Range<usize>, length: usize) -> bool {
        self.block().is_none_or(|block| is_zero(&block[..part.start]) && is_zero(&block[part.end..length]))
    }
}

/// A chunk's memory in one pass: `payload` at `part`, and what was there before around it.
fn assemble(before: &[u8], part: Range<usize>, payload: &Payload, pool: &Arc<Pool>) -> Result<Block, Error> {
    let mut block = pool.take()?;
    let bytes = block.get_mut().expect("a block just taken has one holder");
    bytes[..part.start].copy_from_slice(&before[..part.start]);
    bytes[part.end..before.len()].copy_from_slice(&before[part.end..]);
    payload.copy_to(&mut bytes[part]);
    Ok(block)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes == &ZEROS[..bytes.len()]
}

#[cfg(test)]
mod tests {
    use nbdgate_api::Kind;

    use super::*;
    use crate::budget::Budget;

    const LENGTH: usize = 1000;

    fn payload(byte: u8, length: usize) -> Payload {
        vec![byte; length].into()
    }

    fn pool(limit: u64) -> Arc<Pool> {
        Pool::new(Budget::new(limit))
    }

    fn written(pool: &Arc<Pool>) -> Chunk {
        let mut chunk = Chunk::default();
        chunk.write(100..200, &payload(7, 100), LENGTH, pool).unwrap();
        chunk
    }

    #[test]
    fn a_first_write_allocates_and_the_rest_is_zeros() {
        let pool = pool(u64::MAX);
        let chunk = written(&pool);
        let bytes = chunk.block().unwrap();
        assert!(is_zero(&bytes[..100]) && is_zero(&bytes[200..LENGTH]));
        assert_eq!(bytes[100..200], [7; 100]);
        assert_eq!(pool.budget.used(), LENGTH as u64);
    }

    #[test]
    fn a_write_is_in_place_unless_the_bytes_are_held() {
        let pool = pool(u64::MAX);
        let mut chunk = written(&pool);
        let address = |chunk: &Chunk| chunk.block().unwrap().as_ptr();
        let first = address(&chunk);
        chunk.write(0..10, &payload(1, 10), LENGTH, &pool).unwrap();
        assert_eq!(address(&chunk), first);

        let held = chunk.block().unwrap().share(0..10);
        chunk.write(0..10, &payload(2, 10), LENGTH, &pool).unwrap();
        assert_eq!(held, [1; 10].as_slice(), "held bytes never change");
        let second = address(&chunk);
        assert_ne!(second, first);
        drop(held);
        chunk.write(0..10, &payload(3, 10), LENGTH, &pool).unwrap();
        assert_eq!(address(&chunk), second);
    }

    #[test]
    fn trimming_the_last_data_gives_the_chunk_back() {
        let pool = pool(u64::MAX);
        let mut chunk = written(&pool);
        chunk.trim(100..150, LENGTH, &pool).unwrap();
        assert_eq!(chunk.kind(), ExtentKind::Data);
        chunk.trim(140..300, LENGTH, &pool).unwrap();
        assert_eq!((chunk.kind(), pool.budget.used()), (ExtentKind::Hole, 0));
    }

    #[test]
    fn what_was_zeroed_to_stay_survives_a_trim_beside_it() {
        let pool = pool(u64::MAX);
        let mut chunk = written(&pool);
        chunk.zero_allocated(0..50, LENGTH, &pool).unwrap();
        chunk.trim(50..LENGTH, LENGTH, &pool).unwrap();
        assert_eq!((chunk.kind(), pool.budget.used()), (ExtentKind::Zero, LENGTH as u64));
        chunk.write(60..61, &payload(1, 1), LENGTH, &pool).unwrap();
        chunk.trim(50..LENGTH, LENGTH, &pool).unwrap();
        assert_eq!(chunk.kind(), ExtentKind::Zero);
        chunk.trim(0..LENGTH, LENGTH, &pool).unwrap();
        assert_eq!((chunk.kind(), pool.budget.used()), (ExtentKind::Hole, 0));
    }

    #[test]
    fn a_failed_mutation_leaves_a_hole_a_hole() {
        let pool = pool(LENGTH as u64 - 1);
        let mut chunk = Chunk::default();
        assert_eq!(chunk.write(0..1, &payload(1, 1), LENGTH, &pool).unwrap_err().kind(), Kind::NoMemory);
        assert_eq!(chunk.zero_allocated(0..1, LENGTH, &pool).unwrap_err().kind(), Kind::NoMemory);
        assert_eq!((chunk.kind(), pool.budget.used()), (ExtentKind::Hole, 0));
    }
}
