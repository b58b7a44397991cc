//! Dead objects on their way out: from the checkpoint that stops naming them to the end of their object.
//!
//! ```text
//!  live 0 in the picture ─► named dead in DEFER ─► published ─► needed by no snapshot, delay over ─► object deleted
//!                                                                     ─► dropped from the tables with the next picture
//! ```
//!
//! Invariants: an object is due only after a root that calls it dead was published by this writer; its handle stays
//! taken until its object is gone. After a restart everything starts again from the root: what it lists without
//! live blocks is dead, since its own checkpoint if DEFER does not say.

use std::collections::{BTreeMap, HashMap};

use super::pins::{Held, Lifetime, Snapshots};
use crate::{
    checkpoint::{Deferred, DeferredObject, PackEntry, RootState},
    format::{CheckpointNo, Object, ObjectName, SegId, VolumeId},
    map::{SegmentEntry, SegmentTable},
};

/// Milliseconds of the disk's clock.
type Millis = u64;

/// A dead object.
#[derive(Clone, Copy, Debug)]
struct Dead {
    lifetime: Lifetime,
    object: Object,
    bytes: u64,
    /// Nothing published names it since then.
    since: Millis,
    /// Not to be tried again before.
    not_before: Millis,
    gone: bool,
}

/// A segment that a picture shows without live blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Corpse {
    deferred: Deferred,
    object: Object,
    bytes: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Garbage {
    volume: VolumeId,
    delay: Millis,
    snapshots: Snapshots,
    dead: BTreeMap<DeferredObject, Dead>,
}

/// Bytes and objects of what is dead and not yet deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Burden {
    /// Waiting for their time.
    pub(crate) waiting_bytes: u64,
    /// Needed by snapshots.
    pub(crate) held_bytes: u64,
    /// How many snapshots hold back.
    pub(crate) held_objects: u64,
}

impl Garbage {
    /// Before the first checkpoint.
    pub(crate) fn new(volume: VolumeId) -> Self {
        Self { volume, delay: 0, snapshots: Snapshots::default(), dead: BTreeMap::new() }
    }

    /// What a root that was read back calls dead; `segments` are its table, before any log is applied to it.
    pub(crate) fn recovered(volume: VolumeId, root: &RootState, segments: &SegmentTable, snapshots: Snapshots) -> Self {
        let mut garbage = Self { snapshots, ..Self::new(volume) };
        let deaths: HashMap<DeferredObject, CheckpointNo> =
            root.deferred().iter().map(|known| (known.object, known.death)).collect();
        let death = |object| deaths.get(&object).copied().unwrap_or(root.checkpoint());
        for (id, entry) in own_empty(segments) {
            let object = DeferredObject::Segment(id);
            let lifetime = Lifetime { birth: entry.birth, death: death(object) };
            garbage.add(0, object, lifetime, garbage.segment(entry), u64::from(entry.stored_bytes));
        }
        for (no, entry) in root.dead_packs().filter(|(_, entry)| entry.owner == 0) {
            let object = DeferredObject::Pack(no);
            let lifetime = Lifetime { birth: entry.birth, death: death(object) };
            garbage.add(0, object, lifetime, garbage.pack(entry), u64::from(entry.total));
        }
        garbage
    }

    /// How long what nothing names is kept, in milliseconds.
    pub(crate) fn set_delay(&mut self, delay: Millis) {
        self.delay = delay;
    }

    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    fn segment(&self, entry: &SegmentEntry) -> Object {
        Object { volume: self.volume, name: entry.name.object() }
    }

    fn pack(&self, entry: &PackEntry) -> Object {
        Object { volume: self.volume, name: ObjectName::Pack { writer: entry.writer, number: entry.number } }
    }

    fn add(&mut self, now: Millis, key: DeferredObject, lifetime: Lifetime, object: Object, bytes: u64) {
        let dead = Dead { lifetime, object, bytes, since: now, not_before: 0, gone: false };
        self.dead.entry(key).or_insert(dead);
    }

    /// The segments without live blocks in a table of which `checkpoint` takes its picture, apart from `arriving`, whose
    /// blocks are being installed.
    pub(crate) fn corpses(
        &self,
        segments: &SegmentTable,
        arriving: Option<SegId>,
        checkpoint: CheckpointNo,
    ) -> Vec<Corpse> {
        let empty = own_empty(segments).filter(|&(id, _)| Some(id) != arriving);
        let corpse = |(id, entry): (SegId, &SegmentEntry)| {
            let object = DeferredObject::Segment(id);
            let death = self.dead.get(&object).map_or(checkpoint, |known| known.lifetime.death);
            Corpse {
                deferred: Deferred { object, birth: entry.birth, death },
                object: self.segment(entry),
                bytes: u64::from(entry.stored_bytes),
            }
        };
        empty.map(corpse).collect()
    }

    /// Whether the tables of a new root would say something else of what is dead.
    pub(crate) fn differs(&self, segments: &SegmentTable) -> bool {
        let unknown = |id| !self.dead.contains_key(&DeferredObject::Segment(id));
        self.dead.values().any(|dead| dead.gone) || own_empty(segments).any(|(id, _)| unknown(id))
    }

