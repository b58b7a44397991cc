//! An image into a disk.

use std::{pin::pin, sync::Arc};

use futures_util::TryStreamExt;
use nbdgate_api::{Error, Kind};

use super::{
    Source,
    packing::{Packing, Target},
    reading,
};
use crate::{
    CreateOptions, Location, OpenOptions, Progress, admin,
    checkpoint::RootState,
    format::{BLOCK_SHIFT, BLOCK_SIZE, CheckpointNo, Manifest, Wseq},
    inspect::{Inspect, store_for},
    keys::unlock::find_unlocked,
    map::PagedMap,
    observer::Cause,
    offline::{self, Replacement},
    ownership::{chain::Chain, claim::Claim},
    store::{Patience, Store, StoreError},
};

/// What an import did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportReport {
    /// Bytes of the disk.
    pub size: u64,
    /// Zeros behind the end of a source that is no multiple of 4096 bytes, in bytes.
    pub padded: u64,
    /// Bytes that are not a hole.
    pub data: u64,
    /// Bytes of the objects that hold them.
    pub stored: u64,
    /// Those objects.
    pub segments: u64,
}

/// Copies a source into a disk, which is made if it is not there; one that was ever written is refused. The size of a new disk
/// is that of the source, rounded up to 4096, unless `create` asks for more.
///
/// # Errors
/// The disk was written before, is too small or in use; the source cannot be read; the store does not answer. The disk is then
/// there and empty, and the import can be repeated.
pub async fn import(
    source: &Arc<dyn Source>,
    location: &Location,
    create: &CreateOptions,
    progress: &dyn Progress,
    options: &OpenOptions,
) -> Result<ImportReport, Error> {
    let block = BLOCK_SIZE as u64;
    let size = source.size();
    let rounded =
        size.checked_next_multiple_of(block).ok_or_else(|| Error::new(Kind::Invalid, "the source is too large"))?;
    let store = store_for(location, options, Cause::Transfer);
    let patience = Patience::asking(options.tuning.open_deadline);
    let missing = match &store {
        Ok(store) => is_missing(store, location, patience).await?,
        // The bucket may be a directory that is yet to be made.
        Err(_) => true,
    };
    if missing {
        admin::create(location, &CreateOptions { size: create.size.max(rounded), ..create.clone() }).await?;
    }
    let store = store_for(location, options, Cause::Transfer)?;
    let volume = find_unlocked(&store, location, options, patience).await?.volume;
    let before = Chain::newest(&store, volume, patience).await?.manifest;
    if before.blocks * block < rounded {
        let text = format!("{location} has {} bytes, the source {size}", before.blocks * block);
        return Err(Error::new(Kind::NoSpace, text));
    }
    let inspect = Inspect { store: Arc::clone(&store), volume, patience };
    let empty = Empty::of(&inspect, &before, location).await?;
    let mut claim = offline::claim(&store, volume, options, patience).await?;
    let imported = if claim.chain.manifest.root == before.root && claim.logs.is_empty() {
        fill(source, &inspect, &mut claim, empty, progress).await
    } else {
        Err(Error::new(Kind::Invalid, format!("{location} was written meanwhile: import into a new disk")))
    };
    let imported = match imported {
        Ok(imported) => imported,
        Err(error) => {
            // The error of the import is the one to tell.
            let _ = offline::release(&mut claim, patience).await;
            return Err(error);
        }
    };
    Ok(ImportReport { size: before.blocks * block, padded: rounded - size, ..imported })
}

/// A disk that was never written.
struct Empty {
    root: RootState,
    blocks: u64,
}

impl Empty {
    async fn of(inspect: &Inspect, manifest: &Manifest, location: &Location) -> Result<Self, Error> {
        let view = inspect.at_root(manifest, manifest.root, manifest.blocks).await?;
        let written = view.committed.position().wseq != Wseq(0) || !view.committed.segments.is_empty();
        if written || manifest.open.is_some() || !manifest.sealed.is_empty() || !manifest.snapshots.is_empty() {
            let text = format!("{location} was written before, or is in use: import into a new disk");
            return Err(Error::new(Kind::Invalid, text));
        }
        Ok(Self { root: view.root, blocks: manifest.blocks })
    }
}

async fn fill(
    source: &Arc<dyn Source>,
    inspect: &Inspect,
    claim: &mut Claim,
    empty: Empty,
    progress: &dyn Progress,
) -> Result<ImportReport, Error> {
    let checkpoint = CheckpointNo(empty.root.checkpoint().0 + 1);
    let target = Target {
        store: Arc::clone(&inspect.store),
        volume: inspect.volume,
        writer: claim.writer,
        frame_blocks: claim.chain.manifest.options.frame_max >> BLOCK_SHIFT,
        patience: inspect.patience,
    };
    let mut packing = Packing::new(target, PagedMap::new(empty.blocks), checkpoint);
    copy(source, &mut packing, progress).await?;
    let Packing { map, segments, plain_bytes, .. } = packing;
    let (stored, count) = (segments.stored_bytes(), segments.len() as u64);
    let position = empty.root.position();
    let replacement = Replacement { root: empty.root, map, segments, checkpoint, position };
    offline::publish(&inspect.store, inspect.volume, claim, replacement, inspect.patience).await?;
    Ok(ImportReport { size: 0, padded: 0, data: plain_bytes, stored, segments: count })
}

async fn copy(source: &Arc<dyn Source>, packing: &mut Packing, progress: &dyn Progress) -> Result<(), Error> {
    progress.total(source.size());
    let mut pieces = pin!(reading::pieces(source));
    let mut told = 0;
    while let Some(piece) = pieces.try_next().await? {
        for extent in piece.extents {
            packing.add(extent).await?;
        }
        let upto = piece.upto.min(source.size());
        progress.advance(upto - told);
        told = upto;
    }
    packing.finish().await?;
    progress.advance(source.size() - told);
    Ok(())
}

async fn is_missing(store: &Store, location: &Location, patience: Patience) -> Result<bool, Error> {
    let key = location.volume_name().key("");
    match store.get(Cause::Directory, &key, None, patience).await {
        Ok(_) => Ok(false),
        Err(StoreError::NotFound(_)) => Ok(true),
        Err(error) => Err(error.tell(&format!("looking for {location}"))),
    }
}
