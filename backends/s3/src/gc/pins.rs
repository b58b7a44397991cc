//! Who needs a dead object (§8): one with birth *b* and death *d* is needed by snapshot *k* exactly if *b* <= *k* < *d*.
//!
//! Birth is the first checkpoint that refers to the object, death the first that does not, and a snapshot is the
//! number of the checkpoint whose root it is. Numbers only grow, also over a rollback, so a snapshot taken after the
//! death never needs the object. A birth that is recorded too early, or a death too late, keeps an object too long;
//! neither ever gives one up too early. The same holds for segments and for map packs.

use crate::format::CheckpointNo;

/// The checkpoints between which an object was referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifetime {
    /// First checkpoint that refers to it.
    pub birth: CheckpointNo,
    /// First checkpoint that does not.
    pub death: CheckpointNo,
}

impl Lifetime {
    /// Whether the snapshot with the root of checkpoint `snapshot` refers to it.
    pub fn covers(&self, snapshot: CheckpointNo) -> bool {
        self.birth <= snapshot && snapshot < self.death
    }
}

/// The checkpoints of a disk's snapshots, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshots(Vec<CheckpointNo>);

impl Snapshots {
    /// From the manifest's list, in any order. Two snapshots may share a checkpoint.
    pub fn new(checkpoints: impl IntoIterator<Item = CheckpointNo>) -> Self {
        let mut all: Vec<CheckpointNo> = checkpoints.into_iter().collect();
        all.sort_unstable();
        Self(all)
    }

    /// Whether any of them needs an object that is dead.
    pub fn need(&self, lifetime: Lifetime) -> bool {
        self.first_from(lifetime.birth).is_some_and(|first| first < lifetime.death)
    }

    /// Whether any of them needs an object that is in use: it was there when the snapshot was taken.
    pub fn pin(&self, birth: CheckpointNo) -> bool {
        self.0.last().is_some_and(|&newest| birth <= newest)
    }

    /// What each of them holds back: `dead` are the objects that the head of the disk no longer refers to, with their
    /// sizes in bytes. One entry per snapshot, in the order of checkpoints.
    pub fn hold(&self, dead: impl IntoIterator<Item = (Lifetime, u64)>) -> Vec<Held> {
        let mut held: Vec<Held> = self.0.iter().map(|&checkpoint| Held { checkpoint, alone: 0, all: 0 }).collect();
        for (lifetime, bytes) in dead {
            let first = self.0.partition_point(|&snapshot| snapshot < lifetime.birth);
            let end = self.0.partition_point(|&snapshot| snapshot < lifetime.death);
            let needing = held.get_mut(first..end).unwrap_or_default();
            let only = needing.len() == 1;
            for snapshot in needing {
                snapshot.all += bytes;
                snapshot.alone += if only { bytes } else { 0 };
            }
        }
        held
    }

    /// Their checkpoints, in order.
    pub fn checkpoints(&self) -> &[CheckpointNo] {
        &self.0
    }

    fn first_from(&self, birth: CheckpointNo) -> Option<CheckpointNo> {
        self.0.get(self.0.partition_point(|&snapshot| snapshot < birth)).copied()
    }
}

