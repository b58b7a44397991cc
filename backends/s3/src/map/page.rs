//! One page of the map: 4 MiB of disk.
//!
//! ```text
//! Hole | One extent, in place | Extents, sorted, 12 bytes each | Dense: 1024 x (segment u32 << 32 | lblk u32)
//!
//! extent: start:10 len-1:10 flags:12 | segment u32 | lblk u32        flags are 0 in version 1
//! ```
//!
//! Above 640 extents a page turns dense, so a page never takes more than 8 KiB; when a large write leaves it with 320
//! or fewer it turns back. Segment 0 is never given out, so a dense 0 is a hole. Pages are copied when written
//! while a checkpoint holds on to them.

use crate::format::SegId;
use std::mem::size_of;
use std::sync::Arc;

/// Blocks in a page.
pub const PAGE_BLOCKS: u32 = 1024;
/// A page with more extents is dense.
const MAX_EXTENTS: usize = 640;
/// A dense page with so few extents is not.
const FEW_EXTENTS: usize = 320;
/// A write of so many blocks to a dense page makes it worth counting.
const RECOUNT_BLOCKS: u32 = 64;
/// What an `Arc` adds to what it holds.
const ARC_OVERHEAD: usize = 16;

type DenseBlocks = [u64; PAGE_BLOCKS as usize];

/// An extent of a page, unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block within the page.
    pub start: u32,
    /// Blocks, 1 to 1024.
    pub nblocks: u32,
    /// The segment.
    pub segment: SegId,
    /// First block within the segment.
    pub lblk: u32,
}

impl Extent {
    /// The first block behind it.
    pub fn end(&self) -> u32 {
        self.start + self.nblocks
    }

    /// The part of it within `start..end`, which it overlaps.
    fn clip(&self, start: u32, end: u32) -> Self {
        let from = self.start.max(start);
        let to = self.end().min(end);
        Self { start: from, nblocks: to - from, segment: self.segment, lblk: self.lblk + (from - self.start) }
    }

    /// Whether `next` continues it, on the disk and in the segment.
    fn continues(&self, next: &Self) -> bool {
        self.end() == next.start
            && self.segment == next.segment
            && u64::from(self.lblk) + u64::from(self.nblocks) == u64::from(next.lblk)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    place: u32,
    segment: u32,
    lblk: u32,
}

impl Packed {
    fn new(extent: Extent) -> Self {
        let place = extent.start | (extent.nblocks - 1) << 10;
        Self { place, segment: extent.segment.0, lblk: extent.lblk }
    }

    fn start(self) -> u32 {
        self.place & 0x3ff
    }

