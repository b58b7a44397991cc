//! The pack table: which object each pack number is, and how much of it a root still uses.
//!
//! Numbers start at 1; pack 0 in a locator means "nothing". `total` and `live` count stored bytes of the blobs that
//! outlive their root: PAGE, DIR, SEGTAB and DEFER, not PACKTAB and ROOT.

use crate::format::{CheckpointNo, Writer};

/// Number of a pack within one root's pack table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackNo(pub u32);

/// One pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackEntry {
    /// Whose volume: 0 this one, n the n-th ancestor.
    pub owner: u16,
    /// Who wrote it.
    pub writer: Writer,
    /// Its number in its writer's directory.
    pub number: u64,
    /// Stored bytes of its blobs.
    pub total: u32,
    /// How many of them the root refers to.
    pub live: u32,
    /// The checkpoint that wrote it.
    pub birth: CheckpointNo,
}

/// All packs of a root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PackTable {
    /// Entry n - 1 is pack n.
    pub(super) entries: Vec<Option<PackEntry>>,
}

impl PackTable {
    pub(super) fn add(&mut self, entry: PackEntry) -> PackNo {
        let at = self.entries.iter().position(Option::is_none).unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.entries[at] = Some(entry);
        PackNo(u32::try_from(at + 1).expect("fewer than 2^32 packs"))
    }

    pub(super) fn get(&self, no: PackNo) -> Option<&PackEntry> {
        self.entries.get(no.0.checked_sub(1)? as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, no: PackNo) -> Option<&mut PackEntry> {
        self.entries.get_mut(no.0.checked_sub(1)? as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, no: PackNo) -> Option<PackEntry> {
        let removed = self.entries.get_mut(no.0.checked_sub(1)? as usize)?.take();
        self.entries.truncate(self.entries.iter().rposition(Option::is_some).map_or(0, |last| last + 1));
        removed
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PackNo, &PackEntry)> {
        (1..).map(PackNo).zip(&self.entries).filter_map(|(no, slot)| slot.as_ref().map(|entry| (no, entry)))
    }

    /// A blob of `len` stored bytes is no longer referred to.
    pub(super) fn release(&mut self, no: PackNo, len: u32) {
        let entry = self.get_mut(no).expect("locators name packs in the table");
        entry.live = entry.live.checked_sub(len).expect("a pack gives back what it took");
    }
}
