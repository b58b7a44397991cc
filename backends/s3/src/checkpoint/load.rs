//! Reading a checkpoint: a sans-I/O series of byte ranges to fetch.
//!
//! ```text
//! root pack's head -> ROOT -> PACKTAB -> heads of all live packs -> DIR, SEGTAB, DEFER -> pages
//! ```
//!
//! What lies within the 64 KiB of a head needs no second request, so a small volume takes one. Each step's ranges may
//! be fetched in any order and in parallel.

mod assemble;
mod fetch;

use super::blob::{BlobEntry, BlobType};
use super::pack_index::PackIndex;
use super::packs::PackNo;
use super::root::RootState;
use super::root_codec::RootBlob;
use crate::format::object::HEAD_FETCH;
use crate::format::{FormatError, PackName, Prelude, RootLocator, Sealing, SegId, VolumeId};
use crate::map::{Page, PagedMap, SegmentTable};
use assemble::Assembly;
use bytes::Bytes;
pub use fetch::Fetch;
use fetch::What;
use std::collections::HashMap;

/// A live counter that was not what the map holds. The map is right; the table has been corrected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recount {
    /// The segment.
    pub segment: SegId,
    /// What the table said.
    pub recorded: u32,
    /// What the map holds.
    pub counted: u32,
}

/// A checkpoint, read back.
#[derive(Debug)]
pub struct Loaded {
    /// The root that the next checkpoint builds on.
    pub root: RootState,
    /// The map.
    pub map: PagedMap,
    /// The segments.
    pub segments: SegmentTable,
    /// Live counters that had to be corrected: worth a warning.
    pub recounts: Vec<Recount>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    RootHead,
    Root,
    PackTable,
    Heads,
    Tables,
    Pages,
    Done,
}

#[derive(Debug)]
struct Pack {
    /// The start of the object, as long as it was fetched.
    head: Bytes,
    index: PackIndex,
}

/// Reads one checkpoint.
#[derive(Debug)]
pub struct Loader {
    sealing: Sealing,
    locator: RootLocator,
    step: Step,
    packs: HashMap<PackName, Pack>,
    queue: Vec<Fetch>,
    in_flight: usize,
    /// Without the pages.
    tables_only: bool,
    assembly: Assembly,
    known: KnownPages,
}

/// Pages that are at hand, by the place that they were stored at: an equal place is an equal page.
#[derive(Debug, Default)]
pub struct KnownPages {
    pages: HashMap<(PackName, u32, u32), Page>,
}

impl KnownPages {
    /// The pages of `map` that are as `root` shows them. `volumes` are the volume and its ancestors, nearest first.
    pub fn of(root: &RootState, map: &PagedMap, volumes: &[VolumeId]) -> Self {
        let volume = |owner| volumes.get(usize::from(owner)).copied();
        let clean = (0..map.page_count()).filter(|&page_no| !map.is_dirty(page_no));
        let pages = clean.filter_map(|page_no| {
            let place = root.page(page_no);
            let pack = RootState::pack_name(root.packs.get(place.pack)?, volume)?;
            Some(((pack, place.offset, place.len), map.page(u64::from(page_no)).clone()))
        });
        Self { pages: pages.collect() }
    }
}

impl Loader {
    /// Takes pages from `known` instead of reading them.
    #[must_use]
    pub fn with_known(self, known: KnownPages) -> Self {
        Self { known, ..self }
    }

    /// Starts at a manifest's root. `lineage` are the ancestors of `volume`, nearest first; all share one `sealing`.
    ///
    /// # Errors
    ///
    /// `WrongPlace` when the root belongs to a volume that is neither.
    pub fn new(
        volume: VolumeId,
        lineage: &[VolumeId],
        locator: RootLocator,
        sealing: Sealing,
    ) -> Result<Self, FormatError> {
        let mut loader = Self {
            sealing,
            locator,
            step: Step::RootHead,
            packs: HashMap::new(),
            queue: Vec::new(),
            in_flight: 0,
            tables_only: false,
            assembly: Assembly::new(volume, lineage, locator.pack)?,
            known: KnownPages::default(),
        };
        loader.want_head(locator.pack, HEAD_FETCH);
        Ok(loader)
    }