    fn unpack(self) -> Extent {
        let nblocks = (self.place >> 10 & 0x3ff) + 1;
        Extent { start: self.start(), nblocks, segment: SegId(self.segment), lblk: self.lblk }
    }
}

/// A page; cloning shares what it points to.
#[derive(Clone, Debug, Default)]
pub enum Page {
    /// Nothing mapped.
    #[default]
    Hole,
    /// One extent.
    One(Packed),
    /// Sorted, disjoint extents; more than one.
    Extents(Arc<Vec<Packed>>),
    /// One entry per block.
    Dense(Arc<DenseBlocks>),
}

impl Page {
    /// Memory it takes beyond its slot.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Hole | Self::One(_) => 0,
            Self::Extents(list) => ARC_OVERHEAD + size_of::<Vec<Packed>>() + list.capacity() * size_of::<Packed>(),
            Self::Dense(_) => ARC_OVERHEAD + size_of::<DenseBlocks>(),
        }
    }

    fn packed(&self) -> &[Packed] {
        match self {
            Self::Hole | Self::Dense(_) => &[],
            Self::One(extent) => std::slice::from_ref(extent),
            Self::Extents(list) => list,
        }
    }

    /// What begins at `block`: its extent or none, and for how many blocks up to `limit`.
    pub(super) fn piece(&self, block: u32, limit: u32) -> (Option<Extent>, u32) {
        if let Self::Dense(blocks) = self {
            return dense_piece(blocks, block, limit);
        }
        let list = self.packed();
        let after = list.partition_point(|extent| extent.start() <= block);
        if let Some(extent) = after.checked_sub(1).map(|at| list[at].unpack())
            && extent.end() > block
        {
            let part = extent.clip(block, limit);
            return (Some(part), part.nblocks);
        }
        let end = list.get(after).map_or(limit, |next| next.start().min(limit));
        (None, end - block)
    }

    /// All extents in order, neighbours joined.
    pub fn extents(&self) -> impl Iterator<Item = Extent> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < PAGE_BLOCKS {
                let (extent, nblocks) = self.piece(at, PAGE_BLOCKS);
                at += nblocks;
                if extent.is_some() {
                    return extent;
                }
            }
            None
        })
    }

    /// Makes `start..end` what `new` says (an extent of exactly that range, or a hole) and reports what was there.
    pub(super) fn replace(&mut self, start: u32, end: u32, new: Option<Extent>, displaced: &mut impl FnMut(Extent)) {
        if let Self::Dense(blocks) = self {
            report_dense(blocks, start, end, displaced);
            if end - start < PAGE_BLOCKS {
                write_dense(Arc::make_mut(blocks), start, end, new);
                if end - start >= RECOUNT_BLOCKS {
                    self.thin();
                }
                return;
            }
        }
        if end - start == PAGE_BLOCKS {
            for extent in self.packed() {
                displaced(extent.unpack());
            }
            *self = new.map_or(Self::Hole, |extent| Self::One(Packed::new(extent)));
            return;
        }
        self.splice(start, end, new, displaced);
    }

    fn splice(&mut self, start: u32, end: u32, new: Option<Extent>, displaced: &mut impl FnMut(Extent)) {
        let list = self.packed();
        let first = list.partition_point(|extent| extent.unpack().end() <= start);
        let last = first + list[first..].partition_point(|extent| extent.start() < end);
        for extent in &list[first..last] {
            displaced(extent.unpack().clip(start, end));
        }
        let left = list[first..last].first().map(|e| e.unpack()).filter(|e| e.start < start);
        let right = list[first..last].last().map(|e| e.unpack()).filter(|e| e.end() > end);
        let left = left.map(|extent| extent.clip(0, start));
        let right = right.map(|extent| extent.clip(end, PAGE_BLOCKS));
        let before = if left.is_none() { first.checked_sub(1).map(|at| list[at].unpack()) } else { None };
        let after = if right.is_none() { list.get(last).map(|e| e.unpack()) } else { None };

        // At most left + new + right take the place of first..last, widened by a neighbour that `new` continues.
        let (mut from, mut to) = (first, last);
        let mut parts = [left, new, right];
        if let Some(middle) = parts[1] {
            let mut middle = middle;
            if let Some(before) = before.or(parts[0]).filter(|before| before.continues(&middle)) {
                middle = Extent { nblocks: before.nblocks + middle.nblocks, ..before };
                from -= usize::from(parts[0].take().is_none());
            }
            if let Some(after) = after.or(parts[2]).filter(|after| middle.continues(after)) {
                middle.nblocks += after.nblocks;
                to += usize::from(parts[2].take().is_none());
            }
            parts[1] = Some(middle);
        }
        self.put(from, to, parts);
    }

    /// Puts `parts` in the place of the packed extents `from..to`.
    fn put(&mut self, from: usize, to: usize, parts: [Option<Extent>; 3]) {
        let count = parts.iter().flatten().count();
        let len = self.packed().len() - (to - from) + count;
        let parts = parts.into_iter().flatten().map(Packed::new);
        match self {
            Self::Extents(list) if (2..=MAX_EXTENTS).contains(&len) => {
                let list = Arc::make_mut(list);
                if len > list.capacity() {
                    let room = (len + len / 4).min(MAX_EXTENTS);
                    list.reserve_exact(room - list.len());
                }
                list.splice(from..to, parts);
                if list.capacity() > 2 * len + 8 {
                    list.shrink_to(len + len / 4);
                }
            }
            _ => {
                let old = self.packed();
                let mut list = Vec::with_capacity(len);
                list.extend_from_slice(&old[..from]);
                list.extend(parts);
                list.extend_from_slice(&old[to..]);
                *self = Self::from_packed(list);
            }
        }
    }

    /// The smallest form of sorted, disjoint extents.
    pub(crate) fn from_extents(extents: impl Iterator<Item = Extent>) -> Self {
        Self::from_packed(extents.map(Packed::new).collect())
    }

    fn from_packed(mut list: Vec<Packed>) -> Self {
        match list.len() {
            0 => Self::Hole,
            1 => Self::One(list[0]),
            2..=MAX_EXTENTS => {
                list.shrink_to_fit();
                Self::Extents(Arc::new(list))
            }
            _ => {
                let mut blocks = [0; PAGE_BLOCKS as usize];
                for extent in list.into_iter().map(Packed::unpack) {
                    write_dense(&mut blocks, extent.start, extent.end(), Some(extent));
                }
                Self::Dense(Arc::new(blocks))
            }
        }
    }

    /// Leaves the dense form if few extents are left.
    fn thin(&mut self) {
        if self.extents().take(FEW_EXTENTS + 1).count() <= FEW_EXTENTS {
            *self = Self::from_extents(self.extents());
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "counts of at most 1024, and the two halves of an entry")]
fn dense_piece(blocks: &DenseBlocks, block: u32, limit: u32) -> (Option<Extent>, u32) {
    let first = blocks[block as usize];
    let step = u64::from(first != 0);
    let rest = &blocks[block as usize..limit as usize];
    let same = (0..).zip(rest).take_while(|&(i, &entry)| first.checked_add(i * step) == Some(entry)).count() as u32;
    // A run never crosses from one segment's last block number into the next segment's first.
    let lblk = first as u32;
    let same = same.min((u32::MAX - lblk).saturating_add(1));
    let extent = Extent { start: block, nblocks: same, segment: SegId((first >> 32) as u32), lblk };
    ((first != 0).then_some(extent), same)
}

fn report_dense(blocks: &DenseBlocks, start: u32, end: u32, displaced: &mut impl FnMut(Extent)) {
    let mut at = start;
    while at < end {
        let (extent, nblocks) = dense_piece(blocks, at, end);
        at += nblocks;
        if let Some(extent) = extent {
            displaced(extent);
        }
    }
}

fn write_dense(blocks: &mut DenseBlocks, start: u32, end: u32, new: Option<Extent>) {
    let range = &mut blocks[start as usize..end as usize];
    match new {
        None => range.fill(0),
        Some(extent) => {
            let first = u64::from(extent.segment.0) << 32 | u64::from(extent.lblk);
            for (entry, value) in range.iter_mut().zip(first..) {
                *entry = value;
            }
        }
    }
}
