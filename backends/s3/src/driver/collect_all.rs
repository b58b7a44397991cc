//! A full pass over a disk that nobody else uses: collect, checkpoint, delete, sweep.

use std::sync::Arc;

use nbdgate_api::Error;

use super::{Driver, checkpoint, collect};
use crate::{
    Progress,
    engine::Event,
    format::manifest::State,
    gc::{offline::GcReport, select::Ask},
};

/// Passes end by themselves, because each leaves fewer segments with garbage; never more than so many.
const PASSES: u32 = 64;

impl Driver {
    /// Collects until nothing is worth it, and deletes at once. The rules' `enabled` is off, so nothing else does.
    pub(crate) async fn collect_all(self: &Arc<Self>, progress: &dyn Progress) -> Result<GcReport, Error> {
        self.publish_dead().await?;
        let mut moved_bytes = 0;
        for _ in 0..PASSES {
            let before = moved_bytes;
            loop {
                let round = collect::round(self, Ask { active: true, idle: true }, progress).await;
                moved_bytes += round.moved_bytes;
                if !round.more {
                    break;
                }
            }
            if moved_bytes == before {
                break;
            }
            // What was moved may be merged again once it is under a checkpoint.
            self.publish_dead().await?;
        }
        let now = self.now();
        self.delete_due(now).await;
        self.publish_dead().await?;
        let now = self.now();
        self.delete_due(now).await;
        self.retire_manifests(now).await;
        let swept = self.sweep().await?;
        let bin = self.bin.lock();
        Ok(GcReport {
            moved_bytes,
            deleted_objects: bin.deleted_objects - swept.deleted,
            deleted_bytes: bin.deleted_bytes,
            orphans: swept.orphans,
            orphan_bytes: swept.orphan_bytes,
            orphans_deleted: swept.deleted,
            orphans_young: swept.young,
            foreign: swept.foreign,
            unreadable: bin.unreadable,
            stored_blocks: bin.stock.blocks,
            live_blocks: bin.stock.live,
            pinned_bytes: bin.stock.pinned_bytes,
            held: bin.garbage.held(),
        })
    }

    /// Writes a checkpoint if the published one does not say what is dead or in use now.
    async fn publish_dead(self: &Arc<Self>) -> Result<(), Error> {
        let mut ownership = self.ownership.lock().await;
        let Some(ownership) = ownership.as_mut() else { return Ok(()) };
        let changed = {
            let mut engine = self.engine.lock();
            let committed = engine.committed();
            let bin = self.bin.lock();
            committed.segments_since() > 0 || bin.garbage.differs(&committed.segments)
        };
        if !changed {
            return Ok(());
        }
        let written = checkpoint::write(self, ownership, State::Open, |_| {}).await;
        written.map_err(|error| error.into_error("writing a checkpoint"))?;
        self.event(Event::Checkpointed);
        Ok(())
    }
}
