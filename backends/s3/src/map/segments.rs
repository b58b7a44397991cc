//! The segment table: what each handle in the map stands for, and how much of it is still in use.
//!
//! A handle is given out once per life of its segment. A freed handle is reused last, so a reader that still holds
//! a run of a deleted segment meets no other segment soon; readers pin what they read all the same. The table
//! is kept in chunks of 1024 entries, the unit of incremental checkpoints.

use crate::format::{CheckpointNo, Kind, ObjectName, SegId, Seq, Writer};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Entries in a chunk.
pub const CHUNK_ENTRIES: u32 = 1024;

/// Which directory a segment lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentKind {
    /// `l/`: part of a log.
    Log,
    /// `g/`: moved or imported data.
    Moved,
}

impl SegmentKind {
    /// The kind in the object's prelude.
    pub fn object_kind(self) -> Kind {
        match self {
            Self::Log => Kind::Log,
            Self::Moved => Kind::Moved,
        }
    }
}

/// Which object a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentName {
    /// The directory.
    pub kind: SegmentKind,
    /// Whose volume: 0 this one, n the n-th ancestor.
    pub owner: u16,
    /// Who wrote it.
    pub writer: Writer,
    /// Its slot or number.
    pub number: u64,
}

impl SegmentName {
    /// The name below the owning volume's prefix.
    pub fn object(&self) -> ObjectName {
        match self.kind {
            SegmentKind::Log => ObjectName::Log { writer: self.writer, seq: Seq(self.number) },
            SegmentKind::Moved => ObjectName::Moved { writer: self.writer, number: self.number },
        }
    }
}

/// One segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentEntry {
    /// The object.
    pub name: SegmentName,
    /// Blocks of data in it.
    pub lblocks: u32,
    /// Blocks that the map refers to.
    pub live: u32,
    /// Length of the object in bytes.
    pub stored_bytes: u32,
    /// First checkpoint that refers to it.
    pub birth: CheckpointNo,
}

pub(crate) type Chunk = Vec<Option<SegmentEntry>>;

/// All segments of a volume.
#[derive(Debug, Default)]
pub struct SegmentTable {
    chunks: Vec<Arc<Chunk>>,
    dirty: Vec<bool>,
    by_name: HashMap<SegmentName, SegId>,
    free: VecDeque<SegId>,
    live_blocks: u64,
    stored_bytes: u64,
    usage: Usage,
}

/// How the volume's own segments are used; those of ancestors are not its to collect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Blocks of the segments that the map refers to at all.
    pub blocks: u64,
    /// Those of them that the map refers to.
    pub live: u64,
    /// Length in bytes of the segments that the map does not refer to any more.
    pub empty_bytes: u64,
}

impl Usage {
    fn add(&mut self, entry: &SegmentEntry) {
        if entry.name.owner != 0 {
            return;
        }
        if entry.live == 0 {
            self.empty_bytes += u64::from(entry.stored_bytes);
        } else {
            self.blocks += u64::from(entry.lblocks);
            self.live += u64::from(entry.live);
        }
    }

    fn sub(&mut self, entry: &SegmentEntry) {
        if entry.name.owner != 0 {
            return;
        }
        if entry.live == 0 {
            self.empty_bytes -= u64::from(entry.stored_bytes);
        } else {
            self.blocks -= u64::from(entry.lblocks);
            self.live -= u64::from(entry.live);
        }
    }
}

/// All entries as they were at one moment; costs a pointer for each chunk.
#[derive(Clone, Debug, Default)]
pub struct Entries(Vec<Arc<Chunk>>);

impl Entries {
    /// All segments, by handle.
    pub fn iter(&self) -> impl Iterator<Item = (SegId, &SegmentEntry)> {
        entries(&self.0)
    }
}

fn entries(chunks: &[Arc<Chunk>]) -> impl Iterator<Item = (SegId, &SegmentEntry)> {
    let slots = chunks.iter().flat_map(|chunk| chunk.iter());
    (0..).map(SegId).zip(slots).filter_map(|(id, slot)| Some((id, slot.as_ref()?)))
}

/// A picture of some chunks and of the totals; the table may be written meanwhile.
#[derive(Clone, Debug, Default)]
pub struct FrozenSegments {
    pub(crate) chunks: Vec<(u32, Arc<Chunk>)>,
    pub(crate) chunk_count: u32,
    pub(crate) live_blocks: u64,
    pub(crate) stored_bytes: u64,
}

