//! What a look-up yields: runs of blocks that lie together in a segment, and holes.

use super::page::{Extent, PAGE_BLOCKS};
use super::paged_map::PagedMap;
use crate::format::{BlockRange, Lba, SegmentAddress};

/// Consecutive blocks of the disk that lie consecutively in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First block on the disk.
    pub lba: Lba,
    /// Where it lies.
    pub address: SegmentAddress,
    /// How many blocks.
    pub nblocks: u32,
}

impl Run {
    /// The blocks on the disk.
    pub fn range(&self) -> BlockRange {
        BlockRange::new(self.lba, u64::from(self.nblocks))
    }
}

/// A part of a look-up's range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Never written, or cleared: reads as zeros.
    Hole(BlockRange),
    /// In a segment.
    Run(Run),
}

impl Span {
    /// The blocks on the disk.
    pub fn range(&self) -> BlockRange {
        match self {
            Self::Hole(range) => *range,
            Self::Run(run) => run.range(),
        }
    }
}

/// The parts of a range in order, as long as they get: neighbours are joined across pages.
#[derive(Clone, Debug)]
pub struct Spans<'a> {
    map: &'a PagedMap,
    at: u64,
    end: u64,
}

impl<'a> Spans<'a> {
    pub(super) fn new(map: &'a PagedMap, range: BlockRange) -> Self {
        Self { map, at: range.start.0, end: range.end().0 }
    }

    /// The part that begins at `at` and lies within one page.
    #[expect(clippy::cast_possible_truncation, reason = "numbers within a page")]
    fn piece(&self, at: u64) -> Option<Span> {
        if at >= self.end {
            return None;
        }
        let page_blocks = u64::from(PAGE_BLOCKS);
        let (page_no, block) = (at / page_blocks, (at % page_blocks) as u32);
        let limit = (self.end - page_no * page_blocks).min(page_blocks) as u32;
        let piece = self.map.page(page_no).piece(block, limit);
        let lba = Lba(at);
        Some(match piece {
            (Some(Extent { segment, lblk, .. }), nblocks) => {
                Span::Run(Run { lba, address: SegmentAddress { segment, lblk }, nblocks })
            }
            (None, nblocks) => Span::Hole(BlockRange::new(lba, u64::from(nblocks))),
        })
    }
}

impl Iterator for Spans<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let mut span = self.piece(self.at)?;
        loop {
            self.at = span.range().end().0;
            let next = self.piece(self.at);
            match (&mut span, next) {
                (Span::Hole(hole), Some(Span::Hole(more))) => hole.nblocks += more.nblocks,
                (Span::Run(run), Some(Span::Run(more))) if joins(run, &more) => run.nblocks += more.nblocks,
                _ => return Some(span),
            }
        }
    }
}

fn joins(run: &Run, more: &Run) -> bool {
    run.address.segment == more.address.segment
        && u64::from(run.address.lblk) + u64::from(run.nblocks) == u64::from(more.address.lblk)
        && run.nblocks.checked_add(more.nblocks).is_some()
}
