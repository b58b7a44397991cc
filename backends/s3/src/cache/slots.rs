//! The sets, the slots on the medium, and what was counted. All calls that touch the medium block.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use bytes::Bytes;
use nbdgate_api::Error;
use parking_lot::Mutex;
use uuid::Uuid;

use super::{
    LINE, Medium, STRIKES,
    key::LineKey,
    page::{self, Layout, PAGE},
    set::{Entry, Set},
    too_small,
};

/// A page is written after so many changes of its set: a crash forgets fewer lines than that per set, and pages are
/// less than a hundredth of what is written.
const LAZY: u32 = 8;

/// What a read cache holds and did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheLevels {
    /// Bytes that it can hold.
    pub size: u64,
    /// Bytes of the lines in it, each counted as 64 KiB.
    pub used: u64,
    /// Lines that were asked for and found.
    pub hits: u64,
    /// Lines that were asked for and not found.
    pub misses: u64,
    /// Lines written to it.
    pub kept: u64,
    /// Lines that went for others.
    pub evicted: u64,
    /// Lines that were not what was written, and were dropped. Some after a crash are no sign of a bad device.
    pub damaged: u64,
    /// Reads and writes of the device that failed.
    pub failures: u64,
    /// Bytes that were not kept because the device was too slow.
    pub dropped_bytes: u64,
    /// It was switched off because its device failed too often.
    pub off: bool,
}

#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    kept: AtomicU64,
    evicted: AtomicU64,
    damaged: AtomicU64,
    failures: AtomicU64,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Slots {
    medium: Arc<dyn Medium>,
    name: String,
    layout: Layout,
    id: Uuid,
    sets: Box<[Mutex<Set>]>,
    counts: Counts,
    strikes: AtomicU32,
    off: AtomicBool,
}

impl Slots {
    /// Finds what the medium holds, or makes it an empty cache.
    pub(super) fn open(medium: Arc<dyn Medium>, name: &str) -> Result<Self, Error> {
        let size = medium.size();
        let layout = Layout::of(size).ok_or_else(|| too_small(name, size))?;
        let mut page = vec![0; PAGE];
        let known = medium.read(0, &mut page).ok().and_then(|()| page::read_superblock(&page, layout));
        let id = known.unwrap_or_else(Uuid::new_v4);
        if known.is_none() {
            let written = medium.write(0, &page::superblock(layout, id));
            written.map_err(|error| Error::from_io(error, format!("writing the read cache {name}")))?;
            tracing::info!(cache = name, bytes = layout.slots() * LINE, "a new read cache was made");
        }
        let sets = (0..usize::try_from(layout.sets).expect("sets are in memory")).map(|set| {
            let found = known.is_some() && medium.read(Layout::page(set), &mut page).is_ok();
            let entries = if found {
                page::decode(id, set, &page, layout.ways)
            } else {
                vec![Entry::default(); layout.ways as usize]
            };
            Mutex::new(Set::new(entries))
        });
        Ok(Self {
            layout,
            id,
            sets: sets.collect(),
            medium,
            name: name.to_owned(),
            counts: Counts::default(),
            strikes: AtomicU32::new(0),
            off: AtomicBool::new(false),
        })
    }

    pub(super) fn levels(&self) -> CacheLevels {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let lines: usize = self.sets.iter().map(|set| set.lock().len()).sum();
        CacheLevels {
            size: self.layout.slots() * LINE,
            used: lines as u64 * LINE,
            hits: load(&self.counts.hits),
            misses: load(&self.counts.misses),
            kept: load(&self.counts.kept),
            evicted: load(&self.counts.evicted),
            damaged: load(&self.counts.damaged),
            failures: load(&self.counts.failures),
            dropped_bytes: 0,
            off: self.is_off(),
        }
    }

    fn is_off(&self) -> bool {
        self.off.load(Ordering::Relaxed)
    }

    pub(super) fn has(&self, line: LineKey) -> bool {
        let print = line.print();
        !self.is_off() && self.sets[self.set_of(print)].lock().has(print)
    }

