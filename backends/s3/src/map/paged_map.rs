//! The paged extent map (§5.1).
//!
//! Holds committed state only. It knows nothing of segments but their handles: whoever installs a run is told what it
//! displaced and keeps the live counters.

use super::page::{Extent, PAGE_BLOCKS, Page};
use super::spans::{Run, Spans};
use crate::format::segment::MAX_BLOCKS;
use crate::format::{BlockRange, Lba, SegId, SegmentAddress};
use std::mem::size_of;

/// Disk to log, page by page.
#[derive(Debug)]
pub struct PagedMap {
    blocks: u64,
    pages: Vec<Page>,
    dirty: Vec<u64>,
    dirty_count: usize,
    page_bytes: usize,
}

/// A picture of some pages; the map may be written meanwhile.
#[derive(Clone, Debug, Default)]
pub struct FrozenPages {
    pub(crate) pages: Vec<(u32, Page)>,
}

impl FrozenPages {
    /// Numbers of the pages in it, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.pages.iter().map(|&(no, _)| no)
    }

    /// How many pages it holds.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }
}

impl PagedMap {
    /// The map of an empty disk of `blocks` blocks.
    pub fn new(blocks: u64) -> Self {
        assert!(blocks <= MAX_BLOCKS, "a disk has at most 2^48 blocks");
        let mut map = Self { blocks: 0, pages: Vec::new(), dirty: Vec::new(), dirty_count: 0, page_bytes: 0 };
        map.grow(blocks);
        map
    }

    /// Size of the disk in blocks.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Number of pages.
    pub fn page_count(&self) -> u32 {
        u32::try_from(self.pages.len()).expect("grow() holds the page count below 2^32")
    }

    /// Makes the disk larger; the new blocks are a hole.
    pub fn grow(&mut self, blocks: u64) {
        assert!(blocks >= self.blocks, "shrinking is not part of this map");
        let pages =
            u32::try_from(blocks.div_ceil(u64::from(PAGE_BLOCKS))).expect("a map of 16 PiB does not fit memory");
        let pages = pages as usize;
        self.blocks = blocks;
        self.pages.resize_with(pages, Page::default);
        self.dirty.resize(pages.div_ceil(64), 0);
    }

    /// Makes the disk smaller and reports every run that the blocks behind its new end were mapped to.
    pub fn shrink(&mut self, blocks: u64, displaced: impl FnMut(Run)) {
        assert!(blocks <= self.blocks, "grow() makes it larger");
        self.zero(BlockRange::new(Lba(blocks), self.blocks - blocks), displaced);
        let pages = usize::try_from(blocks.div_ceil(u64::from(PAGE_BLOCKS))).expect("it was larger");
        self.blocks = blocks;
        for page_no in pages..self.pages.len() {
            let (word, bit) = (&mut self.dirty[page_no / 64], 1 << (page_no % 64));
            self.dirty_count -= usize::from(*word & bit != 0);
            *word &= !bit;
        }
        self.pages.truncate(pages);
        self.dirty.truncate(pages.div_ceil(64));
    }

