//! 2 MiB of a disk's memory, one huge page where the kernel has one, cut into [`BLOCKS`] blocks of a chunk each.
//!
//! A random read of a large disk in 4 KiB pages misses the TLB, and in a virtual machine such a miss walks two page
//! tables, which costs more than the copy. Transparent huge pages are given to those who ask (`madvise`) on most
//! systems, so a region asks. Where there are none it is 512 small pages, and nothing else changes.
//!
//! Blocks are reference-counted, with the counts beside each other in the region's head rather than beside the data:
//! a read needs the address of the data only, a write looks at one count. A region is mapped until its last block
//! is gone, even if its pool went before.
//!
//! Invariants: all bytes of a region are initialised, by the kernel with zeros or by an earlier holder of the block. A
//! block is changed only through [`Block::get_mut`], by its only holder. Which blocks are free is the pool's knowledge.

use std::{
    fmt,
    ops::{Deref, Range},
    ptr::{self, NonNull},
    slice,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering, fence},
    },
};

use bytes::Bytes;
use nbdgate_api::{Error, Kind};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::{pool::Pool, table::CHUNK_SIZE};

/// Bytes and alignment of a region: a huge page of x86-64, and of AArch64 with 4 KiB pages.
pub(crate) const REGION_SIZE: usize = 2 << 20;
/// Bytes of a block.
#[expect(clippy::cast_possible_truncation, reason = "65536")]
pub(crate) const BLOCK_SIZE: usize = CHUNK_SIZE as usize;
/// Blocks of a region.
pub(crate) const BLOCKS: usize = REGION_SIZE / BLOCK_SIZE;

/// Holders that one block may have. A count that wrapped around would free memory in use.
const HOLDERS_MAX: u32 = u32::MAX / 2;

/// A mapped region.
pub(crate) struct Region {
    /// Aligned to [`REGION_SIZE`].
    start: NonNull<u8>,
    /// Where free blocks go.
    pool: Weak<Pool>,
    /// Holders of each block; a block that has none is free.
    holders: [AtomicU32; BLOCKS],
}

// SAFETY: `start` is this region's own mapping, which any thread may use and unmap. Access to what it points to goes
// through blocks, with the rules of `&` and `&mut`, and through `discard`, whose callers own a free block.
#[expect(unsafe_code, reason = "a pointer that is owned like a Vec's")]
unsafe impl Send for Region {}
// SAFETY: as above; the other fields are Sync.
#[expect(unsafe_code, reason = "a pointer that is owned like a Vec's")]
unsafe impl Sync for Region {}

impl Region {
    /// A region of free blocks, all zeros. It takes memory when it is touched, then all of it at once.
    pub(crate) fn map(pool: Weak<Pool>) -> Result<Self, Error> {
        let start = map_aligned().map_err(|error| {
            let text = format!("mapping {REGION_SIZE} bytes for a memory disk");
            Error::new(Kind::NoMemory, text).with_source(std::io::Error::from(error))
        })?;
        let region = Self { start, pool, holders: [const { AtomicU32::new(0) }; BLOCKS] };
        region.prefer_huge_pages(true);
        Ok(region)
    }

    /// What tells this region from others, as long as it lives.
    pub(crate) fn address(&self) -> usize {
        self.start.addr().get()
    }

    /// Asks for a huge page, or that there be none in this region's place.
    pub(crate) fn prefer_huge_pages(&self, huge: bool) {
        let advice = if huge { Advice::LinuxHugepage } else { Advice::LinuxNoHugepage };
        // A kernel without transparent huge pages refuses, and so does one that has no room for one more mapping. Pages
        // of another size are slower or larger, and hold the same bytes.
        // SAFETY: the range is this region's mapping, and the advice changes no content.
        #[expect(unsafe_code, reason = "madvise takes an address")]
        let _ = unsafe { madvise(self.start.as_ptr().cast(), REGION_SIZE, advice) };
    }

    /// The block `index`, which was free, for its first holder.
    pub(crate) fn block(self: &Arc<Self>, index: usize) -> Block {
        let before = self.holders[index].swap(1, Ordering::Relaxed);
        assert_eq!(before, 0, "block {index} is held already");
        // SAFETY: `holders[index]` is in bounds, so the offset lies inside the mapping of BLOCKS blocks.
        #[expect(unsafe_code, reason = "the address of a block")]
        let data = unsafe { self.start.add(index * BLOCK_SIZE) };
        Block { data, region: Arc::clone(self) }
    }

