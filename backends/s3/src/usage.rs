//! What a disk takes in the store, and what of it is in use.

use std::collections::HashMap;

use nbdgate_api::Error;

use crate::{
    Location, OpenOptions,
    engine::Committed,
    format::{BLOCK_SIZE, BlockRange, Lba, Object},
    inspect::{Inspect, store_for, view::View},
    keys::unlock::find_unlocked,
    map::Span,
    observer::Cause,
    ownership::{chain::Chain, claim::supported},
    store::Patience,
};

/// The most cells of an allocation map.
pub const CELLS_MAX: u32 = 65_536;

/// What is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct UsageOptions {
    /// Cells of the allocation map; none for 0.
    pub cells: u32,
}

/// See the [module](self). All figures are bytes, where nothing else is said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Of the disk.
    pub size: u64,
    /// Of the disk that are not holes.
    pub allocated: u64,
    /// Of all segments that the disk's table names, in the store.
    pub stored: u64,
    /// Of them, those of the disk itself; the others belong to the disk that it was cloned from.
    pub own: u64,
    /// Of all of them, the part that the disk refers to; each segment counts by the share of its blocks that are.
    pub live: u64,
    /// Of them, the part that neither the disk nor, as a whole segment, a snapshot refers to.
    pub garbage: u64,
    /// Of segments that only snapshots refer to, whole.
    pub pinned: u64,
    /// Segments that the disk refers to.
    pub segments: u64,
    /// Log segments behind the checkpoint.
    pub log_segments: u64,
    /// Their bytes: what an open reads beside the checkpoint, at the most.
    pub log_bytes: u64,
    /// Acknowledged and not yet in the store; only an open disk knows.
    pub in_flight: u64,
    /// The map.
    pub map: MapUsage,
    /// Snapshots, oldest first.
    pub snapshots: Vec<SnapshotUsage>,
    /// The fraction that is allocated of each part of the disk, in order.
    pub allocation: Vec<f32>,
}

/// The map of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapUsage {
    /// Runs of blocks that lie together.
    pub extents: u64,
    /// Pages of 4 MiB of disk.
    pub pages: u64,
    /// Memory of the map of an open disk.
    pub memory: u64,
    /// Packs that hold it in the store.
    pub packs: u64,
    /// Bytes of them that are in use.
    pub pack_live: u64,
}

/// One snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotUsage {
    /// Its name.
    pub name: String,
    /// When it was taken, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// Bytes of the disk then.
    pub size: u64,
    /// Bytes of it that are not holes.
    pub allocated: u64,
    /// Stored bytes of segments that neither the disk nor another snapshot refers to: what its removal gives back.
    pub pinned_alone: u64,
    /// Stored bytes of segments that the disk does not refer to.
    pub pinned: u64,
}

/// Measures a disk from the store alone; claims nothing.
///
/// # Errors
/// There is no such disk, it is damaged, or the store does not answer.
pub async fn usage(location: &Location, usage: &UsageOptions, options: &OpenOptions) -> Result<Usage, Error> {
    let store = store_for(location, options, Cause::Directory)?;
    let patience = Patience::asking(options.tuning.open_deadline);
    let volume = find_unlocked(&store, location, options, patience).await?.volume;
    let manifest = Chain::newest(&store, volume, patience).await?.manifest;
    supported(&manifest)?;
    let inspect = Inspect { store, volume, patience };
    let (head, tail) = inspect.head(&manifest).await?;
    let mut report = of_committed(&head.committed, usage.cells);
    (report.log_segments, report.log_bytes) = (tail.segments, tail.bytes);
    report.map.packs = head.root.packs().count() as u64;
    report.map.pack_live = head.root.packs().map(|(_, entry)| u64::from(entry.live)).sum();
    let mut users = Users::default();
    users.add(&head, None);
    let table = table(&head);
    drop(head);
    for (at, snapshot) in manifest.snapshots.iter().enumerate() {
        let view = inspect.at_root(&manifest, Some(snapshot.root), snapshot.blocks).await?;
        users.add(&view, Some(at));
        report.snapshots.push(SnapshotUsage {
            name: snapshot.name.clone(),
            created_unix_ms: snapshot.created_ms,
            size: snapshot.blocks * BLOCK_SIZE as u64,
            allocated: allocated(&view.committed, 0, view.committed.map.blocks()),
            ..SnapshotUsage::default()
        });
    }
    users.tell(&table, &mut report);
    Ok(report)
}

