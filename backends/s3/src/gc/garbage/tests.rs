use super::*;
use crate::{
    format::{Epoch, Nonce, Writer},
    map::{SegmentKind, SegmentName},
};

fn entry(number: u64, birth: u32, live: u32) -> SegmentEntry {
    let writer = Writer { epoch: Epoch(1), nonce: Nonce(2) };
    let name = SegmentName { kind: SegmentKind::Log, owner: 0, writer, number };
    SegmentEntry { name, lblocks: 10, live, stored_bytes: 1000, birth: CheckpointNo(birth) }
}

fn volume() -> VolumeId {
    VolumeId(uuid::Uuid::nil())
}

fn snapshots(numbers: &[u32]) -> Snapshots {
    Snapshots::new(numbers.iter().copied().map(CheckpointNo))
}

/// A table of which segments 2 and 3 are empty; born at checkpoints 1 and 4.
fn table() -> SegmentTable {
    let mut table = SegmentTable::new();
    table.insert(entry(1, 1, 5));
    table.insert(entry(2, 1, 0));
    table.insert(entry(3, 4, 0));
    table
}

fn due(garbage: &Garbage, now: u64) -> Vec<u32> {
    let id = |(key, ..): (DeferredObject, Object, u64)| match key {
        DeferredObject::Segment(id) => id.0,
        DeferredObject::Pack(no) => 1000 + no.0,
    };
    garbage.due(now).into_iter().map(id).collect()
}

/// Checkpoint 5 is published at time 100; objects wait 50 longer.
fn published(numbers: &[u32]) -> Garbage {
    let mut garbage = Garbage::new(volume());
    garbage.set_delay(50);
    let corpses = garbage.corpses(&table(), None, CheckpointNo(5));
    assert_eq!((due(&garbage, u64::MAX).len(), garbage.next_due()), (0, None), "nothing is due before it is published");
    garbage.reconsider(100, snapshots(numbers));
    garbage.published(100, &corpses, &RootState::empty());
    garbage
}

#[test]
fn the_dead_are_due_when_they_are_published_and_their_time_has_come() {
    let garbage = published(&[]);
    assert_eq!((due(&garbage, 149), due(&garbage, 150)), (vec![], vec![2, 3]));
    assert_eq!(garbage.next_due(), Some(150));
    assert_eq!(garbage.burden().waiting_bytes, 2000);
}

#[test]
fn what_a_snapshot_needs_stays_until_the_snapshot_goes() {
    let mut garbage = published(&[2]);
    assert_eq!(due(&garbage, 1000), [3], "segment 2 lived at checkpoint 2");
    assert_eq!((garbage.burden().held_bytes, garbage.burden().held_objects), (1000, 1));
    assert_eq!(garbage.held()[0].alone, 1000);
    garbage.reconsider(5000, snapshots(&[]));
    assert_eq!((due(&garbage, 5049), due(&garbage, 5050)), (vec![3], vec![2, 3]), "its time begins with the publish");
}

#[test]
fn what_could_not_be_deleted_is_due_again_and_what_was_is_not() {
    let mut garbage = published(&[]);
    garbage.postpone(DeferredObject::Segment(SegId(2)), 400);
    garbage.gone(DeferredObject::Segment(SegId(3)));
    assert_eq!((due(&garbage, 399), due(&garbage, 400)), (vec![], vec![2]));
    assert_eq!(garbage.to_drop(), [DeferredObject::Segment(SegId(3))]);
}

#[test]
fn a_handle_that_is_dropped_means_something_else_from_then_on() {
    let mut garbage = published(&[]);
    let key = DeferredObject::Segment(SegId(2));
    garbage.gone(key);
    garbage.dropped(key);
    let mut table = table();
    table.remove(SegId(2));
    // Another segment gets the handle and dies with checkpoint 9.
    let mut reused = SegmentTable::new();
    reused.insert(entry(1, 1, 5));
    reused.insert(entry(77, 8, 0));
    let corpses = garbage.corpses(&reused, None, CheckpointNo(9));
    assert_eq!(garbage.deferred(&corpses)[0].death, CheckpointNo(9), "not the death of the one before");
}

#[test]
fn a_segment_whose_blocks_arrive_is_not_dead() {
    let garbage = Garbage::new(volume());
    let corpses = garbage.corpses(&table(), Some(SegId(3)), CheckpointNo(5));
    assert_eq!(corpses.len(), 1);
}

#[test]
fn after_a_restart_the_root_says_what_is_dead() {
    let root = RootState::empty();
    let garbage = Garbage::recovered(volume(), &root, &table(), Snapshots::default());
    assert_eq!(due(&garbage, 0), [2, 3]);
}

#[test]
fn segments_of_ancestors_are_not_this_disks_to_delete() {
    let mut table = table();
    let mut foreign = entry(9, 1, 0);
    foreign.name.owner = 1;
    table.insert(foreign);
    let garbage = Garbage::recovered(volume(), &RootState::empty(), &table, Snapshots::default());
    assert_eq!(due(&garbage, 0), [2, 3]);
    assert_eq!(garbage.corpses(&table, None, CheckpointNo(1)).len(), 2);
}
