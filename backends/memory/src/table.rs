//! Where the chunks are: a first level of leaves, made with the disk, and leaves of chunk slots, made on the first
//! mutation that allocates in their span and kept until the disk goes.
//!
//! ```text
//! offset:  | leaf index | 12 bits: slot in leaf | 16 bits: byte in chunk |
//! ```
//!
//! Looking up is two loads and takes no lock. An empty disk of 1 TiB has 4096 absent leaves, 96 KiB in all; a leaf
//! spans 256 MiB of disk and takes 128 KiB.

use std::{
    ops::{Deref, Range},
    sync::OnceLock,
};

use nbdgate_api::{ByteRange, Error, Kind};
use parking_lot::RwLock;

use crate::chunk::Chunk;

const CHUNK_SHIFT: u32 = 16;
const LEAF_SHIFT: u32 = CHUNK_SHIFT + 12;
const LEAF_SLOTS: usize = 1 << (LEAF_SHIFT - CHUNK_SHIFT);

/// Bytes of a chunk, the unit of allocation; the last one of a disk may be shorter.
pub const CHUNK_SIZE: u64 = 1 << CHUNK_SHIFT;
/// Largest disk, 256 TiB: its first level takes 24 MiB.
pub const MAX_SIZE: u64 = 256 << 40;

/// A chunk and its lock, never across two cache lines: a random request in a large disk finds neither in the cache.
#[derive(Debug, Default)]
#[repr(align(32))]
pub(crate) struct Slot(RwLock<Chunk>);

const _: () = assert!(size_of::<Slot>() == 32, "two slots in a cache line");

impl Deref for Slot {
    type Target = RwLock<Chunk>;

    fn deref(&self) -> &RwLock<Chunk> {
        &self.0
    }
}

type Leaf = OnceLock<Box<[Slot]>>;

#[derive(Debug)]
pub(crate) struct Table {
    leaves: Box<[Leaf]>,
    size: u64,
}

impl Table {
    pub(crate) fn new(size: u64) -> Result<Self, Error> {
        if size > MAX_SIZE {
            let text = format!("memory disk of {size} bytes is larger than the maximum of {MAX_SIZE}");
            return Err(Error::new(Kind::Invalid, text));
        }
        let leaves = allocate(to_usize(size.div_ceil(1 << LEAF_SHIFT)))?;
        Ok(Self { leaves, size })
    }

    /// The range in pieces, each within one chunk and with its slot, or, without a slot, within one absent leaf.
    pub(crate) fn parts(&self, range: ByteRange) -> impl Iterator<Item = (ByteRange, Option<&Slot>)> {
        let mut at = range.offset();
        std::iter::from_fn(move || {
            if at >= range.end() {
                return None;
            }
            let leaf = self.leaves[to_usize(at >> LEAF_SHIFT)].get();
            let shift = if leaf.is_some() { CHUNK_SHIFT } else { LEAF_SHIFT };
            let stop = (((at >> shift) + 1) << shift).min(range.end());
            let part = ByteRange::between(at, stop);
            let slot = leaf.map(|slots| &slots[slot_index(at)]);
            at = stop;
            Some((part, slot))
        })
    }

    /// The slot of the chunk that `part` lies in; makes the leaf if it is absent.
    pub(crate) fn slot(&self, part: ByteRange) -> Result<&Slot, Error> {
        let leaf = &self.leaves[to_usize(part.offset() >> LEAF_SHIFT)];
        if leaf.get().is_none() {
            // Two threads may both make one; the loser's is dropped by `set`.
            let _ = leaf.set(allocate(LEAF_SLOTS)?);
        }
        let slots = leaf.get().expect("the leaf was set above, by this thread or another");
        Ok(&slots[slot_index(part.offset())])
    }

    /// Bytes of the chunk that `part` lies in.
    pub(crate) fn chunk_length(&self, part: ByteRange) -> usize {
        let start = part.offset() & !(CHUNK_SIZE - 1);
        to_usize((self.size - start).min(CHUNK_SIZE))
    }
}

/// Where `part` lies inside its chunk.
pub(crate) fn within_chunk(part: ByteRange) -> Range<usize> {
    let start = part.offset() & (CHUNK_SIZE - 1);
    debug_assert!(start + part.length() <= CHUNK_SIZE, "{part} lies in one chunk");
    to_usize(start)..to_usize(start + part.length())
}

fn slot_index(offset: u64) -> usize {
    to_usize(offset >> CHUNK_SHIFT) & (LEAF_SLOTS - 1)
}

#[expect(clippy::cast_possible_truncation, reason = "indices and lengths bounded by MAX_SIZE >> CHUNK_SHIFT")]
fn to_usize(value: u64) -> usize {
    debug_assert!(value <= MAX_SIZE >> CHUNK_SHIFT, "{value} is an index or a length within a chunk");
    value as usize
}

/// A table of defaults, or an error where the allocator has no memory.
fn allocate<T: Default>(count: usize) -> Result<Box<[T]>, Error> {
    let mut list = Vec::new();
    list.try_reserve_exact(count).map_err(|error| {
        Error::new(Kind::NoMemory, format!("allocating a table of {count} entries of a memory disk")).with_source(error)
    })?;
    list.resize_with(count, T::default);
    Ok(list.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(table: &Table, range: ByteRange) -> Vec<(u64, u64, bool)> {
        table.parts(range).map(|(part, slot)| (part.offset(), part.end(), slot.is_some())).collect()
    }

    #[test]
    fn parts_skip_absent_leaves_and_stop_at_every_chunk_of_present_ones() {
        let leaf = 1 << LEAF_SHIFT;
        let table = Table::new(3 * leaf).unwrap();
        assert_eq!(told(&table, ByteRange::between(5, 3 * leaf)).len(), 3);
        table.slot(ByteRange::between(leaf, leaf + 1)).unwrap();
        let range = ByteRange::between(leaf - 10, leaf + CHUNK_SIZE + 7);
        let (middle, end) = (leaf + CHUNK_SIZE, leaf + CHUNK_SIZE + 7);
        assert_eq!(told(&table, range), [(leaf - 10, leaf, false), (leaf, middle, true), (middle, end, true)]);
    }

    #[test]
    fn different_offsets_have_different_slots() {
        let table = Table::new(1 << 40).unwrap();
        let slot = |offset| std::ptr::from_ref(table.slot(ByteRange::between(offset, offset + 1)).unwrap());
        assert_eq!(slot(0), slot(CHUNK_SIZE - 1));
        assert_ne!(slot(0), slot(CHUNK_SIZE));
        assert_ne!(slot(0), slot(1 << LEAF_SHIFT));
        assert_eq!(slot((1 << 40) - 1), slot((1 << 40) - CHUNK_SIZE));
    }

    #[test]
    fn the_last_chunk_ends_with_the_disk() {
        let table = Table::new(CHUNK_SIZE + 3).unwrap();
        assert_eq!(table.chunk_length(ByteRange::between(0, 1)), 1 << CHUNK_SHIFT);
        assert_eq!(table.chunk_length(ByteRange::between(CHUNK_SIZE + 1, CHUNK_SIZE + 2)), 3);
    }

    #[test]
    fn a_disk_above_the_maximum_is_refused() {
        assert_eq!(Table::new(MAX_SIZE + 1).unwrap_err().kind(), Kind::Invalid);
        Table::new(MAX_SIZE).unwrap();
    }
}