    /// Gives the pages of the free block `index` back to the kernel; it reads as zeros from then on. The caller has
    /// the right to hand the block out, and does not do so meanwhile.
    pub(crate) fn discard(&self, index: usize) {
        assert_eq!(self.holders[index].load(Ordering::Acquire), 0, "block {index} is in use");
        // Locked memory is refused: it was meant to stay.
        // SAFETY: the range lies inside this region's mapping. The block has no holder, so no reference to its bytes
        // exists, and none comes into being meanwhile, since only the caller could hand the block out.
        #[expect(unsafe_code, reason = "madvise takes an address")]
        let _ =
            unsafe { madvise(self.start.add(index * BLOCK_SIZE).as_ptr().cast(), BLOCK_SIZE, Advice::LinuxDontNeed) };
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let start = self.start.as_ptr().cast();
        // SAFETY: the mapping is this region's own and whole. Every block holds an Arc of its region, so there is none
        // left, and no reference into the mapping.
        #[expect(unsafe_code, reason = "the mapping ends with its owner")]
        unsafe {
            if munmap(start, REGION_SIZE).is_err() {
                // Unmapping inside a larger mapping makes two, for which there may be no room. Without its pages,
                // what is left is an address that nobody uses.
                let _ = madvise(start, REGION_SIZE, Advice::LinuxDontNeed);
            }
        }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("start", &self.start).field("holders", &self.holders).finish_non_exhaustive()
    }
}

/// A hold on a block: [`BLOCK_SIZE`] bytes, shared with its clones. The last one that is dropped frees the block.
#[derive(Debug)]
pub(crate) struct Block {
    data: NonNull<u8>,
    region: Arc<Region>,
}

// SAFETY: `data` points into `region`, which is Send and Sync and kept mapped by this block; shared references to a
// block only read, and `get_mut` needs an exclusive one to the only block there is.
#[expect(unsafe_code, reason = "a pointer that is shared like an Arc's")]
unsafe impl Send for Block {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "a pointer that is shared like an Arc's")]
unsafe impl Sync for Block {}

impl Block {
    /// The bytes for changing, if nobody else holds the block.
    pub(crate) fn get_mut(&mut self) -> Option<&mut [u8]> {
        // Acquire: what former holders read was read before anything is changed. Only a holder can add another one, so
        // one holder that is borrowed exclusively stays the only one.
        if self.holders().load(Ordering::Acquire) != 1 {
            return None;
        }
        // SAFETY: BLOCK_SIZE bytes from `data` on are one block of the mapping, which `region` keeps alive; they are
        // initialised (the invariant above); this is the only holder and borrowed exclusively, so no other reference
        // to them exists while this one does.
        #[expect(unsafe_code, reason = "view of memory that only this holds")]
        Some(unsafe { slice::from_raw_parts_mut(self.data.as_ptr(), BLOCK_SIZE) })
    }

    /// The bytes at `range` together with a hold on the block.
    pub(crate) fn share(&self, range: Range<usize>) -> Bytes {
        Bytes::from_owner(self.clone()).slice(range)
    }

    fn holders(&self) -> &AtomicU32 {
        &self.region.holders[self.index()]
    }

    fn index(&self) -> usize {
        (self.data.addr().get() / BLOCK_SIZE) % BLOCKS
    }
}

impl Clone for Block {
    fn clone(&self) -> Self {
        // Relaxed: the new holder comes from one that keeps the block meanwhile.
        let before = self.holders().fetch_add(1, Ordering::Relaxed);
        assert!(before < HOLDERS_MAX, "{before} answers hold one block of a memory disk");
        Self { data: self.data, region: Arc::clone(&self.region) }
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: BLOCK_SIZE bytes from `data` on are one block of the mapping, which `region` keeps alive; they are
        // initialised (the invariant above); they change only through `get_mut`, which wants an exclusive reference to
        // the only holder and so cannot be called on this one while the slice lives, nor on another.
        #[expect(unsafe_code, reason = "view of held memory")]
        unsafe {
            slice::from_raw_parts(self.data.as_ptr(), BLOCK_SIZE)
        }
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.holders().fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // What any holder did to the block comes before what the next one does.
        fence(Ordering::Acquire);
        if let Some(pool) = self.region.pool.upgrade() {
            pool.put(&self.region, self.index());
        }
    }
}

