//! The next checkpoint out of the last one and what changed.

use super::blob::BlobType;
pub use super::pack_writer::PackObject;
use super::pack_writer::PackWriter;
use super::packs::PackNo;
use super::root::{DIR_ENTRIES, Deferred, DeferredObject, Dir, Locator, PageLocator, Position, RootState};
use super::tables::PACKTAB_ENTRIES;
use super::{page_codec, root_codec, tables};
use crate::format::{CheckpointNo, RootLocator, Sealing, VolumeId, Writer};
use crate::map::{FrozenPages, FrozenSegments, PAGE_BLOCKS, PagedMap, SegmentTable};
use std::collections::BTreeSet;
use std::sync::Arc;

/// When more packs than this are small, they are merged.
const SMALL_PACKS_MAX: usize = 64;
/// A pack with fewer live bytes is small.
const SMALL_PACK: u32 = 1 << 20;

/// A picture of everything that the next checkpoint must write.
#[derive(Clone, Debug, Default)]
pub struct Frozen {
    pages: FrozenPages,
    segments: FrozenSegments,
    blocks: u64,
    rewrite: BTreeSet<PackNo>,
}

impl Frozen {
    /// How many pages will be written.
    pub fn page_count(&self) -> usize {
        self.pages.len()
    }

    /// Gives the picture back when its checkpoint was not published: what was in it counts as changed again.
    pub fn thaw(&self, map: &mut PagedMap, segments: &mut SegmentTable) {
        map.thaw(&self.pages);
        segments.thaw(&self.segments);
    }
}

/// Takes the picture: everything that changed since `root`, and the live blobs of packs that are less than half live
/// (or small, when there are many small ones), so that those packs die. Runs on the owner's thread; costs a pointer per
/// changed page.
pub fn freeze(root: &RootState, map: &mut PagedMap, segments: &mut SegmentTable) -> Frozen {
    let rewrite = packs_to_rewrite(root, map);
    if !rewrite.is_empty() {
        let end = map.page_count();
        let pages = root.pages_in(|pack| rewrite.contains(&pack));
        pages.into_iter().filter(|&page_no| page_no < end).for_each(|page_no| map.mark_dirty(page_no));
        for (chunk_no, locator) in (0..).zip(&root.segtab) {
            if rewrite.contains(&locator.pack) {
                segments.mark_dirty(chunk_no);
            }
        }
    }
    Frozen { blocks: map.blocks(), pages: map.freeze(), segments: segments.freeze(), rewrite }
}

fn packs_to_rewrite(root: &RootState, map: &PagedMap) -> BTreeSet<PackNo> {
    let mut packs = root.packs.clone();
    for (chunk_no, dir) in (0_u32..).zip(&root.dirs) {
        let Some(pages) = &dir.pages else { continue };
        for (at, locator) in (0_u32..).zip(pages.iter()) {
            let page_no = chunk_no * DIR_ENTRIES + at;
            let cut = page_no >= map.page_count();
            if locator.pack != PackNo(0) && (cut || map.is_dirty(page_no)) {
                packs.release(locator.pack, locator.len);
            }
        }
    }
    let used = || packs.iter().filter(|(_, entry)| entry.live > 0);
    let half_dead = used().filter(|(_, entry)| u64::from(entry.live) * 2 < u64::from(entry.total));
    let mut rewrite: BTreeSet<PackNo> = half_dead.map(|(no, _)| no).collect();
    let small = || used().filter(|(_, entry)| entry.live < SMALL_PACK);
    if small().count() > SMALL_PACKS_MAX {
        rewrite.extend(small().map(|(no, _)| no));
    }
    rewrite
}

/// What a checkpoint is besides the picture.
#[derive(Clone, Debug)]
pub struct CheckpointSpec {
    /// The volume.
    pub volume: VolumeId,
    /// Who writes it.
    pub writer: Writer,
    /// Number of its first pack in the writer's directory; the others follow. Never used twice.
    pub first_pack: u64,
    /// Its number.
    pub checkpoint: CheckpointNo,
    /// The log position that the picture shows.
    pub position: Position,
    /// Deletions that wait. Packs that die with this checkpoint are added.
    pub deferred: Vec<Deferred>,
    /// How its packs are sealed.
    pub sealing: Sealing,
}