    /// Memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.pages.capacity() * size_of::<Page>()
            + self.dirty.capacity() * size_of::<u64>()
            + self.page_bytes
    }

    /// Maps the run's blocks to its address and reports every run that they were mapped to before.
    pub fn update(&mut self, run: Run, displaced: impl FnMut(Run)) {
        assert!(run.address.segment != SegId(0), "segment 0 marks a hole");
        assert!(run.address.lblk.checked_add(run.nblocks).is_some(), "a segment has fewer than 2^32 blocks");
        self.replace(run.range(), Some(run.address), displaced);
    }

    /// Makes a range a hole and reports every run that it was mapped to before.
    pub fn zero(&mut self, range: BlockRange, displaced: impl FnMut(Run)) {
        self.replace(range, None, displaced);
    }

    #[expect(clippy::cast_possible_truncation, reason = "numbers within a page, a run or the page table")]
    fn replace(&mut self, range: BlockRange, address: Option<SegmentAddress>, mut displaced: impl FnMut(Run)) {
        assert!(range.nblocks <= self.blocks && range.start.0 <= self.blocks - range.nblocks, "range on the disk");
        let page_blocks = u64::from(PAGE_BLOCKS);
        let mut at = range.start.0;
        let end = range.end().0;
        while at < end {
            let page_no = at / page_blocks;
            let base = page_no * page_blocks;
            let (from, to) = ((at - base) as u32, (end - base).min(page_blocks) as u32);
            let done = (at - range.start.0) as u32;
            let new = address.map(|address| Extent {
                start: from,
                nblocks: to - from,
                segment: address.segment,
                lblk: address.lblk + done,
            });
            self.replace_in_page(page_no as usize, from, to, new, &mut displaced);
            at = base + u64::from(to);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "grow() holds page numbers below 2^32")]
    fn replace_in_page(
        &mut self,
        page_no: usize,
        from: u32,
        to: u32,
        new: Option<Extent>,
        displaced: &mut impl FnMut(Run),
    ) {
        let page = &mut self.pages[page_no];
        if new.is_none() && matches!(page, Page::Hole) {
            return;
        }
        let base = Lba(page_no as u64 * u64::from(PAGE_BLOCKS));
        self.page_bytes -= page.bytes();
        page.replace(from, to, new, &mut |extent| displaced(run_at(base, extent)));
        self.page_bytes += page.bytes();
        self.mark_dirty(page_no as u32);
    }

    /// What a range of the disk is mapped to.
    pub fn lookup(&self, range: BlockRange) -> Spans<'_> {
        assert!(range.nblocks <= self.blocks && range.start.0 <= self.blocks - range.nblocks, "range on the disk");
        Spans::new(self, range)
    }

    #[expect(clippy::cast_possible_truncation, reason = "grow() holds page numbers below 2^32")]
    pub(crate) fn page(&self, page_no: u64) -> &Page {
        &self.pages[page_no as usize]
    }

    /// Puts a page that was read from a checkpoint; it does not become dirty.
    pub(crate) fn load_page(&mut self, page_no: u32, page: Page) {
        let slot = &mut self.pages[page_no as usize];
        self.page_bytes -= slot.bytes();
        self.page_bytes += page.bytes();
        *slot = page;
    }

    /// Every run of a page, for recounts.
    pub(crate) fn page_runs(&self, page_no: u32) -> impl Iterator<Item = Run> + '_ {
        let base = Lba(u64::from(page_no) * u64::from(PAGE_BLOCKS));
        self.pages[page_no as usize].extents().map(move |extent| run_at(base, extent))
    }

    /// Pages changed since they were last frozen.
    pub fn dirty_count(&self) -> usize {
        self.dirty_count
    }

    /// Whether a page changed since it was last frozen.
    pub fn is_dirty(&self, page_no: u32) -> bool {
        self.dirty[page_no as usize / 64] >> (page_no % 64) & 1 == 1
    }

    /// Marks a page as changed: for pages whose checkpoint failed, or that a checkpoint must write again.
    pub fn mark_dirty(&mut self, page_no: u32) {
        let word = &mut self.dirty[page_no as usize / 64];
        let bit = 1 << (page_no % 64);
        self.dirty_count += usize::from(*word & bit == 0);
        *word |= bit;
    }

    /// Takes a picture of all dirty pages; they are clean from now on. Costs a pointer per dirty page.
    #[expect(clippy::cast_possible_truncation, reason = "grow() holds page numbers below 2^32")]
    pub fn freeze(&mut self) -> FrozenPages {
        let mut pages = Vec::with_capacity(self.dirty_count);
        for (at, word) in self.dirty.iter_mut().enumerate() {
            let mut bits = std::mem::take(word);
            while bits != 0 {
                let page_no = at * 64 + bits.trailing_zeros() as usize;
                pages.push((page_no as u32, self.pages[page_no].clone()));
                bits &= bits - 1;
            }
        }
        self.dirty_count = 0;
        FrozenPages { pages }
    }

    /// Gives back a picture whose checkpoint was not published: its pages are dirty again.
    pub fn thaw(&mut self, frozen: &FrozenPages) {
        for page_no in frozen.numbers() {
            self.mark_dirty(page_no);
        }
    }
}

fn run_at(base: Lba, extent: Extent) -> Run {
    let address = SegmentAddress { segment: extent.segment, lblk: extent.lblk };
    Run { lba: base.plus(u64::from(extent.start)), address, nblocks: extent.nblocks }
}
