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