/// A checkpoint, ready to be stored and published.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The packs, in any order; all must be stored before the manifest.
    pub packs: Vec<PackObject>,
    /// What the manifest says.
    pub locator: RootLocator,
    /// The root that the next checkpoint builds on, once this one is published.
    pub root: RootState,
}

/// Encodes a checkpoint on top of `previous`. Pure but for the salts of sealed packs; may run anywhere while the map is written.
pub fn encode(previous: &RootState, spec: &CheckpointSpec, frozen: &Frozen) -> Checkpoint {
    let chunk_blocks = u64::from(PAGE_BLOCKS) * u64::from(DIR_ENTRIES);
    let mut root = previous.clone();
    root.checkpoint = spec.checkpoint;
    root.position = spec.position;
    root.blocks = frozen.blocks;
    root.live_blocks = frozen.segments.live_blocks;
    root.stored_bytes = frozen.segments.stored_bytes;
    let dirs = usize::try_from(frozen.blocks.div_ceil(chunk_blocks)).expect("a map fits memory");
    let cut = release_pages_behind(&mut root, frozen.blocks);
    root.dirs.resize_with(dirs, Dir::default);
    root.segtab.resize(frozen.segments.chunk_count as usize, Locator::default());
    let writer = PackWriter::new(spec);
    let mut encoder = Encoder { root, writer, rewrite: &frozen.rewrite };
    let mut changed = encoder.pages(&frozen.pages);
    changed.extend(cut);
    encoder.dirs(&changed);
    encoder.segments(&frozen.segments);
    encoder.deferred(&spec.deferred, spec.checkpoint);
    encoder.finish()
}

/// Lets go of what the last root had behind the end of a disk that became smaller. Returns the DIR chunk that loses
/// pages and stays.
fn release_pages_behind(root: &mut RootState, blocks: u64) -> Option<u32> {
    let pages = blocks.div_ceil(u64::from(PAGE_BLOCKS));
    let mut cut = None;
    for (chunk_no, dir) in (0_u32..).zip(&mut root.dirs) {
        let first = u64::from(chunk_no) * u64::from(DIR_ENTRIES);
        if let Some(entries) = &mut dir.pages
            && first + u64::from(DIR_ENTRIES) > pages
        {
            let keep = usize::try_from(pages.saturating_sub(first)).expect("within a chunk");
            for entry in &mut Arc::make_mut(entries)[keep..] {
                let gone = std::mem::take(entry);
                if gone.pack != PackNo(0) {
                    root.packs.release(gone.pack, gone.len);
                    cut = if first < pages { Some(chunk_no) } else { cut };
                }
            }
        }
        if first >= pages && dir.locator.pack != PackNo(0) {
            root.packs.release(dir.locator.pack, dir.locator.len);
            dir.locator = Locator::default();
        }
    }
    cut
}

struct Encoder<'a> {
    root: RootState,
    writer: PackWriter,
    rewrite: &'a BTreeSet<PackNo>,
}

