//! A root in memory: everything the next incremental checkpoint needs to know about the last.

use super::packs::{PackEntry, PackNo, PackTable};
use crate::format::{CheckpointNo, Epoch, Nonce, PackName, SegId, Seq, VolumeId, Wseq};
use std::sync::Arc;

/// Page locators in a DIR chunk.
pub(super) const DIR_ENTRIES: u32 = 1024;

/// A place in the log that a checkpoint covers: everything up to and including it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The epoch.
    pub epoch: Epoch,
    /// The last slot covered.
    pub seq: Seq,
    /// The last mutation covered.
    pub wseq: Wseq,
}

/// Something that a root does not refer to any more and that may still be in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeferredObject {
    /// A segment, by its handle in the segment table.
    Segment(SegId),
    /// A map pack.
    Pack(PackNo),
}

/// A deferred delete: of an object that a snapshot needs (k with `birth <= k < death`), or whose time has not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deferred {
    /// What.
    pub object: DeferredObject,
    /// First checkpoint that refers to it.
    pub birth: CheckpointNo,
    /// First checkpoint that does not.
    pub death: CheckpointNo,
}

/// Where a page lies: 12 bytes, so that a DIR chunk is 12 KiB. The crc is in the pack's meta.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PageLocator {
    pub(super) pack: PackNo,
    pub(super) offset: u32,
    pub(super) len: u32,
}

/// Where another blob lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Locator {
    pub(super) pack: PackNo,
    pub(super) offset: u32,
    pub(super) len: u32,
    pub(super) crc: u32,
}

pub(super) type DirEntries = [PageLocator; DIR_ENTRIES as usize];

/// A DIR chunk: where it lies, and what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dir {
    pub(super) locator: Locator,
    /// None if all of it is a hole.
    pub(super) pages: Option<Arc<DirEntries>>,
}

/// A checkpoint's root, with the directories it points to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootState {
    pub(super) checkpoint: CheckpointNo,
    pub(super) position: Position,
    pub(super) blocks: u64,
    pub(super) nonces: Vec<Nonce>,
    pub(super) dirs: Vec<Dir>,
    pub(super) segtab: Vec<Locator>,
    pub(super) defer: Locator,
    pub(super) deferred: Vec<Deferred>,
    /// `deferred` is not what the blob at `defer` says.
    pub(super) defer_changed: bool,
    pub(super) packs: PackTable,
    pub(super) root_pack: PackNo,
    pub(super) live_blocks: u64,
    pub(super) stored_bytes: u64,
}

impl RootState {
    /// The state before the first checkpoint of a new volume.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Its checkpoint's number; 0 before the first.
    pub fn checkpoint(&self) -> CheckpointNo {
        self.checkpoint
    }

    /// The log position it covers.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The disk's size in blocks.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Blocks of segments that its map refers to.
    pub fn live_blocks(&self) -> u64 {
        self.live_blocks
    }

    /// Length in bytes of the segments in its table.
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Deletions that wait: for snapshots, or for their time.
    pub fn deferred(&self) -> &[Deferred] {
        &self.deferred
    }

    /// The packs in its table.
    pub fn packs(&self) -> impl Iterator<Item = (PackNo, &PackEntry)> {
        self.packs.iter()
    }

    /// Packs that nothing in this root refers to. They may be deleted once this root is published, unless a snapshot
    /// needs them; until [`forget_pack`](Self::forget_pack) they stay in the table, so that none is lost by a crash.
    pub fn dead_packs(&self) -> impl Iterator<Item = (PackNo, &PackEntry)> {
        self.packs.iter().filter(|&(no, entry)| entry.live == 0 && no != self.root_pack)
    }

    /// Drops a dead pack from the table: its object is deleted.
    pub fn forget_pack(&mut self, no: PackNo) {
        let dead = no != self.root_pack && self.packs.get(no).is_some_and(|entry| entry.live == 0);
        assert!(dead, "only dead packs are forgotten");
        self.packs.remove(no);
    }

    /// The object that a pack is; `owner_volume` resolves the owner field.
    pub fn pack_name(entry: &PackEntry, owner_volume: impl Fn(u16) -> Option<VolumeId>) -> Option<PackName> {
        Some(PackName { volume: owner_volume(entry.owner)?, writer: entry.writer, number: entry.number })
    }

    pub(super) fn page(&self, page_no: u32) -> PageLocator {
        let dir = self.dirs.get((page_no / DIR_ENTRIES) as usize).and_then(|dir| dir.pages.as_ref());
        dir.map_or(PageLocator::default(), |pages| pages[(page_no % DIR_ENTRIES) as usize])
    }

    /// Numbers of the pages that lie in one of the packs for which `wanted` holds.
    pub(super) fn pages_in(&self, wanted: impl Fn(PackNo) -> bool) -> Vec<u32> {
        let mut pages = Vec::new();
        for (chunk_no, dir) in (0_u32..).zip(&self.dirs) {
            for (at, locator) in (0_u32..).zip(dir.pages.iter().flat_map(|pages| pages.iter())) {
                if locator.pack != PackNo(0) && wanted(locator.pack) {
                    pages.push(chunk_no * DIR_ENTRIES + at);
                }
            }
        }
        pages
    }
}
