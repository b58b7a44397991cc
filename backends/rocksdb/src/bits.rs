//! The changes of presence that go with a batch.
//!
//! Bits go before the deletion is written and come back if that fails, and are set after data is written. So whoever sees a bit
//! and finds no value looks again, and knows.

use std::collections::BTreeMap;

use nbdgate_api::Error;
use rocksdb::WriteBatch;

use crate::{
    database::Family,
    disk::Core,
    presence::{self, PAGE_EXTENTS, Page},
};

/// The pages of presence that a batch changes.
pub(crate) struct Bits<'a> {
    core: &'a Core,
    /// Before, and after.
    pages: BTreeMap<u64, (Page, Page)>,
    /// Pages all of whose bits go, from and to.
    gone: Option<(u64, u64)>,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(core: &'a Core) -> Self {
        Self { core, pages: BTreeMap::new(), gone: None }
    }

    pub(crate) fn set(&mut self, index: u64, present: bool) {
        if self.core.presence.has(index) != present {
            presence::set(self.page(index / PAGE_EXTENTS), index, present);
        }
    }

    /// Clears a long range.
    pub(crate) fn clear(&mut self, from: u64, to: u64) {
        let (first, last) = (from.div_ceil(PAGE_EXTENTS), to / PAGE_EXTENTS);
        if first >= last {
            return (from..to).for_each(|index| self.set(index, false));
        }
        (from..first * PAGE_EXTENTS).chain(last * PAGE_EXTENTS..to).for_each(|index| self.set(index, false));
        self.gone = Some((first, last));
    }

    fn page(&mut self, number: u64) -> &mut Page {
        let presence = &self.core.presence;
        let (_, after) = self.pages.entry(number).or_insert_with(|| {
            let page = presence.copy(number);
            (page, page)
        });
        after
    }

    /// Writes `batch` with the pages, and makes the disk's presence what they say. `grows` says whether there is more in it than
    /// deletions.
    ///
    /// # Errors
    /// There is no room, or RocksDB cannot write; nothing has changed.
    pub(crate) fn write(self, mut batch: WriteBatch, grows: bool) -> Result<(), Error> {
        let Self { core, pages, gone } = self;
        let family = core.database.family(Family::Bits);
        for (number, (_, after)) in &pages {
            if after.iter().all(|word| *word == 0) {
                batch.delete_cf(family, presence::key(*number));
            } else {
                batch.put_cf(family, presence::key(*number), presence::encode(after));
            }
        }
        let room = core.room.as_ref().expect("a disk with a committer is open for writing");
        room.check(if grows { batch.size_in_bytes() as u64 } else { 0 })?;
        let mut kept = Vec::new();
        if let Some((from, to)) = gone {
            batch.delete_range_cf(family, presence::key(from), presence::key(to));
            let empty = [0; presence::WORDS];
            let pages = (from..to).map(|number| (number, core.presence.copy(number)));
            kept.extend(pages.filter(|(_, page)| *page != empty));
            for (number, _) in &kept {
                core.presence.store(*number, &empty);
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        for (number, (before, after)) in &pages {
            core.presence.store(*number, &both(before, after));
        }
        let outcome = core.database.write(batch);
        for (number, (before, after)) in &pages {
            core.presence.store(*number, if outcome.is_ok() { after } else { before });
        }
        if outcome.is_err() {
            for (number, page) in &kept {
                core.presence.store(*number, page);
            }
        }
        outcome
    }
}

/// What is present before and after.
fn both(before: &Page, after: &Page) -> Page {
    std::array::from_fn(|at| before[at] & after[at])
}
