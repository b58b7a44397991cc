//! Loading the picture that a dirty bitmap is compared with.

use std::{sync::Arc, time::Duration};

use nbdgate_api::{Error, Kind};

use super::Driver;
use crate::{
    changes::Picture,
    checkpoint::{KnownPages, Loaded},
    engine::Event,
    format::Manifest,
    recovery::Replay,
    store::Patience,
};

/// How long each request for the tables is tried.
const DEADLINE: Duration = Duration::from_mins(1);

pub(super) async fn load_base(driver: Arc<Driver>, bitmap: Arc<str>) {
    let result = load(&driver, &bitmap).await;
    if let Err(error) = &result {
        tracing::warn!(snapshot = &*bitmap, error = error.chain(), "what changed since a snapshot cannot be told");
    }
    driver.event(Event::Base(bitmap, result));
}

async fn load(driver: &Driver, bitmap: &str) -> Result<Picture, Error> {
    let replay = Replay { store: &driver.store, volume: driver.volume, patience: Patience::asking(DEADLINE) };
    let (manifest, known) = at_hand(driver, &replay).await?;
    let snapshot = manifest.snapshots.iter().find(|snapshot| snapshot.name == bitmap);
    let gone = || Error::new(Kind::NotSupported, format!("the snapshot {bitmap} is gone"));
    let snapshot = snapshot.ok_or_else(gone)?;
    let Loaded { mut map, segments, .. } = replay.checkpoint_beside(&manifest, snapshot.root, known).await?;
    map.grow(snapshot.blocks.max(map.blocks()));
    Ok(Picture { map, segments })
}

/// The manifest, and the pages of the disk as its checkpoint shows them: what a snapshot has in common with it is not
/// read again, nor kept twice.
async fn at_hand(driver: &Driver, replay: &Replay<'_>) -> Result<(Manifest, KnownPages), Error> {
    if let Some(manifest) = &driver.manifest {
        return Ok((manifest.clone(), KnownPages::default()));
    }
    // While this is held no checkpoint is on its way: a page that is clean is as the root shows it.
    let ownership = driver.ownership.lock().await;
    let ownership = ownership.as_ref().ok_or_else(|| Error::new(Kind::Shutdown, "the disk was closed"))?;
    let manifest = ownership.chain.manifest.clone();
    let volumes = replay.volumes(&manifest);
    let known = KnownPages::of(&ownership.checkpoints.root, &driver.engine.lock().committed().map, &volumes);
    Ok((manifest, known))
}
