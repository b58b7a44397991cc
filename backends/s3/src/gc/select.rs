//! Which segments are worth emptying (§9.1).
//!
//! Cleaning begins when fewer than `start_percent` of the stored blocks are live and goes on until `stop_percent` are.
//! Among the segments with garbage those come first that give most room for the work and are oldest:
//! `(1 - u) * age / (1 + u)`, where *u* is the live part. Blocks in segments that a snapshot pins count neither way:
//! moving them would free nothing. Segments that hold little are merged when there are many.

use super::pins::Snapshots;
use crate::{
    GcRules,
    format::{BLOCK_SIZE, CheckpointNo, SegId},
    map::SegmentEntry,
};

/// The most segments that one round cleans.
const MOST: usize = 32;

/// The most live blocks that one round moves: 64 MiB, because a round holds its data in memory.
const MOST_BLOCKS: u64 = (64 << 20) / BLOCK_SIZE as u64;

/// So many small segments make a run that is worth a merge.
const RUN: usize = 32;

/// The most small segments that one round merges.
const MOST_SMALL: usize = 256;

/// What the collector was doing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ask {
    /// Cleaning has begun and has not reached its goal.
    pub(crate) active: bool,
    /// Nothing else uses the disk.
    pub(crate) idle: bool,
}

/// How the stored blocks are used; of ancestors' segments nothing is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stock {
    /// Blocks of segments in use that no snapshot pins.
    pub(crate) blocks: u64,
    /// Those of them that are live.
    pub(crate) live: u64,
    /// Bytes of segments in use that a snapshot pins.
    pub(crate) pinned_bytes: u64,
}

impl Stock {
    /// So many blocks fewer would be stored if `percent` of them were live; 0 if they are.
    pub(crate) fn behind(&self, percent: u32) -> u64 {
        self.blocks.saturating_sub(self.live * 100 / u64::from(percent.max(1)))
    }
}

/// What to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Segments to empty, with their live blocks.
    pub(crate) segments: Vec<(SegId, SegmentEntry)>,
    /// Whether cleaning goes on.
    pub(crate) active: bool,
    /// What was found.
    pub(crate) stock: Stock,
}

/// Chooses among `table`. Only segments under `checkpoint` are moved, and none that `rests` says to leave alone.
pub(crate) fn select<'a>(
    table: impl Iterator<Item = (SegId, &'a SegmentEntry)>,
    checkpoint: CheckpointNo,
    snapshots: &Snapshots,
    rules: &GcRules,
    ask: Ask,
    rests: impl Fn(SegId) -> bool,
) -> Selection {
    let mut stock = Stock::default();
    let mut movable = Vec::new();
    for (id, entry) in table.filter(|(_, entry)| entry.name.owner == 0 && entry.live > 0) {
        if snapshots.pin(entry.birth) {
            stock.pinned_bytes += u64::from(entry.stored_bytes);
            continue;
        }
        stock.blocks += u64::from(entry.lblocks);
        stock.live += u64::from(entry.live);
        if entry.birth <= checkpoint && !rests(id) {
            movable.push((id, *entry));
        }
    }
    let goal = u64::from(match ask {
        Ask { active: false, .. } => rules.start_percent,
        Ask { idle: true, .. } => rules.idle_percent.max(rules.stop_percent),
        Ask { .. } => rules.stop_percent,
    });
    let garbage = (stock.blocks - stock.live) * BLOCK_SIZE as u64;
    let active = garbage >= u64::from(rules.small_segment) && stock.live * 100 < stock.blocks * goal;
    let stop = u64::from(if ask.idle { rules.idle_percent.max(rules.stop_percent) } else { rules.stop_percent });
    let mut segments = if active { dirtiest(&movable, stock, stop, checkpoint) } else { Vec::new() };
    merge_small(&movable, rules.small_segment, &mut segments);
    Selection { segments, active, stock }
}

/// The best until so many percent are live, or a round is full.
fn dirtiest(
    movable: &[(SegId, SegmentEntry)],
    stock: Stock,
    stop: u64,
    checkpoint: CheckpointNo,
) -> Vec<(SegId, SegmentEntry)> {
    let mut scored: Vec<(f64, SegId, SegmentEntry)> = movable
        .iter()
        // What is as full as it shall become on the whole is not worth the work.
        .filter(|(_, entry)| u64::from(entry.live) * 100 < u64::from(entry.lblocks) * stop)
        .map(|&(id, entry)| (benefit(&entry, checkpoint), id, entry))
        .collect();
    scored.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let (mut blocks, mut moved) = (stock.blocks, 0);
    let mut chosen = Vec::new();
    for (_, id, entry) in scored {
        let live = u64::from(entry.live);
        let full = chosen.len() == MOST || moved + live > MOST_BLOCKS && !chosen.is_empty();
        if full || stock.live * 100 >= blocks * stop {
            break;
        }
        blocks -= u64::from(entry.lblocks) - live;
        moved += live;
        chosen.push((id, entry));
    }
    chosen
}

/// Room gained over work done, weighed by age: what is old will not become emptier by itself.
fn benefit(entry: &SegmentEntry, checkpoint: CheckpointNo) -> f64 {
    let live = f64::from(entry.live) / f64::from(entry.lblocks);
    let age = f64::from(checkpoint.0.saturating_sub(entry.birth.0) + 1);
    (1.0 - live) * age / (1.0 + live)
}

/// Adds a run of the oldest small segments, if there are enough of them and there is room.
fn merge_small(movable: &[(SegId, SegmentEntry)], small: u32, chosen: &mut Vec<(SegId, SegmentEntry)>) {
    let taken: Vec<SegId> = chosen.iter().map(|(id, _)| *id).collect();
    let mut run: Vec<(SegId, SegmentEntry)> =
        movable.iter().filter(|(id, entry)| entry.stored_bytes < small && !taken.contains(id)).copied().collect();
    if run.len() < RUN {
        return;
    }
    run.sort_unstable_by_key(|(id, entry)| (entry.birth, *id));
    let mut moved: u64 = chosen.iter().map(|(_, entry)| u64::from(entry.live)).sum();
    for (id, entry) in run.into_iter().take(MOST_SMALL) {
        moved += u64::from(entry.live);
        if moved > MOST_BLOCKS {
            break;
        }
        chosen.push((id, entry));
    }
}

#[cfg(test)]
mod tests;
