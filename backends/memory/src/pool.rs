//! The memory of a disk: its budget, and the free blocks of its regions.
//!
//! Memory comes and goes in regions of 2 MiB, while content is counted in chunks of 64 KiB. What keeps the two together:
//!
//! - **Partly used regions first**, always the same one while it has free blocks, and its blocks in ascending order. A
//!   region is mapped only when no block is free, so that all memory is in use up to the last region, and what is
//!   written in sequence lies in sequence.
//! - **An empty region is unmapped.** One is kept per disk ([`Shelf::spare`]): a disk that is written to and trimmed
//!   around a region's edge would map and clear 2 MiB each time.
//! - **A sparse region is split.** Trims at random leave regions with a few blocks in each. One that is less than three
//!   quarters used gives back the pages of its free blocks, and those that become free later. It is served by small
//!   pages until all of it is in use; then the kernel is asked for a huge page again, which it makes in the background.
//!   The last [`SPARSE_KEPT`] regions that became sparse are spared, since a region that is being filled, or trimmed in
//!   sequence, is sparse in passing.
//!
//! So a disk with N bytes allocated has at most 4/3 N + ([`SPARSE_KEPT`] + 1) × 2 MiB of memory: regions that are three
//! quarters used, the spared ones and the empty one. Chunks that answers still hold count as allocated here. The kernel
//! stops counting the pages of a split huge page at once, and may reuse them only when it is short of memory.
//!
//! The pool's lock is taken below a chunk's and is the last. The kernel is called under it, to map, to advise, and to
//! take pages back, so that no block is handed out whose pages are being taken. A region is never unmapped under it,
//! because the block whose end empties a region holds the region, too. Full regions are held by their blocks alone.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use nbdgate_api::Error;
use parking_lot::Mutex;

use crate::{
    budget::Budget,
    region::{BLOCKS, Block, Region},
};

/// Blocks in use from which on a region keeps the pages of the others.
const DENSE: u32 = Free::BITS / 4 * 3;
/// Sparse regions of a disk that keep their pages, 32 MiB.
const SPARSE_KEPT: usize = 16;

/// A bit for each block of a region.
type Free = u32;
const ALL_FREE: Free = Free::MAX;
const _: () = assert!(Free::BITS as usize == BLOCKS, "a bit for each block");

/// The memory of one disk.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) budget: Budget,
    shelf: Mutex<Shelf>,
}

impl Pool {
    pub(crate) fn new(budget: Budget) -> Arc<Self> {
        Arc::new(Self { budget, shelf: Mutex::default() })
    }

    /// A block of unspecified content that nobody else holds. It is not counted in the budget: a chunk is.
    pub(crate) fn take(self: &Arc<Self>) -> Result<Block, Error> {
        let mut shelf = self.shelf.lock();
        if shelf.partial.is_empty() {
            let region = match shelf.spare.take() {
                Some(region) => region,
                None => Arc::new(Region::map(Arc::downgrade(self))?),
            };
            shelf.add_empty(region);
        }
        Ok(shelf.take())
    }

    /// Takes a block back whose last holder is gone. The caller holds the region beyond this call.
    pub(crate) fn put(&self, region: &Arc<Region>, index: usize) {
        self.shelf.lock().put(region, index);
    }
}

#[derive(Debug, Default)]
struct Shelf {
    /// Regions with blocks both free and in use, by address; that of the highest address is filled first.
    partial: BTreeMap<usize, Partial>,
    /// Those of them that are sparse and not split, the oldest first.
    sparse: VecDeque<usize>,
    /// An empty region, not split.
    spare: Option<Arc<Region>>,
}

#[derive(Debug)]
struct Partial {
    region: Arc<Region>,
    free: Free,
    /// Free blocks have no pages, and there is no huge page.
    split: bool,
}

impl Shelf {
    fn add_empty(&mut self, region: Arc<Region>) {
        let address = region.address();
        self.partial.insert(address, Partial { region, free: ALL_FREE, split: false });
        self.add_sparse(address);
    }

    /// The first free block of the partly used region whose turn it is. There is one.
    fn take(&mut self) -> Block {
        let mut entry = self.partial.last_entry().expect("a region with a free block, which the caller made sure of");
        let address = *entry.key();
        let partial = entry.get_mut();
        let index = partial.free.trailing_zeros();
        partial.free &= !(1 << index);
        let block = partial.region.block(index as usize);
        if partial.used() == DENSE && !partial.split {
            self.sparse.retain(|&other| other != address);
        }
        if partial.free == 0 {
            let full = entry.remove();
            if full.split {
                full.region.prefer_huge_pages(true);
            }
        }
        block
    }

