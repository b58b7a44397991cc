//! Deleting what no published manifest names (OBJECT-LOG §6.2, §9.4).
//!
//! One task at a time waits for what is due next and ends when nothing waits, so a disk at rest has no timer. It works
//! only while this gateway believes to own the disk; if it is mistaken no harm is done: what it deletes was no longer
//! named by a manifest that it published, and every successor starts from that manifest or a newer one. What cannot be
//! deleted is tried again, gently, for as long as the disk is open; what is left then is found by the next open, whose
//! tables still list it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{Driver, Ownership, retire::Retired};
use crate::{
    checkpoint::{DeferredObject, RootState},
    engine::{Engine, Millis},
    format::{CheckpointNo, Manifest, SegId},
    gc::{
        garbage::{Corpse, Garbage},
        pins::Snapshots,
        select::Stock,
    },
    map::SegmentTable,
    observer::Cause,
    store::Patience,
};

/// Keys in one request.
const BATCH: usize = 1000;

/// How long one request is tried before the rest of its keys is put off.
const TRIED: Duration = Duration::from_secs(30);

/// When to try again what could not be deleted.
const AGAIN: Millis = 60_000;

/// When to look again at what is still being read.
const IN_USE: Millis = 5_000;

/// What is on its way out, and the account of it.
#[derive(Debug)]
pub(crate) struct Bin {
    pub(super) garbage: Garbage,
    /// Segments that could not be read, and until when they are left alone.
    pub(super) resting: HashMap<SegId, Millis>,
    pub(super) retired: Retired,
    /// What the last look at all segments found.
    pub(super) stock: Stock,
    /// Plain bytes per 256 stored bytes of the last segment of moved data.
    pub(super) ratio: u64,
    pub(super) moved_bytes: u64,
    pub(super) deleted_objects: u64,
    pub(super) deleted_bytes: u64,
    pub(super) unreadable: u64,
    /// The task runs.
    deleting: bool,
}

impl Bin {
    pub(super) fn new(garbage: Garbage) -> Self {
        Self {
            garbage,
            resting: HashMap::new(),
            retired: Retired::default(),
            stock: Stock::default(),
            ratio: 256,
            moved_bytes: 0,
            deleted_objects: 0,
            deleted_bytes: 0,
            unreadable: 0,
            deleting: false,
        }
    }

    fn next_due(&self) -> Option<Millis> {
        [self.garbage.next_due(), self.retired.next_due()].into_iter().flatten().min()
    }
}

/// The snapshots of a manifest.
pub(crate) fn snapshots_of(manifest: &Manifest) -> Snapshots {
    Snapshots::new(manifest.snapshots.iter().map(|snapshot| snapshot.root.checkpoint))
}

impl Driver {
    /// With the picture of `checkpoint`: drops from the tables what is deleted, and what only ancestors own and nothing
    /// uses, and lists the segments that the new root will call dead.
    pub(super) fn clear_tables(
        &self,
        engine: &mut Engine,
        root: &mut RootState,
        checkpoint: CheckpointNo,
    ) -> Vec<Corpse> {
        let mut bin = self.bin.lock();
        let garbage = &mut bin.garbage;
        let mut segments = Vec::new();
        for key in garbage.to_drop() {
            match key {
                DeferredObject::Segment(id) => segments.push(id),
                DeferredObject::Pack(no) => {
                    root.forget_pack(no);
                    garbage.dropped(key);
                }
            }
        }
        for id in engine.drop_segments(segments) {
            garbage.dropped(DeferredObject::Segment(id));
        }
        let foreign: Vec<_> = root.dead_packs().filter(|(_, pack)| pack.owner != 0).map(|(no, _)| no).collect();
        for no in foreign {
            root.forget_pack(no);
        }
        let foreign = engine.committed().segments.iter().filter(|(_, entry)| entry.name.owner != 0 && entry.live == 0);
        let foreign: Vec<SegId> = foreign.map(|(id, _)| id).collect();
        engine.drop_segments(foreign);
        let committed = engine.committed();
        garbage.corpses(&committed.segments, committed.arriving(), checkpoint)
    }

