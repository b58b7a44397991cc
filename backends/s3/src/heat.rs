//! How much of each segment of an open disk is still in use, oldest first, and what the snapshots hold back: for people who
//! look on. All of it is known to the process; the store is asked nothing.

use crate::{
    SnapshotInfo,
    format::VolumeId,
    gc::pins::Snapshots,
    map::{SegmentEntry, SegmentKind, segments::Entries},
};

/// The segments of a disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heat {
    /// How many there are, those that are dead and not yet deleted included.
    pub segments: u64,
    /// Bytes of them in the store.
    pub stored_bytes: u64,
    /// Those of the disk itself; the others belong to the disk that this is a clone of, and stay if it goes.
    pub own_bytes: u64,
    /// The oldest first. Where there are more than were asked for, each stands for several neighbours.
    pub cells: Vec<HeatCell>,
}

/// A segment, or several that were made one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatCell {
    /// The key of the first, below the root of its store.
    pub key: String,
    /// How many.
    pub segments: u64,
    /// Bytes in the store.
    pub bytes: u64,
    /// The part of their blocks that the disk refers to, 0 to 1.
    pub live: f64,
    /// Whether all of them are needed by a snapshot, or belong to the disk that this is a clone of.
    pub pinned: bool,
}

/// A snapshot with what it holds back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPins {
    /// Which.
    pub snapshot: SnapshotInfo,
    /// Bytes of segments that the disk does not refer to any more and this snapshot needs.
    pub pinned: u64,
    /// Of them, those that no other snapshot needs.
    pub pinned_alone: u64,
}

/// The segments of a table in at most `most` cells; `volumes` are those that its owners count.
pub(crate) fn heat(entries: &Entries, volumes: &[VolumeId], snapshots: &Snapshots, most: usize) -> Heat {
    let mut all: Vec<&SegmentEntry> = entries.iter().map(|(_, entry)| entry).collect();
    all.sort_unstable_by_key(|entry| age(entry));
    let count = most.min(all.len());
    let bound = |cell: usize| all.len() * cell / count;
    let cell = |at: usize| cell(&all[bound(at)..bound(at + 1)], volumes, snapshots);
    Heat {
        segments: all.len() as u64,
        stored_bytes: all.iter().map(|entry| u64::from(entry.stored_bytes)).sum(),
        own_bytes: all.iter().filter(|entry| entry.name.owner == 0).map(|entry| u64::from(entry.stored_bytes)).sum(),
        cells: (0..count).map(cell).collect(),
    }
}

/// Orders segments by when they were made; those of one writer between two checkpoints by number.
fn age(entry: &SegmentEntry) -> impl Ord + use<> {
    let name = &entry.name;
    (entry.birth, name.writer.epoch, name.kind == SegmentKind::Moved, name.number)
}

fn cell(segments: &[&SegmentEntry], volumes: &[VolumeId], snapshots: &Snapshots) -> HeatCell {
    let first = segments.first().expect("a cell has a segment");
    let owner = volumes.get(usize::from(first.name.owner)).copied();
    let sum = |of: fn(&SegmentEntry) -> u32| segments.iter().map(|entry| u64::from(of(entry))).sum::<u64>();
    let (live, blocks) = (sum(|entry| entry.live), sum(|entry| entry.lblocks));
    HeatCell {
        key: owner.map_or_else(String::new, |volume| first.name.object().key("", volume)),
        segments: segments.len() as u64,
        bytes: sum(|entry| entry.stored_bytes),
        live: if blocks == 0 { 0.0 } else { live as f64 / blocks as f64 },
        pinned: segments.iter().all(|entry| entry.name.owner != 0 || snapshots.pin(entry.birth)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        format::{CheckpointNo, Epoch, Nonce, Writer},
        map::{SegmentTable, segments::SegmentName},
    };

    fn entry(number: u64, birth: u32, live: u32) -> SegmentEntry {
        let writer = Writer { epoch: Epoch(1), nonce: Nonce(2) };
        let name = SegmentName { kind: SegmentKind::Log, owner: 0, writer, number };
        SegmentEntry { name, lblocks: 10, live, stored_bytes: 1000, birth: CheckpointNo(birth) }
    }

    fn look(entries: &[SegmentEntry], most: usize) -> Heat {
        let mut table = SegmentTable::new();
        for entry in entries {
            table.insert(*entry);
        }
        heat(&table.entries(), &[VolumeId(uuid::Uuid::nil())], &Snapshots::new([CheckpointNo(3)]), most)
    }

    #[test]
    fn segments_are_shown_oldest_first_with_what_is_live_and_pinned() {
        let heat = look(&[entry(7, 4, 10), entry(2, 1, 0), entry(3, 3, 5)], 8);
        assert_eq!((heat.segments, heat.stored_bytes), (3, 3000));
        let told: Vec<_> = heat.cells.iter().map(|cell| (cell.segments, cell.live, cell.pinned)).collect();
        assert_eq!(told, [(1, 0.0, true), (1, 0.5, true), (1, 1.0, false)]);
        assert!(heat.cells[2].key.starts_with("v/00000000-"), "{:?}", heat.cells[2]);
    }

    #[test]
    fn segments_of_the_disk_that_was_cloned_are_not_its_own() {
        let mut foreign = entry(3, 3, 5);
        foreign.name.owner = 1;
        let heat = look(&[entry(7, 4, 10), entry(2, 1, 0), foreign], 8);
        assert_eq!((heat.stored_bytes, heat.own_bytes), (3000, 2000));
    }

    #[test]
    fn neighbours_are_joined_and_none_is_lost() {
        let entries: Vec<_> = (0..1000).map(|number| entry(number, 1 + u32::try_from(number).unwrap(), 4)).collect();
        let heat = look(&entries, 64);
        assert_eq!(heat.cells.len(), 64);
        assert_eq!(heat.cells.iter().map(|cell| cell.segments).sum::<u64>(), 1000);
        assert_eq!(heat.cells.iter().map(|cell| cell.bytes).sum::<u64>(), heat.stored_bytes);
        assert!(heat.cells.iter().all(|cell| (cell.live - 0.4).abs() < 1e-9));
        assert_eq!(look(&[], 64), Heat::default());
    }
}