impl SegmentTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of segments.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Blocks of all segments that the map refers to.
    pub fn live_blocks(&self) -> u64 {
        self.live_blocks
    }

    /// Length of all segments in bytes.
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Adds a segment and gives it a handle. The name must be new.
    pub fn insert(&mut self, entry: SegmentEntry) -> SegId {
        assert!(entry.live <= entry.lblocks, "a segment's live blocks are among its blocks");
        if self.free.is_empty() {
            self.add_chunk(Vec::new());
        }
        let id = self.free.pop_front().expect("a chunk has just been added");
        let known = self.by_name.insert(entry.name, id);
        assert!(known.is_none(), "a segment is inserted once");
        self.live_blocks += u64::from(entry.live);
        self.stored_bytes += u64::from(entry.stored_bytes);
        self.usage.add(&entry);
        *self.slot(id) = Some(entry);
        id
    }

    /// The segment behind a handle.
    pub fn get(&self, id: SegId) -> Option<&SegmentEntry> {
        self.chunks.get((id.0 / CHUNK_ENTRIES) as usize)?.get((id.0 % CHUNK_ENTRIES) as usize)?.as_ref()
    }

    /// The handle of a segment.
    pub fn find(&self, name: &SegmentName) -> Option<SegId> {
        self.by_name.get(name).copied()
    }

    /// The map refers to `blocks` more of its blocks.
    pub fn add_live(&mut self, id: SegId, blocks: u32) {
        let live = self.set(id, |live| live + blocks);
        let lblocks = self.get(id).map_or(0, |entry| entry.lblocks);
        assert!(live <= lblocks, "a segment's live blocks are among its blocks");
    }

    /// The map refers to `blocks` fewer of its blocks. Returns how many are left.
    pub fn sub_live(&mut self, id: SegId, blocks: u32) -> u32 {
        self.set(id, |live| live.checked_sub(blocks).expect("the map gives back what it took"))
    }

    /// Changes a live counter, and the totals with it; returns what it is now.
    fn set(&mut self, id: SegId, change: impl FnOnce(u32) -> u32) -> u32 {
        let slot = self.slot(id).as_mut().expect("the map refers to segments in the table");
        let before = *slot;
        slot.live = change(before.live);
        let after = *slot;
        self.usage.sub(&before);
        self.usage.add(&after);
        self.live_blocks = self.live_blocks - u64::from(before.live) + u64::from(after.live);
        after.live
    }

    /// Removes a segment whose object is gone. Nothing may refer to it any more.
    pub fn remove(&mut self, id: SegId) -> Option<SegmentEntry> {
        self.get(id)?;
        let entry = self.slot(id).take()?;
        self.by_name.remove(&entry.name);
        self.usage.sub(&entry);
        self.live_blocks -= u64::from(entry.live);
        self.stored_bytes -= u64::from(entry.stored_bytes);
        self.free.push_back(id);
        Some(entry)
    }

    /// All segments, by handle.
    pub fn iter(&self) -> impl Iterator<Item = (SegId, &SegmentEntry)> {
        entries(&self.chunks)
    }

    /// All segments as they are now, for looking at while the table is written.
    pub fn entries(&self) -> Entries {
        Entries(self.chunks.clone())
    }

    /// How the volume's own segments are used.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    fn slot(&mut self, id: SegId) -> &mut Option<SegmentEntry> {
        let at = (id.0 / CHUNK_ENTRIES) as usize;
        self.dirty[at] = true;
        &mut Arc::make_mut(&mut self.chunks[at])[(id.0 % CHUNK_ENTRIES) as usize]
    }

    fn add_chunk(&mut self, mut chunk: Chunk) {
        chunk.resize(CHUNK_ENTRIES as usize, None);
        let chunk_no = u32::try_from(self.chunks.len()).expect("fewer than 2^32 chunks");
        let base = chunk_no.checked_mul(CHUNK_ENTRIES).expect("fewer than 2^32 segments");
        for (id, slot) in (base..).map(SegId).zip(&chunk) {
            match slot {
                None if id == SegId(0) => {}
                None => self.free.push_back(id),
                Some(entry) => {
                    self.live_blocks += u64::from(entry.live);
                    self.stored_bytes += u64::from(entry.stored_bytes);
                    self.usage.add(entry);
                    self.by_name.insert(entry.name, id);
                }
            }
        }
        self.chunks.push(Arc::new(chunk));
        self.dirty.push(false);
    }

    /// Appends a chunk that was read from a checkpoint; `false` when it names a segment twice.
    pub(crate) fn load_chunk(&mut self, chunk: Chunk) -> bool {
        let before = self.by_name.len();
        let entries = chunk.iter().flatten().count();
        self.add_chunk(chunk);
        self.by_name.len() == before + entries
    }

    /// Corrects a live counter to what the map was found to hold.
    pub(crate) fn set_live(&mut self, id: SegId, live: u32) {
        self.set(id, |_| live);
    }

    /// Chunks changed since they were last frozen.
    pub fn dirty_chunks(&self) -> usize {
        self.dirty.iter().filter(|&&dirty| dirty).count()
    }

    /// Marks a chunk as changed: for chunks whose checkpoint failed, or that a checkpoint must write again.
    pub fn mark_dirty(&mut self, chunk_no: u32) {
        self.dirty[chunk_no as usize] = true;
    }

    /// Takes a picture of all changed chunks; they are clean from now on.
    pub fn freeze(&mut self) -> FrozenSegments {
        let mut chunks = Vec::new();
        for (no, (chunk, dirty)) in (0..).zip(self.chunks.iter().zip(&mut self.dirty)) {
            if std::mem::take(dirty) {
                chunks.push((no, Arc::clone(chunk)));
            }
        }
        FrozenSegments {
            chunks,
            chunk_count: u32::try_from(self.chunks.len()).expect("fewer than 2^32 chunks"),
            live_blocks: self.live_blocks,
            stored_bytes: self.stored_bytes,
        }
    }

    /// Gives back a picture whose checkpoint was not published: its chunks are dirty again.
    pub fn thaw(&mut self, frozen: &FrozenSegments) {
        for &(no, _) in &frozen.chunks {
            self.mark_dirty(no);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Epoch, Nonce};

    fn entry(number: u64) -> SegmentEntry {
        let writer = Writer { epoch: Epoch(1), nonce: Nonce(2) };
        let name = SegmentName { kind: SegmentKind::Log, owner: 0, writer, number };
        SegmentEntry { name, lblocks: 10, live: 0, stored_bytes: 100, birth: CheckpointNo(1) }
    }

    #[test]
    fn segments_are_found_by_handle_and_by_name() {
        let mut table = SegmentTable::new();
        let ids: Vec<SegId> = (0..3000).map(|number| table.insert(entry(number))).collect();
        assert!(!ids.contains(&SegId(0)), "handle 0 marks a hole");
        for (number, id) in (0..).zip(&ids) {
            assert_eq!(table.get(*id), Some(&entry(number)));
            assert_eq!(table.find(&entry(number).name), Some(*id));
        }
        assert_eq!((table.len(), table.stored_bytes()), (3000, 300_000));
        assert_eq!(table.get(SegId(0)), None);
        assert_eq!(table.get(SegId(u32::MAX)), None);
    }

    #[test]
    fn a_freed_handle_is_reused_last() {
        let mut table = SegmentTable::new();
        let first = table.insert(entry(0));
        assert_eq!(table.remove(first), Some(entry(0)));
        assert_eq!(table.remove(first), None);
        let next: Vec<SegId> = (1..1023).map(|number| table.insert(entry(number))).collect();
        assert!(!next.contains(&first));
        assert_eq!(table.insert(entry(1023)), first);
    }

    #[test]
    fn live_blocks_are_counted_and_totalled() {
        let mut table = SegmentTable::new();
        let (a, b) = (table.insert(entry(1)), table.insert(entry(2)));
        table.add_live(a, 10);
        table.add_live(b, 4);
        assert_eq!(table.sub_live(a, 7), 3);
        assert_eq!(table.live_blocks(), 7);
        table.remove(b);
        assert_eq!(table.live_blocks(), 3);
    }

    #[test]
    fn the_use_of_own_segments_is_what_a_recount_finds() {
        let mut table = SegmentTable::new();
        let ids: Vec<SegId> = (0..50).map(|number| table.insert(entry(number))).collect();
        let mut of_an_ancestor = entry(1000);
        of_an_ancestor.name.owner = 1;
        let of_an_ancestor = table.insert(of_an_ancestor);
        table.add_live(of_an_ancestor, 10);
        for (at, &id) in (0..).zip(&ids) {
            table.add_live(id, at % 11);
            if at % 3 == 0 {
                table.sub_live(id, at % 11);
            }
            if at % 7 == 0 {
                table.remove(id);
            }
        }
        let mut counted = Usage::default();
        table.iter().for_each(|(_, entry)| counted.add(entry));
        assert_eq!(table.usage(), counted);
        assert!(counted.empty_bytes > 0 && counted.live > 0 && counted.blocks.is_multiple_of(10));
    }

    #[test]
    fn a_picture_of_the_table_keeps_what_it_showed() {
        let mut table = SegmentTable::new();
        for number in 0..2000 {
            table.insert(entry(number));
        }
        assert_eq!(table.freeze().chunks.len(), 2);
        table.add_live(SegId(1500), 5);
        let picture = table.freeze();
        table.add_live(SegId(1500), 1);
        let (no, chunk) = &picture.chunks[0];
        assert_eq!((*no, chunk[1500 - 1024].map(|entry| entry.live)), (1, Some(5)));
        table.freeze();
        table.thaw(&picture);
        assert_eq!(table.dirty_chunks(), 1);
    }
}