    /// A checkpoint is published: what its root calls dead may go when its time has come.
    pub(super) fn published(&self, ownership: &Ownership, corpses: &[Corpse]) {
        self.reconsider(&ownership.chain.manifest);
        let (now, mut bin) = (self.now(), self.bin.lock());
        bin.garbage.published(now, corpses, ownership.checkpoints.root());
        bin.retired.published(now.saturating_add(self.delete_delay()), ownership.chain.no());
    }

    /// A manifest is published, with a checkpoint or without: snapshots that are not in it hold nothing back any more.
    pub(crate) fn reconsider(&self, manifest: &Manifest) {
        let (now, mut bin) = (self.now(), self.bin.lock());
        bin.garbage.reconsider(now, snapshots_of(manifest));
    }

    /// The tables were replaced: what is dead is what `root` calls so. Nothing is being collected or deleted.
    pub(super) fn start_over(&self, root: &RootState, segments: &SegmentTable) {
        let mut bin = self.bin.lock();
        let snapshots = bin.garbage.snapshots().clone();
        bin.garbage = Garbage::recovered(self.volume, root, segments, snapshots);
        bin.garbage.set_delay(self.delete_delay());
    }

    pub(super) fn delete_delay(&self) -> Millis {
        u64::try_from(self.gc.delete_delay.as_millis()).unwrap_or(u64::MAX)
    }

    /// Sees to it that what waits is deleted in its time.
    pub(crate) fn schedule_deletes(self: &Arc<Self>) {
        if !self.gc.enabled {
            return;
        }
        let mut bin = self.bin.lock();
        if bin.deleting || bin.next_due().is_none() {
            return;
        }
        bin.deleting = true;
        drop(bin);
        self.spawn(run(Arc::clone(self)));
    }

    /// Deletes what is due at `now`; returns how many objects.
    pub(super) async fn delete_due(&self, now: Millis) -> u64 {
        let due = self.bin.lock().garbage.due(now);
        let mut deleted = 0;
        for batch in due.chunks(BATCH) {
            let mut keys = HashMap::new();
            for &(key, object, bytes) in batch {
                if let DeferredObject::Segment(id) = key
                    && !self.engine.lock().is_unused(id)
                {
                    self.bin.lock().garbage.postpone(key, now + IN_USE);
                } else {
                    keys.insert(object.key(), (key, bytes));
                }
            }
            if keys.is_empty() {
                continue;
            }
            let patience = Patience::serving(tokio::time::Instant::now() + TRIED);
            let names: Vec<String> = keys.keys().cloned().collect();
            let left = self.store.delete_all(Cause::Gc, &names, patience).await;
            let mut bin = self.bin.lock();
            for name in &left {
                let (key, _) = keys.remove(name).expect("it is one of those asked for");
                bin.garbage.postpone(key, now + AGAIN);
            }
            if !left.is_empty() {
                tracing::warn!(objects = left.len(), "dead objects could not be deleted; trying again later");
            }
            for (key, bytes) in keys.into_values() {
                bin.garbage.gone(key);
                bin.deleted_objects += 1;
                bin.deleted_bytes += bytes;
                deleted += 1;
            }
        }
        deleted
    }
}

async fn run(driver: Arc<Driver>) {
    loop {
        let due = {
            let mut bin = driver.bin.lock();
            let due = bin.next_due();
            bin.deleting = due.is_some();
            due
        };
        let Some(due) = due else { return };
        tokio::time::sleep_until(driver.instant(due)).await;
        if driver.failure().is_some() {
            return;
        }
        let now = driver.now();
        let deleted = driver.delete_due(now).await;
        driver.retire_manifests(now).await;
        if deleted > 0 {
            tracing::debug!(objects = deleted, "dead objects deleted");
            driver.tell_collected();
        }
    }
}