    /// Starts at a root of which only the tables are wanted.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn tables(
        volume: VolumeId,
        lineage: &[VolumeId],
        locator: RootLocator,
        sealing: Sealing,
    ) -> Result<Self, FormatError> {
        Ok(Self { tables_only: true, ..Self::new(volume, lineage, locator, sealing)? })
    }

    /// The ranges to fetch now; empty while [`supply`](Self::supply) is awaited, or at the end.
    pub fn take_fetches(&mut self) -> Vec<Fetch> {
        self.in_flight += self.queue.len();
        std::mem::take(&mut self.queue)
    }

    /// Whether everything has been read.
    pub fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    /// Hands in what was fetched. An object that ends before the range does is handed in as far as it goes.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the bytes, naming the object. The loader is of no use afterwards.
    pub fn supply(&mut self, fetch: &Fetch, bytes: &Bytes) -> Result<(), FormatError> {
        self.in_flight -= 1;
        self.take(fetch, bytes).map_err(|error| error.in_object(fetch.pack.object()))?;
        while self.in_flight == 0 && self.queue.is_empty() && self.step != Step::Done {
            self.advance()?;
        }
        Ok(())
    }

    /// The result; call when [`is_done`](Self::is_done).
    ///
    /// # Errors
    ///
    /// `Corrupt` when the pack table disagrees with the directories.
    pub fn finish(self) -> Result<Loaded, FormatError> {
        assert!(self.is_done(), "a loader is finished after everything was supplied");
        self.assembly.finish().map_err(|error| error.in_object(self.locator.pack.object()))
    }

    /// The tables: packs and segments that the root names.
    pub fn finish_tables(self) -> (RootState, SegmentTable) {
        assert!(self.is_done(), "a loader is finished after everything was supplied");
        self.assembly.into_tables()
    }

    #[expect(clippy::cast_possible_truncation, reason = "offsets within bytes that are in memory")]
    fn take(&mut self, fetch: &Fetch, bytes: &Bytes) -> Result<(), FormatError> {
        let wanted = fetch.range.end - fetch.range.start;
        match &fetch.what {
            What::Head => {
                let prelude = Prelude::parse(&fetch.pack.object().expected(fetch.pack.volume), bytes)?;
                if prelude.head_len() > bytes.len() as u64 && bytes.len() as u64 == wanted {
                    self.want_head(fetch.pack, prelude.head_len());
                    return Ok(());
                }
                let index = PackIndex::parse(fetch.pack, bytes, &self.sealing)?;
                self.packs.insert(fetch.pack, Pack { head: bytes.clone(), index });
            }
            What::Blobs(entries) => {
                if bytes.len() as u64 != wanted {
                    return Err(FormatError::corrupt("is cut short"));
                }
                for entry in entries {
                    let index = &self.packs[&fetch.pack].index;
                    let range = index.range(entry);
                    let start = (range.start - fetch.range.start) as usize;
                    let raw = index.decode(entry, &bytes.slice(start..start + entry.len as usize))?;
                    self.assembly.put(entry, &raw)?;
                }
            }
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<(), FormatError> {
        self.step = match self.step {
            Step::RootHead => {
                let RootLocator { pack, offset, len, crc, .. } = self.locator;
                let entry = self.find(pack, BlobType::Root, 0, offset, len)?;
                if entry.crc != crc {
                    return Err(FormatError::corrupt("root is not the one of the manifest").in_object(pack.object()));
                }
                self.want(vec![(pack, entry)])?;
                Step::Root
            }
            Step::Root => {
                self.assembly.check_root(&self.locator)?;
                let pack = self.locator.pack;
                let wanted = self.assembly.packtab_locators().map(|(id, locator)| (pack, id, locator));
                let wanted: Vec<_> = wanted.collect();
                self.want_found(BlobType::PackTab, wanted)?;
                Step::PackTable
            }
            Step::PackTable => {
                self.assembly.check_packs(&self.locator)?;
                for name in self.assembly.live_packs()? {
                    if !self.packs.contains_key(&name) {
                        self.want_head(name, HEAD_FETCH);
                    }
                }
                Step::Heads
            }
            Step::Heads => {
                for kind in [BlobType::Dir, BlobType::SegTab, BlobType::Defer] {
                    let wanted = self.assembly.table_locators(kind)?;
                    self.want_found(kind, wanted)?;
                }
                Step::Tables
            }
            Step::Tables if self.tables_only => {
                self.assembly.load_segments()?;
                Step::Done
            }
            Step::Tables => {
                let mut wanted = Vec::new();
                for (page_no, pack, locator) in self.assembly.page_locators()? {
                    if let Some(page) = self.known.pages.get(&(pack, locator.offset, locator.len)) {
                        self.assembly.put_page(page_no, page.clone());
                        continue;
                    }
                    wanted.push((pack, self.find(pack, BlobType::Page, page_no, locator.offset, locator.len)?));
                }
                self.want(wanted)?;
                Step::Pages
            }
            Step::Pages | Step::Done => Step::Done,
        };
        Ok(())
    }

    fn want_head(&mut self, pack: PackName, len: u64) {
        self.queue.push(Fetch { pack, range: 0..len, what: What::Head });
    }

    fn find(&self, pack: PackName, kind: BlobType, id: u32, offset: u32, len: u32) -> Result<BlobEntry, FormatError> {
        let Some(found) = self.packs.get(&pack) else {
            return Err(FormatError::corrupt("is named by a root that counts it as dead").in_object(pack.object()));
        };
        found.index.find(kind, id, offset, len)
    }

    fn want_found(
        &mut self,
        kind: BlobType,
        wanted: Vec<(PackName, u32, super::root::Locator)>,
    ) -> Result<(), FormatError> {
        let mut entries = Vec::with_capacity(wanted.len());
        for (pack, id, locator) in wanted {
            let entry = self.find(pack, kind, id, locator.offset, locator.len)?;
            if entry.crc != locator.crc {
                let what = format!("{kind:?} blob {id} is not the one of the root");
                return Err(FormatError::corrupt(what).in_object(pack.object()));
            }
            entries.push((pack, entry));
        }
        self.want(entries)
    }

    /// Takes what lies in the heads at hand, and queues the rest.
    #[expect(clippy::cast_possible_truncation, reason = "offsets within bytes that are in memory")]
    fn want(&mut self, wanted: Vec<(PackName, BlobEntry)>) -> Result<(), FormatError> {
        let mut far: HashMap<PackName, Vec<BlobEntry>> = HashMap::new();
        for (name, entry) in wanted {
            let pack = &self.packs[&name];
            let range = pack.index.range(&entry);
            if range.end > pack.head.len() as u64 {
                far.entry(name).or_default().push(entry);
                continue;
            }
            let stored = pack.head.slice(range.start as usize..range.end as usize);
            let raw = pack.index.decode(&entry, &stored)?;
            self.assembly.put(&entry, &raw).map_err(|error| error.in_object(name.object()))?;
        }
        let mut far: Vec<_> = far.into_iter().collect();
        far.sort_unstable_by_key(|(name, _)| *name);
        for (name, entries) in far {
            fetch::join(name, &self.packs[&name].index, entries, &mut self.queue);
        }
        Ok(())
    }
}
