//! What people look at while the disk is served. The engine's lock is held for a pointer per thousand segments.

use super::Driver;
use crate::{
    format::CheckpointNo,
    gc::pins::Lifetime,
    heat::{self, Heat, SnapshotPins},
};

impl Driver {
    /// The segments, in at most so many cells.
    pub(crate) fn heat(&self, cells: usize) -> Heat {
        let (entries, volumes) = {
            let mut engine = self.engine.lock();
            let committed = engine.committed();
            (committed.segments.entries(), committed.volumes().to_vec())
        };
        let snapshots = self.bin.lock().garbage.snapshots().clone();
        heat::heat(&entries, &volumes, &snapshots, cells)
    }

    /// The snapshots, oldest first, with what they hold back.
    pub(crate) fn snapshot_pins(&self) -> Vec<SnapshotPins> {
        let snapshots = self.snapshots();
        let entries = self.engine.lock().committed().segments.entries();
        let empty = entries.iter().filter(|(_, entry)| entry.live == 0 && entry.name.owner == 0);
        let empty: Vec<_> = empty
            .map(|(id, entry)| {
                let lifetime = Lifetime { birth: entry.birth, death: CheckpointNo(u32::MAX) };
                (id, lifetime, u64::from(entry.stored_bytes))
            })
            .collect();
        let held = self.bin.lock().garbage.held_segments(&empty);
        let pins = snapshots.iter().map(|snapshot| {
            let of = held.iter().find(|held| held.checkpoint == snapshot.root.checkpoint);
            let (pinned, pinned_alone) = of.map_or((0, 0), |held| (held.all, held.alone));
            SnapshotPins { snapshot: snapshot.into(), pinned, pinned_alone }
        });
        pins.collect()
    }
}
