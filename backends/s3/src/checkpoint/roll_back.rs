//! Going back to the picture of a snapshot without forgetting what came after it.
//!
//! The next checkpoint is numbered behind the head's, so that an object that dies later still counts as needed by
//! every snapshot that was taken before. Objects that only the head knows come along as dead: garbage collection
//! deletes them, or defers that for snapshots. Of what the snapshot and the head know, the head is right where it is about
//! deletion: an object that is gone from its tables is gone.

use super::packs::PackEntry;
use super::{DeferredObject, Loaded, PackNo, RootState};
use crate::format::SegId;
use crate::map::{SegmentEntry, SegmentTable};
use std::collections::HashMap;

/// What a rollback gives up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discarded {
    /// Segments that the head refers to and the snapshot does not know.
    pub segments: u64,
    /// Their length in bytes.
    pub bytes: u64,
}

/// Makes the picture in `target` the successor of the head.
pub fn roll_back(head: &RootState, head_segments: &SegmentTable, target: &mut Loaded) -> Discarded {
    let mut discarded = Discarded::default();
    forget_collected(head_segments, &mut target.segments);
    for (_, entry) in head_segments.iter() {
        if target.segments.find(&entry.name).is_none() {
            if entry.live > 0 {
                discarded.segments += 1;
                discarded.bytes += u64::from(entry.stored_bytes);
            }
            target.segments.insert(SegmentEntry { live: 0, ..*entry });
        }
    }
    let moved = merge_packs(head, &mut target.root);
    let segment = |id: SegId| {
        let entry = head_segments.get(id)?;
        let id = target.segments.find(&entry.name)?;
        (target.segments.get(id)?.live == 0).then_some(id)
    };
    let pack = |no: PackNo| {
        let no = *moved.get(&no)?;
        (target.root.packs.get(no)?.live == 0).then_some(no)
    };
    // What lives again waits for nothing.
    let deferred = head.deferred.iter().filter_map(|entry| {
        let object = match entry.object {
            DeferredObject::Segment(id) => DeferredObject::Segment(segment(id)?),
            DeferredObject::Pack(no) => DeferredObject::Pack(pack(no)?),
        };
        Some(super::Deferred { object, ..*entry })
    });
    let deferred = deferred.collect();
    target.root.deferred = deferred;
    target.root.defer_changed = true;
    target.root.checkpoint = head.checkpoint;
    target.root.position = head.position;
    discarded
}

/// Drops dead segments that were deleted after the snapshot was taken.
fn forget_collected(head: &SegmentTable, target: &mut SegmentTable) {
    let gone: Vec<SegId> = target
        .iter()
        .filter(|(_, entry)| entry.live == 0 && head.find(&entry.name).is_none())
        .map(|(id, _)| id)
        .collect();
    for id in gone {
        target.remove(id);
    }
}