    /// What the DEFER of the next root says: these segments, and the packs that are known to be dead.
    pub(crate) fn deferred(&self, corpses: &[Corpse]) -> Vec<Deferred> {
        let packs = self.dead.iter().filter(|(key, _)| matches!(key, DeferredObject::Pack(_)));
        let packs = packs.map(|(&object, dead)| {
            let Lifetime { birth, death } = dead.lifetime;
            Deferred { object, birth, death }
        });
        corpses.iter().map(|corpse| corpse.deferred).chain(packs).collect()
    }

    /// A root is published: what it calls dead may go when its time has come.
    pub(crate) fn published(&mut self, now: Millis, corpses: &[Corpse], root: &RootState) {
        for corpse in corpses {
            let Deferred { object, birth, death } = corpse.deferred;
            self.add(now, object, Lifetime { birth, death }, corpse.object, corpse.bytes);
        }
        let packs: HashMap<_, _> = root.packs().collect();
        for &Deferred { object, birth, death } in root.deferred() {
            if let DeferredObject::Pack(no) = object
                && let Some(entry) = packs.get(&no)
            {
                self.add(now, object, Lifetime { birth, death }, self.pack(entry), u64::from(entry.total));
            }
        }
    }

    /// A manifest with these snapshots is published: what only a deleted one needed may go when its time has come.
    pub(crate) fn reconsider(&mut self, now: Millis, snapshots: Snapshots) {
        for dead in self.dead.values_mut() {
            if self.snapshots.need(dead.lifetime) && !snapshots.need(dead.lifetime) {
                dead.since = now;
            }
        }
        self.snapshots = snapshots;
    }

    /// The objects whose time has come.
    pub(crate) fn due(&self, now: Millis) -> Vec<(DeferredObject, Object, u64)> {
        let due = self.leaving().filter(|(_, dead)| self.time(dead) <= now);
        due.map(|(&key, dead)| (key, dead.object, dead.bytes)).collect()
    }

    /// When the next will have come; `None` if nothing waits for a time.
    pub(crate) fn next_due(&self) -> Option<Millis> {
        self.leaving().map(|(_, dead)| self.time(dead)).min()
    }

    fn leaving(&self) -> impl Iterator<Item = (&DeferredObject, &Dead)> {
        self.dead.iter().filter(|(_, dead)| !dead.gone && !self.snapshots.need(dead.lifetime))
    }

    fn time(&self, dead: &Dead) -> Millis {
        dead.since.saturating_add(self.delay).max(dead.not_before)
    }

    /// An object could not be deleted now.
    pub(crate) fn postpone(&mut self, key: DeferredObject, until: Millis) {
        if let Some(dead) = self.dead.get_mut(&key) {
            dead.not_before = until;
        }
    }

    /// An object is deleted; its entry may be dropped from the tables.
    pub(crate) fn gone(&mut self, key: DeferredObject) {
        if let Some(dead) = self.dead.get_mut(&key) {
            dead.gone = true;
        }
    }

    /// What is deleted and still in the tables.
    pub(crate) fn to_drop(&self) -> Vec<DeferredObject> {
        self.dead.iter().filter(|(_, dead)| dead.gone).map(|(&key, _)| key).collect()
    }

    /// The entry was dropped from its table: from now on its handle means something else.
    pub(crate) fn dropped(&mut self, key: DeferredObject) {
        self.dead.remove(&key);
    }

    /// What each snapshot holds back.
    pub(crate) fn held(&self) -> Vec<Held> {
        let kept = self.dead.values().filter(|dead| !dead.gone);
        self.snapshots.hold(kept.map(|dead| (dead.lifetime, dead.bytes)))
    }

    /// The same of segments alone, `empty` ones among them that no checkpoint has called dead yet.
    pub(crate) fn held_segments(&self, empty: &[(SegId, Lifetime, u64)]) -> Vec<Held> {
        let kept = self.dead.iter().filter(|(key, dead)| matches!(key, DeferredObject::Segment(_)) && !dead.gone);
        let known = kept.map(|(_, dead)| (dead.lifetime, dead.bytes));
        let fresh = empty.iter().filter(|(id, ..)| !self.dead.contains_key(&DeferredObject::Segment(*id)));
        self.snapshots.hold(known.chain(fresh.map(|&(_, lifetime, bytes)| (lifetime, bytes))))
    }

    /// How much there is.
    pub(crate) fn burden(&self) -> Burden {
        let mut burden = Burden::default();
        for dead in self.dead.values().filter(|dead| !dead.gone) {
            if self.snapshots.need(dead.lifetime) {
                burden.held_bytes += dead.bytes;
                burden.held_objects += 1;
            } else {
                burden.waiting_bytes += dead.bytes;
            }
        }
        burden
    }
}

/// Segments of this volume that its map does not refer to any more.
fn own_empty(segments: &SegmentTable) -> impl Iterator<Item = (SegId, &SegmentEntry)> {
    segments.iter().filter(|(_, entry)| entry.live == 0 && entry.name.owner == 0)
}

#[cfg(test)]
mod lives;
#[cfg(test)]
mod tests;
