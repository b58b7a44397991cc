//! Puts decoded blobs together, holding each against the bounds of what it points to.

use super::{BlobEntry, BlobType, Loaded, PackName, PackNo, Recount, RootBlob, RootLocator, RootState};
use crate::checkpoint::packs::PackEntry;
use crate::checkpoint::root::{DIR_ENTRIES, Dir, Locator, PageLocator};
use crate::checkpoint::tables::PACKTAB_ENTRIES;
use crate::checkpoint::{page_codec, root_codec, tables};
use crate::format::{FormatError, SegId, VolumeId};
use crate::map::segments::Chunk;
use crate::map::{PAGE_BLOCKS, Page, PagedMap, SegmentTable};
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Assembly {
    /// This volume, then its ancestors: what `owner` counts.
    volumes: Vec<VolumeId>,
    /// Where the volume that wrote the root stands among them. Owner fields of its tables count from there.
    base: u16,
    root: RootState,
    packtab: Vec<Locator>,
    packtab_chunks: Vec<Vec<Option<PackEntry>>>,
    segtab_chunks: Vec<Chunk>,
    segments: SegmentTable,
    map: PagedMap,
}

impl Assembly {
    pub(super) fn new(volume: VolumeId, lineage: &[VolumeId], root: PackName) -> Result<Self, FormatError> {
        let volumes: Vec<VolumeId> = std::iter::once(volume).chain(lineage.iter().copied()).collect();
        let base = volumes.iter().position(|&volume| volume == root.volume).and_then(|at| u16::try_from(at).ok());
        let Some(base) = base else {
            let what = format!("belongs to volume {}, which is no ancestor", root.volume);
            return Err(FormatError::misplaced(what).in_object(root.object()));
        };
        Ok(Self {
            volumes,
            base,
            root: RootState::empty(),
            packtab: Vec::new(),
            packtab_chunks: Vec::new(),
            segtab_chunks: Vec::new(),
            segments: SegmentTable::new(),
            map: PagedMap::new(0),
        })
    }

    /// Takes a decoded blob that the loader asked for.
    #[expect(clippy::cast_possible_truncation, reason = "at most 1024")]
    pub(super) fn put(&mut self, entry: &BlobEntry, raw: &[u8]) -> Result<(), FormatError> {
        let at = entry.id as usize;
        match entry.kind {
            BlobType::Root => {
                let RootBlob { root, dirs, packtab } = root_codec::parse(raw)?;
                self.packtab_chunks.resize_with(packtab.len(), Vec::new);
                self.segtab_chunks.resize_with(root.segtab.len(), Vec::new);
                self.map = PagedMap::new(root.blocks);
                self.packtab = packtab;
                self.root = root;
                self.root.dirs = dirs.into_iter().map(|locator| Dir { locator, pages: None }).collect();
            }
            BlobType::PackTab => self.packtab_chunks[at] = tables::parse_packtab(raw, &self.root.nonces)?,
            BlobType::Dir => self.root.dirs[at].pages = Some(Arc::new(tables::parse_dir(raw)?)),
            BlobType::SegTab => self.segtab_chunks[at] = tables::parse_segtab(raw, &self.root.nonces)?,
            BlobType::Defer => self.root.deferred = tables::parse_defer(raw)?,
            BlobType::Page => {
                let first = u64::from(entry.id) * u64::from(PAGE_BLOCKS);
                let blocks = (self.root.blocks - first).min(u64::from(PAGE_BLOCKS)) as u32;
                let fits = |id: SegId, end| self.segments.get(id).is_some_and(|segment| end <= segment.lblocks);
                let page = page_codec::parse(raw, blocks, fits)
                    .map_err(|error| FormatError::corrupt(format!("page {}: {}", entry.id, error.what())))?;
                self.map.load_page(entry.id, page);
            }
        }
        Ok(())
    }

    pub(super) fn put_page(&mut self, page_no: u32, page: Page) {
        self.map.load_page(page_no, page);
    }

    pub(super) fn check_root(&self, locator: &RootLocator) -> Result<(), FormatError> {
        if self.root.checkpoint == locator.checkpoint {
            return Ok(());
        }
        Err(FormatError::misplaced("root of another checkpoint").in_object(locator.pack.object()))
    }