    /// Counts lines that were asked for and not found.
    pub(super) fn missed(&self, lines: u64) {
        self.counts.misses.fetch_add(lines, Ordering::Relaxed);
    }

    /// The line, if it is there and sound.
    pub(super) fn read(&self, line: LineKey) -> Option<Bytes> {
        let found = self.find(line);
        let count = if found.is_some() { &self.counts.hits } else { &self.counts.misses };
        count.fetch_add(1, Ordering::Relaxed);
        found
    }

    fn find(&self, line: LineKey) -> Option<Bytes> {
        if self.is_off() {
            return None;
        }
        let print = line.print();
        let set = self.set_of(print);
        let (way, entry) = self.sets[set].lock().hit(print)?;
        let mut bytes = vec![0; entry.length()];
        let read = self.medium.read(self.layout.slot(set, way), &mut bytes);
        let failed = read.is_err();
        self.judge("reading", read);
        if !failed && line.check(&bytes) == entry.check {
            return Some(bytes.into());
        }
        // If another line has the slot by now, it was merely evicted in between.
        if self.sets[set].lock().remove(way, &entry) && !failed {
            self.counts.damaged.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(cache = self.name, set, way, "a line of the read cache was not what was kept");
        }
        None
    }

    /// Keeps a line, unless it is there.
    pub(super) fn write(&self, line: LineKey, bytes: &[u8]) {
        let Some(last) = bytes.len().checked_sub(1).and_then(|last| u16::try_from(last).ok()) else { return };
        if self.is_off() {
            return;
        }
        let print = line.print();
        let set = self.set_of(print);
        let Some((way, evicted)) = self.sets[set].lock().reserve(print) else { return };
        let written = self.medium.write(self.layout.slot(set, way), bytes);
        let mut locked = self.sets[set].lock();
        if written.is_ok() {
            locked.publish(way, line.check(bytes), last);
            self.counts.kept.fetch_add(1, Ordering::Relaxed);
        } else {
            locked.give_up(way);
        }
        self.counts.evicted.fetch_add(u64::from(evicted), Ordering::Relaxed);
        let due = locked.changes >= LAZY;
        drop(locked);
        self.judge("writing", written);
        if due {
            self.write_page(set);
        }
    }

    pub(super) fn forget(&self, line: LineKey) {
        let print = line.print();
        self.sets[self.set_of(print)].lock().forget(print);
    }

    /// Writes the pages of all sets that changed.
    pub(super) fn sync(&self) {
        for set in 0..self.sets.len() {
            if self.sets[set].lock().changes > 0 {
                self.write_page(set);
            }
        }
    }

    fn write_page(&self, set: usize) {
        if self.is_off() {
            return;
        }
        let page = {
            let mut locked = self.sets[set].lock();
            locked.changes = 0;
            page::encode(self.id, set, locked.entries())
        };
        // Two threads may write one page in either order: an older page is as harmless as a lost one.
        let written = self.medium.write(Layout::page(set), &page);
        self.judge("indexing", written);
    }

    /// Counts failures of the medium; after too many in a row the cache is off.
    fn judge(&self, what: &str, result: std::io::Result<()>) {
        let Err(error) = result else {
            // Not a store for each success: the line of memory is shared.
            if self.strikes.load(Ordering::Relaxed) > 0 {
                self.strikes.store(0, Ordering::Relaxed);
            }
            return;
        };
        self.counts.failures.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(cache = self.name, %error, what, "the read cache failed");
        if self.strikes.fetch_add(1, Ordering::Relaxed) + 1 >= STRIKES && !self.off.swap(true, Ordering::Relaxed) {
            tracing::warn!(cache = self.name, %error, what, "the read cache failed too often and is switched off");
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the product's upper half is below the number of sets")]
    fn set_of(&self, print: u64) -> usize {
        ((u128::from(print) * self.sets.len() as u128) >> 64) as usize
    }
}