/// What the map and the table of a disk say.
pub(crate) fn of_committed(committed: &Committed, cells: u32) -> Usage {
    let blocks = committed.map.blocks();
    let spans = committed.map.lookup(BlockRange::new(Lba(0), blocks));
    let extents = spans.filter(|span| matches!(span, Span::Run(_))).count() as u64;
    let live: u64 =
        committed.segments.iter().map(|(_, entry)| share(entry.stored_bytes, entry.live, entry.lblocks)).sum();
    let stored = committed.segments.stored_bytes();
    Usage {
        size: blocks * BLOCK_SIZE as u64,
        allocated: committed.segments.live_blocks() * BLOCK_SIZE as u64,
        stored,
        own: committed
            .segments
            .iter()
            .filter(|(_, entry)| entry.name.owner == 0)
            .map(|(_, entry)| u64::from(entry.stored_bytes))
            .sum(),
        live,
        garbage: stored.saturating_sub(live),
        segments: committed.segments.iter().filter(|(_, entry)| entry.live > 0).count() as u64,
        map: MapUsage {
            extents,
            pages: u64::from(committed.map.page_count()),
            memory: committed.map.bytes() as u64,
            ..MapUsage::default()
        },
        allocation: allocation(committed, cells),
        ..Usage::default()
    }
}

/// The live part of a segment's bytes.
fn share(stored: u32, live: u32, lblocks: u32) -> u64 {
    if lblocks == 0 { 0 } else { u64::from(stored) * u64::from(live) / u64::from(lblocks) }
}

/// The allocated fraction of each of so many equal parts.
#[expect(clippy::cast_possible_truncation, reason = "a fraction is shown")]
fn allocation(committed: &Committed, cells: u32) -> Vec<f32> {
    let blocks = committed.map.blocks();
    let cells = u64::from(cells.min(CELLS_MAX)).min(blocks);
    let bound = |cell: u64| u64::try_from(u128::from(blocks) * u128::from(cell) / u128::from(cells)).unwrap_or(blocks);
    (0..cells)
        .map(|cell| {
            let (start, end) = (bound(cell), bound(cell + 1));
            (allocated(committed, start, end) as f64 / ((end - start) * BLOCK_SIZE as u64) as f64) as f32
        })
        .collect()
}

/// Bytes of blocks `start..end` that are not holes.
fn allocated(committed: &Committed, start: u64, end: u64) -> u64 {
    let spans = committed.map.lookup(BlockRange::new(Lba(start), end - start));
    let data = spans.filter(|span| matches!(span, Span::Run(_)));
    data.map(|span| span.range().nblocks * BLOCK_SIZE as u64).sum()
}

/// Stored bytes of the segments in a table that the disk itself does not refer to.
fn table(head: &View) -> HashMap<Object, u64> {
    let segments = head.committed.segments.iter();
    segments.map(|(id, entry)| (head.committed.object(id), u64::from(entry.stored_bytes))).collect()
}

/// Who refers to which segment.
#[derive(Debug, Default)]
struct Users {
    segments: HashMap<Object, User>,
}

#[derive(Debug, Default)]
struct User {
    stored: u64,
    head: bool,
    snapshots: Vec<usize>,
}

impl Users {
    fn add(&mut self, view: &View, snapshot: Option<usize>) {
        for (id, entry) in view.committed.segments.iter().filter(|(_, entry)| entry.live > 0) {
            let user = self.segments.entry(view.committed.object(id)).or_default();
            user.stored = u64::from(entry.stored_bytes);
            match snapshot {
                None => user.head = true,
                Some(at) => user.snapshots.push(at),
            }
        }
    }

    fn tell(&self, table: &HashMap<Object, u64>, usage: &mut Usage) {
        for (object, user) in self.segments.iter().filter(|(_, user)| !user.head) {
            usage.pinned += user.stored;
            if table.contains_key(object) {
                // It is in the disk's table, and was counted there.
                usage.garbage = usage.garbage.saturating_sub(user.stored);
            }
            for &at in &user.snapshots {
                usage.snapshots[at].pinned += user.stored;
            }
            if let [alone] = user.snapshots[..] {
                usage.snapshots[alone].pinned_alone += user.stored;
            }
        }
    }
}
