//! A disk that is claimed to be replaced as a whole: import, rebuild.
//!
//! Claim and fence as for serving; then one checkpoint, and CLOSED. A crash in between leaves the disk as it was, and
//! orphans.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use nbdgate_api::{Error, Kind};

use crate::{
    Capability, Fencing, OpenOptions,
    checkpoint::{self, Checkpoint, CheckpointSpec, PackObject, Position, RootState},
    format::{CheckpointNo, Manifest, RootLocator, VolumeId, manifest::State},
    map::{PagedMap, SegmentTable},
    observer::Cause,
    ownership::{
        claim::{Claim, Claimant},
        host::host_name,
        journal::Given,
    },
    probe::Probing,
    store::{Patience, Placed, Store},
};

/// Packs put at once.
const PARALLEL: usize = 4;

/// The state that the disk is to have.
#[derive(Debug)]
pub(crate) struct Replacement {
    /// What the checkpoint builds on.
    pub(crate) root: RootState,
    pub(crate) map: PagedMap,
    pub(crate) segments: SegmentTable,
    /// Its checkpoint's number.
    pub(crate) checkpoint: CheckpointNo,
    /// How far in the log it reaches.
    pub(crate) position: Position,
}

/// Takes the disk, and closes the log of its last writer.
///
/// # Errors
/// Somebody else holds it, it was not closed and nobody confirmed, or the store does not keep two writers apart.
pub(crate) async fn claim(
    store: &Arc<Store>,
    volume: VolumeId,
    options: &OpenOptions,
    patience: Patience,
) -> Result<Claim, Error> {
    check_store(store, volume, options, patience).await?;
    let host = host_name(options.host.as_deref());
    let (on_unclean, steal) = (options.on_unclean, options.steal);
    let journal = Given { journal: None, abandon: options.abandon_journal, at_rest: true };
    let claimant = Claimant { store, volume, host: &host, on_unclean, steal, journal, patience };
    let claim = claimant.claim(claimant.look().await?).await?;
    claim.outlast_lease(store).await;
    Ok(claim)
}

/// Refuses a store that does not keep two writers apart, unless it was asked for by name.
pub(crate) async fn check_store(
    store: &Arc<Store>,
    volume: VolumeId,
    options: &OpenOptions,
    patience: Patience,
) -> Result<(), Error> {
    let probing = Probing { store, volume, rounds: options.tuning.probe, patience };
    let capability = probing.probe().await?.capability;
    if capability == Capability::Advisory && options.fencing == Fencing::Require {
        let text = format!(
            "{} ignores put-if-absent: use `fencing=advisory` (`--fencing advisory` of `disk` commands) if you make sure \
             yourself that nobody else writes the disk",
            store.label()
        );
        return Err(Error::new(Kind::NotSupported, text));
    }
    Ok(())
}

/// Gives a claimed disk back as it was.
///
/// # Errors
/// Somebody else took the disk, or the store does not answer.
pub(crate) async fn release(claim: &mut Claim, patience: Patience) -> Result<(), Error> {
    let manifest = claim.chain.manifest.clone();
    let owner = manifest.owner.without_journal();
    let next = Manifest { state: State::Closed, sealed: claim.logs.clone(), open: None, owner, ..manifest };
    let published = claim.chain.publish(next, patience.renewed()).await;
    published.map_err(|error| error.into_error("giving the disk back"))
}

/// Writes the checkpoint of `replacement`, and publishes the disk as closed with it.
///
/// # Errors
/// Somebody else took the disk, or the store does not answer.
pub(crate) async fn publish(
    store: &Arc<Store>,
    volume: VolumeId,
    claim: &mut Claim,
    mut replacement: Replacement,
    patience: Patience,
) -> Result<RootLocator, Error> {
    let frozen = checkpoint::freeze(&replacement.root, &mut replacement.map, &mut replacement.segments);
    let spec = CheckpointSpec {
        volume,
        writer: claim.writer,
        first_pack: 1,
        checkpoint: replacement.checkpoint,
        position: replacement.position,
        deferred: replacement.root.deferred().to_vec(),
        sealing: store.sealing(),
    };
    let root = replacement.root;
    let encoding = tokio::task::spawn_blocking(move || checkpoint::encode(&root, &spec, &frozen));
    let written: Checkpoint =
        encoding.await.map_err(|error| Error::new(Kind::Io, "encoding a checkpoint failed").with_source(error))?;
    let puts = stream::iter(written.packs).map(|pack| put_pack(store, pack, patience)).buffer_unordered(PARALLEL);
    puts.try_collect::<()>().await?;
    let manifest = claim.chain.manifest.clone();
    let next = Manifest {
        state: State::Closed,
        root: Some(written.locator),
        sealed: Vec::new(),
        open: None,
        owner: manifest.owner.without_journal(),
        ..manifest
    };
    let published = claim.chain.publish(next, patience.renewed()).await;
    published.map_err(|error| error.into_error("publishing the disk"))?;
    Ok(written.locator)
}

async fn put_pack(store: &Store, pack: PackObject, patience: Patience) -> Result<(), Error> {
    put(store, Cause::Pack, &pack.name.key(""), pack.payload, patience).await
}

/// Puts an object that only this writer can name.
pub(crate) async fn put(
    store: &Store,
    cause: Cause,
    key: &str,
    payload: Vec<Bytes>,
    patience: Patience,
) -> Result<(), Error> {
    let tried = || format!("storing {}", store.name_of(key));
    match store.place(cause, key, &payload.into_iter().collect(), patience.renewed()).await {
        Ok(Placed::Mine) => Ok(()),
        Ok(Placed::Other(_)) => Err(Error::new(Kind::Io, format!("{}: something else stands there", tried()))),
        Err(error) => Err(error.tell(&tried())),
    }
}
