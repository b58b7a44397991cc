//! Writing checkpoints: a picture of the committed state, its packs, and the manifest that names it (§7).
//!
//! The picture is taken under the engine's lock and costs a pointer per changed page; everything else
//! happens while the disk is written. What the published root calls dead is handed to `delete`.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use nbdgate_api::{Error, Kind};

use super::{Driver, Ownership};
use crate::{
    checkpoint::{self, Checkpoint, CheckpointSpec, Frozen, PackObject, Position, RootState},
    engine::Event,
    format::{
        CheckpointNo, Manifest, Seq,
        manifest::{OpenLog, State},
    },
    gc::garbage::Corpse,
    observer::Cause,
    ownership::chain::NotPublished,
    store::{Patience, Placed},
};

/// Pictures below so many pages are encoded where they are.
const INLINE_PAGES: usize = 32;

/// Packs put at once.
const PARALLEL: usize = 4;

/// What the next checkpoint builds on.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    pub(super) root: RootState,
    next_pack: u64,
    /// The newest snapshot's. Numbers go on behind it also when a rollback made an older root the disk's: who needs a dead
    /// object is told by numbers that only grow.
    newest_snapshot: CheckpointNo,
}

impl Checkpoints {
    /// On top of what was recovered; the numbers of packs begin anew with each writer.
    pub(crate) fn new(root: RootState) -> Self {
        Self { root, next_pack: 1, newest_snapshot: CheckpointNo(0) }
    }

    /// The root it builds on.
    pub(super) fn root(&self) -> &RootState {
        &self.root
    }

    /// The number of the next checkpoint.
    fn next(&self) -> CheckpointNo {
        CheckpointNo(self.number().max(self.newest_snapshot).0 + 1)
    }

    /// The checkpoint it builds on.
    pub(crate) fn number(&self) -> CheckpointNo {
        self.root.checkpoint()
    }
}

/// A checkpoint of an open disk.
pub(super) async fn run(driver: Arc<Driver>) {
    let mut ownership = driver.ownership.lock().await;
    let Some(ownership) = ownership.as_mut() else { return };
    let event = match write(&driver, ownership, State::Open, |_| {}).await {
        Ok(()) => {
            driver.schedule_deletes();
            Event::Checkpointed
        }
        Err(NotPublished::Lost(error)) => Event::Lost(error),
        Err(NotPublished::Failed(error)) => {
            tracing::warn!(%error, "a checkpoint could not be written; trying again later");
            Event::CheckpointFailed
        }
    };
    driver.event(event);
}

/// Publishes a change of the manifest, with a checkpoint if the committed state is ahead of the last one.
pub(super) async fn publish(
    driver: &Driver,
    ownership: &mut Ownership,
    edit: impl FnOnce(&mut Manifest),
) -> Result<(), NotPublished> {
    if ownership.chain.manifest.root.is_none() || driver.engine.lock().committed().is_ahead() {
        return write(driver, ownership, State::Open, edit).await;
    }
    let mut next = ownership.chain.manifest.clone();
    edit(&mut next);
    ownership.chain.publish(next, Patience::endless()).await
}

/// Writes a checkpoint and the manifest that names it, in `state` and with what `edit` changes in it.
pub(super) async fn write(
    driver: &Driver,
    ownership: &mut Ownership,
    state: State,
    edit: impl FnOnce(&mut Manifest),
) -> Result<(), NotPublished> {
    let Ownership { chain, checkpoints } = ownership;
    let snapshots = chain.manifest.snapshots.iter().map(|snapshot| snapshot.root.checkpoint);
    checkpoints.newest_snapshot = snapshots.max().unwrap_or(CheckpointNo(0));
    let picture = take_picture(driver, checkpoints);
    let written = encode_and_put(driver, chain.manifest.owner.writer, checkpoints, &picture).await;
    let written = match written {
        Ok(written) => written,
        Err(error) => {
            give_back(driver, &picture);
            return Err(error);
        }
    };
    let open = (state == State::Open)
        .then_some(OpenLog { writer: chain.manifest.owner.writer, first: Seq(picture.position.seq.0 + 1) });
    let manifest = chain.manifest.clone();
    let owner = if state == State::Closed { manifest.owner.without_journal() } else { manifest.owner.clone() };
    let mut next = Manifest { state, root: Some(written.locator), sealed: Vec::new(), open, owner, ..manifest };
    driver.put_attach_profile(&mut next);
    edit(&mut next);
    let published = chain.publish(next, Patience::endless()).await;
    if published.is_err() {
        give_back(driver, &picture);
        return published;
    }
    checkpoints.root = written.root;
    driver.engine.lock().committed().checkpoint = checkpoints.number();
    driver.published(ownership, &picture.corpses);
    Ok(())
}