    pub(super) fn packtab_locators(&self) -> impl Iterator<Item = (u32, Locator)> + '_ {
        (0..).zip(&self.packtab).filter(|(_, locator)| locator.len > 0).map(|(id, locator)| (id, *locator))
    }

    /// Puts the pack table together; the root must be in the pack that it says it is in.
    pub(super) fn check_packs(&mut self, locator: &RootLocator) -> Result<(), FormatError> {
        let mut entries = Vec::with_capacity(self.packtab_chunks.len() * PACKTAB_ENTRIES);
        for chunk in &mut self.packtab_chunks {
            chunk.resize(PACKTAB_ENTRIES, None);
            entries.append(chunk);
        }
        entries.truncate(entries.iter().rposition(Option::is_some).map_or(0, |last| last + 1));
        for entry in entries.iter_mut().flatten() {
            entry.owner = self.rebase(entry.owner)?;
        }
        self.root.packs.entries = entries;
        if self.pack_name(self.root.root_pack)? == locator.pack {
            return Ok(());
        }
        Err(FormatError::corrupt("root says it is in another pack").in_object(locator.pack.object()))
    }

    fn rebase(&self, owner: u16) -> Result<u16, FormatError> {
        let rebased = owner.checked_add(self.base).filter(|&owner| usize::from(owner) < self.volumes.len());
        rebased.ok_or_else(|| FormatError::corrupt("table names an ancestor that the manifest does not"))
    }

    fn pack_name(&self, no: PackNo) -> Result<PackName, FormatError> {
        let volume = |owner| self.volumes.get(usize::from(owner)).copied();
        let name = self.root.packs.get(no).and_then(|entry| RootState::pack_name(entry, volume));
        name.ok_or_else(|| FormatError::corrupt(format!("root names pack {}, which is not in its table", no.0)))
    }

    pub(super) fn live_packs(&self) -> Result<Vec<PackName>, FormatError> {
        self.root.packs.iter().filter(|(_, entry)| entry.live > 0).map(|(no, _)| self.pack_name(no)).collect()
    }

    pub(super) fn table_locators(&self, kind: BlobType) -> Result<Vec<(PackName, u32, Locator)>, FormatError> {
        let locators: Vec<Locator> = match kind {
            BlobType::Dir => self.root.dirs.iter().map(|dir| dir.locator).collect(),
            BlobType::SegTab => self.root.segtab.clone(),
            _ => vec![self.root.defer],
        };
        let used = (0..).zip(locators).filter(|(_, locator)| locator.pack != PackNo(0));
        used.map(|(id, locator)| Ok((self.pack_name(locator.pack)?, id, locator))).collect()
    }

    /// All pages, after the segment table was put together: pages are held against it.
    pub(super) fn page_locators(&mut self) -> Result<Vec<(u32, PackName, PageLocator)>, FormatError> {
        self.load_segments()?;
        let mut names: HashMap<PackNo, PackName> = HashMap::new();
        let mut wanted = Vec::new();
        for (chunk_no, dir) in (0_u32..).zip(&self.root.dirs) {
            for (at, &locator) in (0_u32..).zip(dir.pages.iter().flat_map(|pages| pages.iter())) {
                if locator.pack == PackNo(0) {
                    continue;
                }
                let page_no = chunk_no * DIR_ENTRIES + at;
                if page_no >= self.map.page_count() {
                    return Err(FormatError::corrupt("directory names a page past the end of the disk"));
                }
                let name = match names.get(&locator.pack) {
                    Some(name) => *name,
                    None => *names.entry(locator.pack).or_insert(self.pack_name(locator.pack)?),
                };
                wanted.push((page_no, name, locator));
            }
        }
        Ok(wanted)
    }

    /// What [`load_segments`](Self::load_segments) put together.
    pub(super) fn into_tables(self) -> (RootState, SegmentTable) {
        (self.root, self.segments)
    }

    pub(super) fn load_segments(&mut self) -> Result<(), FormatError> {
        for (chunk_no, mut chunk) in (0_u32..).zip(std::mem::take(&mut self.segtab_chunks)) {
            for entry in chunk.iter_mut().flatten() {
                entry.name.owner = self.rebase(entry.name.owner)?;
            }
            let reserved = chunk_no == 0 && chunk.first().is_some_and(Option::is_some);
            if reserved || !self.segments.load_chunk(chunk) {
                return Err(FormatError::corrupt("segment table names a segment twice, or handle 0"));
            }
            if self.base > 0 {
                // The blob counts owners from its own volume; the next root must not refer to it.
                self.segments.mark_dirty(chunk_no);
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Loaded, FormatError> {
        self.check_pack_live()?;
        let mut counted: HashMap<SegId, u32> = HashMap::new();
        for page_no in 0..self.map.page_count() {
            for run in self.map.page_runs(page_no) {
                let blocks = counted.entry(run.address.segment).or_default();
                *blocks = blocks.saturating_add(run.nblocks);
            }
        }
        let recount = |(segment, recorded): (SegId, u32)| {
            let counted = counted.get(&segment).copied().unwrap_or(0);
            (counted != recorded).then_some(Recount { segment, recorded, counted })
        };
        let recorded = self.segments.iter().map(|(id, entry)| (id, entry.live));
        let recounts: Vec<Recount> = recorded.filter_map(recount).collect();
        for recount in &recounts {
            self.segments.set_live(recount.segment, recount.counted);
        }
        Ok(Loaded { root: self.root, map: self.map, segments: self.segments, recounts })
    }

    /// The next checkpoint gives back what this root took, so the counts must be right.
    fn check_pack_live(&self) -> Result<(), FormatError> {
        let mut counted: HashMap<PackNo, u64> = HashMap::new();
        let mut count = |pack, len| *counted.entry(pack).or_default() += u64::from(len);
        for dir in &self.root.dirs {
            count(dir.locator.pack, dir.locator.len);
            dir.pages.iter().flat_map(|pages| pages.iter()).for_each(|page| count(page.pack, page.len));
        }
        self.root.segtab.iter().for_each(|locator| count(locator.pack, locator.len));
        count(self.root.defer.pack, self.root.defer.len);
        let right =
            self.root.packs.iter().all(|(no, entry)| u64::from(entry.live) == counted.get(&no).copied().unwrap_or(0));
        if right { Ok(()) } else { Err(FormatError::corrupt("pack table disagrees with the directories")) }
    }
}