/// What a snapshot holds back from deletion. What the disk itself still uses costs the snapshot nothing and is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The checkpoint of the snapshot.
    pub checkpoint: CheckpointNo,
    /// Bytes of objects that only this snapshot needs: what deleting it alone gives back.
    pub alone: u64,
    /// Bytes of objects that it needs, also those that other snapshots need too.
    pub all: u64,
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn lifetime(birth: u32, death: u32) -> Lifetime {
        Lifetime { birth: CheckpointNo(birth), death: CheckpointNo(death) }
    }

    fn snapshots(numbers: &[u32]) -> Snapshots {
        Snapshots::new(numbers.iter().copied().map(CheckpointNo))
    }

    #[test]
    fn an_object_is_needed_from_its_birth_to_before_its_death() {
        let needed = |at| snapshots(&[at]).need(lifetime(3, 7));
        assert_eq!((2..=8).map(needed).collect::<Vec<_>>(), [false, true, true, true, true, false, false]);
        assert!(!snapshots(&[3]).need(lifetime(3, 3)), "never under a checkpoint");
        assert!(!snapshots(&[]).need(lifetime(0, u32::MAX)));
        assert!(snapshots(&[1, 5, 9]).need(lifetime(3, 7)), "one of many");
        assert!(!snapshots(&[1, 2, 7, 9]).need(lifetime(3, 7)));
    }

    #[test]
    fn an_object_in_use_is_pinned_by_any_later_snapshot() {
        assert!(snapshots(&[4, 9]).pin(CheckpointNo(9)));
        assert!(!snapshots(&[4, 9]).pin(CheckpointNo(10)));
        assert!(!snapshots(&[]).pin(CheckpointNo(0)));
    }

    #[test]
    fn bytes_are_told_alone_and_in_all() {
        let dead = [(lifetime(1, 4), 100), (lifetime(1, 6), 10), (lifetime(5, 6), 1), (lifetime(6, 7), 1000)];
        let held = |checkpoint, alone, all| Held { checkpoint: CheckpointNo(checkpoint), alone, all };
        assert_eq!(snapshots(&[5, 2]).hold(dead), [held(2, 100, 110), held(5, 1, 11)]);
        assert_eq!(snapshots(&[5]).hold(dead), [held(5, 11, 11)], "what was shared is now its own");
        assert_eq!(
            snapshots(&[5, 5]).hold(dead),
            [held(5, 0, 11), held(5, 0, 11)],
            "neither alone gives anything back"
        );
    }

    /// Sets of objects per root, kept by hand.
    #[derive(Default)]
    struct Model {
        checkpoint: u32,
        head: BTreeMap<u32, u32>,
        dead: BTreeMap<u32, Lifetime>,
        snapshots: BTreeMap<u32, BTreeSet<u32>>,
    }

    proptest! {
        /// Whatever comes and goes: an object may go exactly when no snapshot's own set holds it.
        #[test]
        fn objects_are_needed_exactly_by_the_snapshots_that_hold_them(steps in prop::collection::vec((0..4_u8, any::<u32>()), 1..200)) {
            let mut model = Model::default();
            let mut next = 0;
            for (what, pick) in steps {
                let of = |count: usize| pick as usize % count.max(1);
                match what {
                    // A checkpoint with a new object, one that died, or both.
                    0 | 1 => {
                        model.checkpoint += 1;
                        if what == 0 {
                            model.head.insert(next, model.checkpoint);
                            next += 1;
                        }
                        if let Some((&object, &birth)) = model.head.iter().nth(of(model.head.len() + 1)) {
                            model.head.remove(&object);
                            model.dead.insert(object, lifetime(birth, model.checkpoint));
                        }
                    }
                    2 => {
                        model.snapshots.insert(model.checkpoint, model.head.keys().copied().collect());
                    }
                    _ => {
                        let gone = model.snapshots.keys().nth(of(model.snapshots.len())).copied();
                        gone.map(|gone| model.snapshots.remove(&gone));
                    }
                }
                let pins = Snapshots::new(model.snapshots.keys().copied().map(CheckpointNo));
                for (object, &lifetime) in &model.dead {
                    let holders = model.snapshots.values().filter(|set| set.contains(object)).count();
                    prop_assert_eq!(pins.need(lifetime), holders > 0);
                    let held = pins.hold([(lifetime, 1)]);
                    prop_assert_eq!(held.iter().map(|held| held.all).sum::<u64>(), holders as u64);
                    prop_assert_eq!(held.iter().map(|held| held.alone).sum::<u64>(), u64::from(holders == 1));
                }
                for (object, &birth) in &model.head {
                    let held = model.snapshots.values().any(|set| set.contains(object));
                    prop_assert_eq!(pins.pin(CheckpointNo(birth)), held);
                }
            }
        }
    }
}