    fn put(&mut self, region: &Arc<Region>, index: usize) {
        let address = region.address();
        let full = || Partial { region: Arc::clone(region), free: 0, split: false };
        let partial = self.partial.entry(address).or_insert_with(full);
        partial.free |= 1 << index;
        if partial.free == ALL_FREE {
            self.remove_empty(address);
        } else if partial.split {
            region.discard(index);
        } else if partial.used() == DENSE - 1 {
            self.add_sparse(address);
        }
    }

    /// Drops an empty region or keeps it as the spare one.
    fn remove_empty(&mut self, address: usize) {
        self.sparse.retain(|&other| other != address);
        let empty = self.partial.remove(&address).filter(|partial| !partial.split);
        if self.spare.is_none() {
            self.spare = empty.map(|partial| partial.region);
        }
    }

    /// Enters a region that has become sparse, and splits the oldest if there are too many.
    fn add_sparse(&mut self, address: usize) {
        self.sparse.push_back(address);
        if self.sparse.len() > SPARSE_KEPT
            && let Some(oldest) = self.sparse.pop_front()
            && let Some(partial) = self.partial.get_mut(&oldest)
        {
            partial.split();
        }
    }
}

impl Partial {
    fn used(&self) -> u32 {
        self.free.count_zeros()
    }

