//! Changes of a disk as a whole: rollback and resize (§8). The disk was opened for this, serves nobody, and is closed next.
//!
//! Each is one checkpoint and one manifest: before that manifest the disk is what it was. A change that could not be
//! published fails the disk, so that closing it does not publish it after all.

use std::{sync::Arc, time::Duration};

use nbdgate_api::Error;

use super::{Driver, Ownership, checkpoint, snapshot::read_only};
use crate::{
    checkpoint::{Discarded, Loaded, roll_back},
    engine::Event,
    format::{Manifest, manifest::State},
    ownership::chain::NotPublished,
    recovery::Replay,
    snapshot,
    store::Patience,
};

/// How long each request for the snapshot's tables is tried.
const LOAD_DEADLINE: Duration = Duration::from_mins(1);

impl Driver {
    /// Makes a snapshot the head of the disk; what came after it is given up.
    pub(crate) async fn roll_back(self: Arc<Self>, name: String) -> Result<Discarded, Error> {
        let driver = Arc::clone(&self);
        self.detached(async move {
            driver.cut().await?;
            let mut ownership = driver.ownership.lock().await;
            let ownership = ownership.as_mut().ok_or_else(read_only)?;
            let manifest = ownership.chain.manifest.clone();
            let snapshot = snapshot::find(&manifest, &name)?;
            let patience = Patience::asking(LOAD_DEADLINE);
            let replay = Replay { store: &driver.store, volume: driver.volume, patience };
            let mut target = replay.checkpoint(&manifest, snapshot.root).await?;
            target.map.grow(snapshot.blocks.max(target.map.blocks()));
            let discarded = {
                let mut engine = driver.engine.lock();
                let committed = engine.committed();
                let discarded = roll_back(&ownership.checkpoints.root, &committed.segments, &mut target);
                let Loaded { root, map, segments, .. } = target;
                driver.start_over(&root, &segments);
                ownership.checkpoints.root = root;
                committed.replace(map, segments);
                discarded
            };
            driver.publish_change(ownership, "rolling back", |next| next.blocks = snapshot.blocks).await?;
            Ok(discarded)
        })
        .await
    }

    /// Gives the disk another size; what lies behind a smaller one is given up.
    pub(crate) async fn resize(self: Arc<Self>, blocks: u64) -> Result<(), Error> {
        let driver = Arc::clone(&self);
        self.detached(async move {
            driver.cut().await?;
            let mut ownership = driver.ownership.lock().await;
            let ownership = ownership.as_mut().ok_or_else(read_only)?;
            driver.engine.lock().committed().resize(blocks);
            driver.publish_change(ownership, "resizing", |next| next.blocks = blocks).await
        })
        .await
    }

    async fn publish_change(
        self: &Arc<Self>,
        ownership: &mut Ownership,
        tried: &str,
        edit: impl FnOnce(&mut Manifest),
    ) -> Result<(), Error> {
        let written = checkpoint::write(self, ownership, State::Open, edit).await;
        written.map_err(|error: NotPublished| {
            let error = error.into_error(tried);
            self.event(Event::Lost(error.duplicate()));
            error
        })
    }
}