struct Picture {
    frozen: Arc<Frozen>,
    position: Position,
    /// Segments that the picture shows without live blocks.
    corpses: Vec<Corpse>,
}

fn take_picture(driver: &Driver, checkpoints: &mut Checkpoints) -> Picture {
    let mut engine = driver.engine.lock();
    let next = checkpoints.next();
    let corpses = driver.clear_tables(&mut engine, &mut checkpoints.root, next);
    let committed = engine.committed();
    let frozen = checkpoint::freeze(&checkpoints.root, &mut committed.map, &mut committed.segments);
    let last = committed.position();
    let position = match last.name {
        Some(name) => Position { epoch: name.writer.epoch, seq: Seq(name.number), wseq: last.wseq },
        None => checkpoints.root.position(),
    };
    committed.picture_taken();
    Picture { frozen: Arc::new(frozen), position, corpses }
}

/// What was in the picture counts as changed again.
fn give_back(driver: &Driver, picture: &Picture) {
    let mut engine = driver.engine.lock();
    let committed = engine.committed();
    picture.frozen.thaw(&mut committed.map, &mut committed.segments);
}

async fn encode_and_put(
    driver: &Driver,
    writer: crate::format::Writer,
    checkpoints: &mut Checkpoints,
    picture: &Picture,
) -> Result<Checkpoint, NotPublished> {
    let spec = CheckpointSpec {
        volume: driver.volume,
        writer,
        first_pack: checkpoints.next_pack,
        checkpoint: checkpoints.next(),
        position: picture.position,
        deferred: driver.bin.lock().garbage.deferred(&picture.corpses),
        sealing: driver.store.sealing(),
    };
    let written = if picture.frozen.page_count() < INLINE_PAGES {
        checkpoint::encode(&checkpoints.root, &spec, &picture.frozen)
    } else {
        let (root, frozen) = (checkpoints.root.clone(), Arc::clone(&picture.frozen));
        let encoding = driver.runtime.spawn_blocking(move || checkpoint::encode(&root, &spec, &frozen));
        let failed = |error| Error::new(Kind::Io, "encoding a checkpoint failed").with_source(error);
        encoding.await.map_err(|error| NotPublished::Lost(failed(error)))?
    };
    // The numbers are used up whatever happens to the packs.
    checkpoints.next_pack += written.packs.len() as u64;
    let packs: Vec<PackObject> = written.packs.clone();
    let puts = stream::iter(packs).map(|pack| put(driver, pack)).buffer_unordered(PARALLEL);
    puts.try_collect::<()>().await?;
    Ok(written)
}

async fn put(driver: &Driver, pack: PackObject) -> Result<(), NotPublished> {
    let key = pack.name.key("");
    let payload = pack.payload.into_iter().collect();
    match driver.store.place(Cause::Pack, &key, &payload, Patience::endless()).await {
        Ok(Placed::Mine) => Ok(()),
        Ok(Placed::Other(_)) => {
            let text = format!("{} holds what this gateway did not write", driver.store.name_of(&key));
            Err(NotPublished::Lost(Error::new(Kind::Io, text)))
        }
        Err(error) => Err(NotPublished::Failed(error)),
    }
}