    fn split(&mut self) {
        self.split = true;
        // First, or the kernel might make a huge page of what is left.
        self.region.prefer_huge_pages(false);
        for index in (0..BLOCKS).filter(|index| self.free & (1 << index) != 0) {
            self.region.discard(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, thread};

    use proptest::prelude::*;

    use super::*;
    use crate::region::{BLOCK_SIZE, REGION_SIZE};

    fn pool() -> Arc<Pool> {
        Pool::new(Budget::new(u64::MAX))
    }

    fn take(pool: &Arc<Pool>, count: usize) -> Vec<Block> {
        (0..count).map(|_| pool.take().unwrap()).collect()
    }

    fn region_of(block: &Block) -> usize {
        block.as_ptr().addr() / REGION_SIZE * REGION_SIZE
    }

    /// Blocks with pages at most, given those in use.
    fn with_pages(pool: &Pool, held: &[Block]) -> usize {
        let shelf = pool.shelf.lock();
        let mut regions: BTreeSet<usize> = held.iter().map(region_of).collect();
        regions.extend(shelf.partial.keys().copied());
        regions.extend(shelf.spare.iter().map(|region| region.address()));
        let split = shelf.partial.values().filter(|partial| partial.split);
        regions.len() * BLOCKS - split.map(|partial| partial.free.count_ones() as usize).sum::<usize>()
    }

    #[test]
    fn blocks_come_in_ascending_order_and_fill_a_region_first() {
        let pool = pool();
        let mut blocks = take(&pool, BLOCKS);
        let addresses: Vec<_> = blocks.iter().map(|block| block.as_ptr().addr()).collect();
        let start = region_of(&blocks[0]);
        assert_eq!(addresses, (0..BLOCKS).map(|index| start + index * BLOCK_SIZE).collect::<Vec<_>>());

        let freed = addresses[5];
        drop(blocks.remove(5));
        assert_eq!(pool.take().unwrap().as_ptr().addr(), freed, "before another region is mapped");
    }

    #[test]
    fn of_empty_regions_one_is_kept() {
        let pool = pool();
        let blocks = take(&pool, 3 * BLOCKS);
        assert_eq!(with_pages(&pool, &blocks), 3 * BLOCKS);
        drop(blocks);
        assert_eq!(with_pages(&pool, &[]), BLOCKS);
        let spare = pool.shelf.lock().spare.as_ref().unwrap().address();
        assert_eq!(region_of(&pool.take().unwrap()), spare, "and used again");
    }

    #[test]
    fn sparse_regions_beyond_the_spared_ones_lose_the_pages_of_their_free_blocks() {
        const SPLIT: usize = 4;
        let pool = pool();
        let mut blocks = take(&pool, (SPARSE_KEPT + SPLIT) * BLOCKS);
        for block in &mut blocks {
            block.get_mut().unwrap().fill(0xff);
        }
        // One stays in each region, the last.
        let mut index = 0;
        blocks.retain(|_| {
            index += 1;
            index % BLOCKS == 0
        });
        assert_eq!(with_pages(&pool, &blocks), SPARSE_KEPT * BLOCKS + SPLIT);
        let again = take(&pool, (SPARSE_KEPT + SPLIT) * (BLOCKS - 1));
        let cleared = again.iter().filter(|block| block.iter().all(|&byte| byte == 0)).count();
        assert_eq!(cleared, SPLIT * (BLOCKS - 1), "the kernel took these, and only these");
        assert!(blocks.iter().all(|block| block.iter().all(|&byte| byte == 0xff)), "blocks in use are left alone");
        assert_eq!(with_pages(&pool, &blocks), (SPARSE_KEPT + SPLIT) * BLOCKS);
        assert!(pool.shelf.lock().partial.is_empty());
    }

    #[test]
    fn a_split_region_that_was_full_again_is_like_any_other() {
        let pool = pool();
        let mut blocks = take(&pool, (SPARSE_KEPT + 1) * BLOCKS);
        let mut index = 0;
        let (kept, freed): (Vec<_>, Vec<_>) = blocks.drain(..).partition(|_| {
            index += 1;
            index % BLOCKS == 0
        });
        drop(freed);
        let split = |pool: &Pool| pool.shelf.lock().partial.values().filter(|partial| partial.split).count();
        assert_eq!(split(&pool), 1);
        let mut all = take(&pool, (SPARSE_KEPT + 1) * (BLOCKS - 1));
        all.extend(kept);
        all.truncate(all.len() - 1);
        assert_eq!((split(&pool), with_pages(&pool, &all)), (0, (SPARSE_KEPT + 1) * BLOCKS));
    }

    #[test]
    fn threads_never_get_the_same_block_nor_lose_one_in_use() {
        let pool = pool();
        thread::scope(|scope| {
            for stamp in 1..=4_u8 {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 1..=40 {
                        let mut blocks = take(pool, 17 * round);
                        for block in &mut blocks {
                            let bytes = block.get_mut().unwrap();
                            (bytes[0], bytes[BLOCK_SIZE - 1]) = (stamp, stamp);
                        }
                        let mut left = round;
                        blocks.retain(|_| {
                            left += 1;
                            left % 5 == 0
                        });
                        let shared: Vec<_> = blocks.iter().map(|block| block.share(0..BLOCK_SIZE)).collect();
                        drop(blocks);
                        assert!(shared.iter().all(|bytes| (bytes[0], bytes[BLOCK_SIZE - 1]) == (stamp, stamp)));
                    }
                });
            }
        });
        assert_eq!(with_pages(&pool, &[]), BLOCKS);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn memory_is_bounded_by_what_is_in_use(
            phases in prop::collection::vec((0..900_usize, 0..1200_usize, any::<usize>()), 1..8),
        ) {
            let pool = pool();
            let mut held: Vec<Block> = Vec::new();
            for (takes, puts, seed) in phases {
                held.extend(take(&pool, takes));
                for put in 0..puts.min(held.len()) {
                    let victim = seed.wrapping_mul(put + 1) % held.len();
                    held.swap_remove(victim);
                    if put % 16 == 0 {
                        let (found, bound) = (with_pages(&pool, &held), held.len() * 4 / 3 + (SPARSE_KEPT + 1) * BLOCKS);
                        prop_assert!(found <= bound, "{found} blocks have pages, of {bound} that may");
                    }
                }
                let addresses: BTreeSet<_> = held.iter().map(|block| block.as_ptr().addr()).collect();
                prop_assert_eq!(addresses.len(), held.len(), "one block for each");
                let shelf = pool.shelf.lock();
                for (address, partial) in &shelf.partial {
                    let of_it = held.iter().filter(|block| region_of(block) == *address).count();
                    prop_assert_eq!(partial.used() as usize, of_it);
                    let sparse = partial.used() < DENSE && !partial.split;
                    prop_assert_eq!(shelf.sparse.contains(address), sparse);
                }
                prop_assert!(shelf.sparse.iter().all(|address| shelf.partial.contains_key(address)));
            }
        }
    }
}