impl Encoder<'_> {
    /// Returns the DIR chunks that change.
    fn pages(&mut self, pages: &FrozenPages) -> BTreeSet<u32> {
        let mut changed = BTreeSet::new();
        for (page_no, page) in &pages.pages {
            let old = self.root.page(*page_no);
            let new = match page_codec::encode(page) {
                None if old.pack == PackNo(0) => continue,
                None => PageLocator::default(),
                Some(raw) => {
                    let Locator { pack, offset, len, .. } = self.push(BlobType::Page, *page_no, &raw);
                    PageLocator { pack, offset, len }
                }
            };
            if old.pack != PackNo(0) {
                self.root.packs.release(old.pack, old.len);
            }
            let chunk_no = page_no / DIR_ENTRIES;
            let dir = &mut self.root.dirs[chunk_no as usize];
            let entries = dir.pages.get_or_insert_with(|| Arc::new([PageLocator::default(); DIR_ENTRIES as usize]));
            Arc::make_mut(entries)[(page_no % DIR_ENTRIES) as usize] = new;
            changed.insert(chunk_no);
        }
        changed
    }

    fn dirs(&mut self, changed: &BTreeSet<u32>) {
        for (chunk_no, at) in (0..).zip(0..self.root.dirs.len()) {
            let Dir { locator: old, pages } = &self.root.dirs[at];
            if !changed.contains(&chunk_no) && !self.rewrite.contains(&old.pack) {
                continue;
            }
            let (old, raw) = (*old, pages.as_ref().map(|pages| tables::encode_dir(pages)).unwrap_or_default());
            self.root.dirs[at].locator = self.replace(old, BlobType::Dir, chunk_no, &raw);
            if raw.is_empty() {
                self.root.dirs[at].pages = None;
            }
        }
    }

    fn segments(&mut self, segments: &FrozenSegments) {
        for (chunk_no, chunk) in &segments.chunks {
            let raw = tables::encode_segtab(chunk, &mut self.root.nonces);
            let old = self.root.segtab[*chunk_no as usize];
            self.root.segtab[*chunk_no as usize] = self.replace(old, BlobType::SegTab, *chunk_no, &raw);
        }
    }

    /// What dies by the writing of this very list is noted by the next checkpoint, with a later death: kept too long, if
    /// at all.
    fn deferred(&mut self, known: &[Deferred], death: CheckpointNo) {
        let mut deferred = known.to_vec();
        for (no, entry) in self.root.packs.iter() {
            let object = DeferredObject::Pack(no);
            let died = entry.live == 0 && entry.owner == 0 && entry.birth < death;
            if died && !known.iter().any(|known| known.object == object) {
                deferred.push(Deferred { object, birth: entry.birth, death });
            }
        }
        let changed = std::mem::take(&mut self.root.defer_changed) || self.root.deferred != deferred;
        if changed || self.rewrite.contains(&self.root.defer.pack) {
            self.root.defer = self.replace(self.root.defer, BlobType::Defer, 0, &tables::encode_defer(&deferred));
            self.root.deferred = deferred;
        }
    }

    /// Puts a blob in the place of `old`; an empty one is no blob at all.
    fn replace(&mut self, old: Locator, kind: BlobType, id: u32, raw: &[u8]) -> Locator {
        let new = if raw.is_empty() { Locator::default() } else { self.push(kind, id, raw) };
        if old.pack != PackNo(0) {
            self.root.packs.release(old.pack, old.len);
        }
        new
    }

    fn push(&mut self, kind: BlobType, id: u32, raw: &[u8]) -> Locator {
        self.writer.push(&mut self.root.packs, kind, id, raw)
    }

    fn finish(mut self) -> Checkpoint {
        let (root_pack, pack) = self.writer.current(&mut self.root.packs);
        self.root.root_pack = root_pack;
        let mut packtab = Vec::new();
        for (chunk_no, chunk) in (0..).zip(self.root.packs.entries.chunks(PACKTAB_ENTRIES)) {
            let raw = tables::encode_packtab(chunk, &mut self.root.nonces);
            packtab.push(if raw.is_empty() {
                Locator::default()
            } else {
                Locator { pack: root_codec::SAME_PACK, ..self.writer.push_mortal(BlobType::PackTab, chunk_no, &raw) }
            });
        }
        let raw = root_codec::encode(&self.root, &packtab);
        let Locator { offset, len, crc, .. } = self.writer.push_mortal(BlobType::Root, 0, &raw);
        let locator = RootLocator { pack, offset, len, crc, checkpoint: self.root.checkpoint };
        Checkpoint { packs: self.writer.finish(), locator, root: self.root }
    }
}