/// Brings the pack tables together; returns where the head's packs are now.
fn merge_packs(head: &RootState, target: &mut RootState) -> HashMap<PackNo, PackNo> {
    let name = |entry: &PackEntry| (entry.owner, entry.writer, entry.number);
    let alive: HashMap<_, PackNo> = head.packs.iter().map(|(no, entry)| (name(entry), no)).collect();
    let gone: Vec<PackNo> = target
        .packs
        .iter()
        .filter(|&(no, entry)| entry.live == 0 && no != target.root_pack && !alive.contains_key(&name(entry)))
        .map(|(no, _)| no)
        .collect();
    for no in gone {
        target.packs.remove(no);
    }
    let known: HashMap<_, PackNo> = target.packs.iter().map(|(no, entry)| (name(entry), no)).collect();
    head.packs
        .iter()
        .map(|(no, entry)| {
            let there = known.get(&name(entry)).copied();
            (no, there.unwrap_or_else(|| target.packs.add(PackEntry { live: 0, ..*entry })))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Deferred, Position};
    use crate::format::{CheckpointNo, Epoch, Nonce, Seq, Writer, Wseq};
    use crate::map::{PagedMap, SegmentKind, SegmentName};

    fn segment(number: u64, live: u32, birth: u32) -> SegmentEntry {
        let writer = Writer { epoch: Epoch(1), nonce: Nonce(7) };
        let name = SegmentName { kind: SegmentKind::Log, owner: 0, writer, number };
        SegmentEntry { name, lblocks: 10, live, stored_bytes: 100, birth: CheckpointNo(birth) }
    }

    fn pack(number: u64, live: u32, birth: u32) -> PackEntry {
        let writer = Writer { epoch: Epoch(1), nonce: Nonce(7) };
        PackEntry { owner: 0, writer, number, total: 50, live, birth: CheckpointNo(birth) }
    }

    fn table(entries: &[SegmentEntry]) -> SegmentTable {
        let mut table = SegmentTable::new();
        for entry in entries {
            table.insert(*entry);
        }
        table
    }

    fn deferred(object: DeferredObject, birth: u32, death: u32) -> Deferred {
        Deferred { object, birth: CheckpointNo(birth), death: CheckpointNo(death) }
    }

    /// At checkpoint 3: segments 1 and 2 alive, 5 dead. At checkpoint 9: 1 alive, 2 dead since 8, 3 came and is alive, 4 came
    /// and died, 5 is deleted.
    #[test]
    fn what_only_the_head_knows_comes_along_as_dead_and_what_lives_again_waits_for_nothing() {
        let mut head = RootState { checkpoint: CheckpointNo(9), ..RootState::empty() };
        head.position = Position { epoch: Epoch(4), seq: Seq(70), wseq: Wseq(700) };
        let head_segments = table(&[segment(3, 6, 7), segment(4, 0, 5), segment(2, 0, 2), segment(1, 4, 1)]);
        let id = |number| head_segments.find(&segment(number, 0, 0).name).expect("it is in the table");
        let packs = [pack(30, 40, 9), pack(10, 0, 1), pack(20, 5, 3)];
        let [new, dead, _] = packs.map(|entry| head.packs.add(entry));
        head.deferred = vec![
            deferred(DeferredObject::Segment(id(4)), 5, 6),
            deferred(DeferredObject::Segment(id(2)), 2, 8),
            deferred(DeferredObject::Pack(dead), 1, 4),
            deferred(DeferredObject::Pack(new), 9, 9),
        ];
        let mut root = RootState { checkpoint: CheckpointNo(3), ..RootState::empty() };
        root.packs.add(pack(10, 50, 1));
        root.packs.add(pack(15, 0, 2));
        root.root_pack = root.packs.add(pack(20, 0, 3));
        let segments = table(&[segment(5, 0, 1), segment(1, 10, 1), segment(2, 3, 2)]);
        let mut target = Loaded { root, map: PagedMap::new(1), segments, recounts: Vec::new() };

        let discarded = roll_back(&head, &head_segments, &mut target);
        assert_eq!(discarded, Discarded { segments: 1, bytes: 100 }, "4 was dead already");
        let Loaded { root, segments, .. } = target;
        let mut seen: Vec<_> =
            segments.iter().map(|(_, entry)| (entry.name.number, entry.live, entry.birth.0)).collect();
        seen.sort_unstable();
        assert_eq!(seen, [(1, 10, 1), (2, 3, 2), (3, 0, 7), (4, 0, 5)], "5 is gone");
        assert_eq!((root.checkpoint, root.position), (head.checkpoint, head.position), "numbers only grow");
        let mut packs: Vec<_> = root.packs.iter().map(|(_, entry)| (entry.number, entry.live)).collect();
        packs.sort_unstable();
        assert_eq!(packs, [(10, 50), (20, 0), (30, 0)], "15 is gone");
        let four = segments.find(&segment(4, 0, 0).name).expect("it is in the table");
        let new = root.packs.iter().find(|(_, entry)| entry.number == 30).expect("it came along").0;
        let expected = [deferred(DeferredObject::Segment(four), 5, 6), deferred(DeferredObject::Pack(new), 9, 9)];
        assert_eq!(root.deferred, expected, "2 and pack 10 live again");
        assert!(root.defer_changed);
    }
}