/// Maps an aligned region. The kernel places mappings below one another, so that most are aligned at the first try,
/// and neighbours become one mapping of the process, whose number is limited (`vm.max_map_count`).
fn map_aligned() -> rustix::io::Result<NonNull<u8>> {
    let start = map(REGION_SIZE)?;
    if start.addr().get().is_multiple_of(REGION_SIZE) {
        return Ok(start);
    }
    unmap_untouched(start, REGION_SIZE);
    // Of the regions inside, the upper one: the next to be mapped fits right below.
    let start = map(2 * REGION_SIZE)?;
    let below = REGION_SIZE - start.addr().get() % REGION_SIZE;
    // SAFETY: both offsets are within the mapping of two regions.
    #[expect(unsafe_code, reason = "the address of a region inside a larger mapping")]
    let (kept, above) = unsafe { (start.add(below), start.add(below + REGION_SIZE)) };
    unmap_untouched(start, below);
    unmap_untouched(above, REGION_SIZE - below);
    Ok(kept)
}

fn map(length: usize) -> rustix::io::Result<NonNull<u8>> {
    // SAFETY: a null address lets the kernel choose, which replaces no mapping.
    #[expect(unsafe_code, reason = "memory from the kernel, aligned as no allocator does without touching it")]
    let start =
        unsafe { mmap_anonymous(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)? };
    Ok(NonNull::new(start.cast()).expect("the kernel maps nothing at address 0 by itself"))
}

/// Unmaps a part of a mapping that [`map_aligned`] just made and does not hand out.
fn unmap_untouched(start: NonNull<u8>, length: usize) {
    if length > 0 {
        // If it stays, it takes no memory, since it is untouched, only an address.
        // SAFETY: nobody else has an address in this part of a new mapping.
        #[expect(unsafe_code, reason = "the mapping is larger than what is kept")]
        let _ = unsafe { munmap(start.as_ptr().cast(), length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region() -> Arc<Region> {
        Arc::new(Region::map(Weak::new()).unwrap())
    }

    #[test]
    fn blocks_are_aligned_separate_and_in_order() {
        let region = region();
        assert!(region.address().is_multiple_of(REGION_SIZE));
        let mut blocks: Vec<Block> = (0..BLOCKS).map(|index| region.block(index)).collect();
        for (index, block) in blocks.iter_mut().enumerate() {
            assert_eq!(block.index(), index);
            assert_eq!(block.as_ptr().addr(), region.address() + index * BLOCK_SIZE);
            block.get_mut().unwrap().fill(u8::try_from(index).unwrap() + 1);
        }
        for (index, block) in blocks.iter().enumerate() {
            assert!(block.iter().all(|&byte| usize::from(byte) == index + 1));
        }
    }

    #[test]
    fn only_a_sole_holder_may_change_a_block() {
        let mut block = region().block(3);
        block.get_mut().unwrap()[7] = 1;
        let held = block.share(7..8);
        assert!(block.get_mut().is_none());
        let again = held.clone();
        drop(held);
        assert!(block.get_mut().is_none(), "a clone of the bytes holds it, too");
        drop(again);
        assert_eq!(block.get_mut().unwrap()[7], 1);
    }

    #[test]
    fn bytes_outlive_everything_else() {
        let mut block = region().block(31);
        block.get_mut().unwrap().fill(9);
        let held = block.share(BLOCK_SIZE - 5..BLOCK_SIZE);
        drop(block);
        assert_eq!(held, [9; 5].as_slice());
    }

    #[test]
    fn a_discarded_block_is_zeros() {
        let region = region();
        let neighbour = region.block(1);
        let mut block = region.block(0);
        block.get_mut().unwrap().fill(5);
        drop(block);
        assert_eq!(region.block(0)[0], 5, "without a pool nothing was given back");
        region.discard(0);
        assert!(region.block(0).iter().chain(neighbour.iter()).all(|&byte| byte == 0));
    }

    #[test]
    #[should_panic(expected = "in use")]
    fn a_held_block_is_not_discarded() {
        let region = region();
        let _held = region.block(0);
        region.discard(0);
    }
}
