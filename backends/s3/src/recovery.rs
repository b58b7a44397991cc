//! Rebuilding the committed state from the store (OBJECT-LOG §7): the newest checkpoint, then the segments that
//! are not under it, in the order of their logs.
//!
//! Every step is checked: epoch and nonce by name, the chain of preludes, the continuity of mutations, the bounds
//! of the disk. What does not fit stops the open with the object's name; nothing is ever guessed.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use nbdgate_api::{Error, Kind};

use crate::{
    checkpoint::{Fetch, KnownPages, Loaded, Loader, Recount, RootState},
    driver::{Checkpoints, snapshots_of},
    engine::{Committed, SegmentUse, log_segment},
    format::{
        BlockRange, CheckpointNo, FormatError, Head, Manifest, Object, ObjectName, RootLocator, SegmentMeta, Seq,
        VolumeId, Writer, Wseq, ZeroRecord, manifest::ClosedLog,
    },
    gc::garbage::Garbage,
    head::Heads,
    map::{PagedMap, SegmentTable},
    observer::Cause,
    store::{Patience, Store, StoreError},
};

/// Heads of segments read at once.
const PARALLEL: usize = 64;

/// Ranges of packs read at once.
const PACKS_PARALLEL: usize = 16;

/// A disk as it was found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) committed: Committed,
    /// The slot behind the last one that is under the checkpoint.
    pub(crate) next: Option<Seq>,
    /// What the next checkpoint builds on.
    pub(crate) checkpoints: Checkpoints,
    /// What the checkpoint calls dead.
    pub(crate) garbage: Garbage,
}

/// Reads the state of a disk.
#[derive(Debug)]
pub(crate) struct Replay<'a> {
    pub(crate) store: &'a Store,
    pub(crate) volume: VolumeId,
    pub(crate) patience: Patience,
}

impl Replay<'_> {
    /// The state that `manifest` and the logs behind its checkpoint describe.
    pub(crate) async fn recover(&self, manifest: &Manifest, logs: &[ClosedLog]) -> Result<Recovered, Error> {
        let Some(locator) = manifest.root else {
            let (map, segments) = (PagedMap::new(manifest.blocks), SegmentTable::new());
            let mut committed = Committed::new(self.volumes(manifest), map, segments, CheckpointNo(0), Wseq(0));
            self.logs(&mut committed, logs).await?;
            let (checkpoints, garbage) = (Checkpoints::new(RootState::empty()), Garbage::new(self.volume));
            return Ok(Recovered { committed, next: None, checkpoints, garbage });
        };
        let Loaded { root, mut map, segments, recounts } = self.checkpoint(manifest, locator).await?;
        for Recount { segment, recorded, counted } in recounts {
            tracing::warn!(segment = segment.0, recorded, counted, "a counter of live blocks was corrected");
        }
        if map.blocks() > manifest.blocks {
            let text = format!("the checkpoint {} is larger than the disk", self.store.name_of(&locator.pack.key("")));
            return Err(Error::new(Kind::Io, text));
        }
        map.grow(manifest.blocks);
        let position = root.position();
        // Before the logs: what dies by them is still named by the checkpoint.
        let garbage = Garbage::recovered(self.volume, &root, &segments, snapshots_of(manifest));
        let mut committed = Committed::new(self.volumes(manifest), map, segments, root.checkpoint(), position.wseq);
        self.logs(&mut committed, logs).await?;
        let next = Some(Seq(position.seq.0 + 1));
        Ok(Recovered { committed, next, checkpoints: Checkpoints::new(root), garbage })
    }

    /// What `owner` counts in the tables of this volume.
    pub(crate) fn volumes(&self, manifest: &Manifest) -> Vec<VolumeId> {
        let ancestors = manifest.lineage.iter().map(|parent| parent.volume);
        std::iter::once(self.volume).chain(ancestors).collect()
    }

    /// Reads a checkpoint; once more from the start if bytes were bad.
    pub(crate) async fn checkpoint(&self, manifest: &Manifest, locator: RootLocator) -> Result<Loaded, Error> {
        self.checkpoint_beside(manifest, locator, KnownPages::default()).await
    }

    /// The same, where some of its pages may be at hand.
    pub(crate) async fn checkpoint_beside(
        &self,
        manifest: &Manifest,
        locator: RootLocator,
        known: KnownPages,
    ) -> Result<Loaded, Error> {
        let mut loaded = self.load(manifest, locator, known).await?;
        if let Err(error) = &loaded {
            tracing::warn!(%error, "a checkpoint is bad; reading it again");
            loaded = self.load(manifest, locator, KnownPages::default()).await?;
        }
        let root = self.store.name_of(&locator.pack.key(""));
        loaded.map_err(|error| {
            Error::new(
                Kind::Io,
                format!("the checkpoint {root} is damaged (`disk fsck` tells more, `disk rebuild` uses an older one)"),
            )
            .with_source(error)
        })
    }

    async fn load(
        &self,
        manifest: &Manifest,
        locator: RootLocator,
        known: KnownPages,
    ) -> Result<Result<Loaded, FormatError>, Error> {
        let lineage: Vec<VolumeId> = manifest.lineage.iter().map(|parent| parent.volume).collect();
        match Loader::new(self.volume, &lineage, locator, self.store.sealing()) {
            Ok(loader) => Ok(self.drive(loader.with_known(known)).await?.and_then(Loader::finish)),
            Err(error) => Ok(Err(error)),
        }
    }

    /// The tables of a checkpoint, without its map: which segments and packs it names.
    pub(crate) async fn tables(
        &self,
        manifest: &Manifest,
        locator: RootLocator,
    ) -> Result<(RootState, SegmentTable), Error> {
        let lineage: Vec<VolumeId> = manifest.lineage.iter().map(|parent| parent.volume).collect();
        let damaged = |error| {
            let root = self.store.name_of(&locator.pack.key(""));
            Error::new(Kind::Io, format!("the checkpoint {root} is damaged")).with_source(error)
        };
        let loader = || Loader::tables(self.volume, &lineage, locator, self.store.sealing()).map_err(damaged);
        let mut loaded = self.drive(loader()?).await?;
        if let Err(error) = &loaded {
            tracing::warn!(%error, "the tables of a checkpoint are bad; reading them again");
            loaded = self.drive(loader()?).await?;
        }
        loaded.map(Loader::finish_tables).map_err(damaged)
    }

    async fn drive(&self, mut loader: Loader) -> Result<Result<Loader, FormatError>, Error> {
        while !loader.is_done() {
            let fetches = loader.take_fetches();
            let gets = stream::iter(fetches).map(|fetch| async move { (self.pack(&fetch).await, fetch) });
            let mut gets = gets.buffer_unordered(PACKS_PARALLEL);
            while let Some((bytes, fetch)) = gets.next().await {
                if let Err(error) = loader.supply(&fetch, &bytes?) {
                    return Ok(Err(error));
                }
            }
        }
        Ok(Ok(loader))
    }

    async fn pack(&self, fetch: &Fetch) -> Result<Bytes, Error> {
        let key = fetch.pack.key("");
        self.store.get(Cause::Recovery, &key, Some(fetch.range.clone()), self.patience.renewed()).await.map_err(
            |error| {
                let object = self.store.name_of(&key);
                match error {
                    StoreError::NotFound(_) => Error::new(Kind::Io, format!("the map pack {object} is missing")),
                    error => error.tell(&format!("reading the map pack {object}")),
                }
            },
        )
    }

    /// Applies the logs in order.
    async fn logs(&self, committed: &mut Committed, logs: &[ClosedLog]) -> Result<(), Error> {
        for log in logs {
            self.log(committed, log).await?;
        }
        Ok(())
    }

    async fn log(&self, committed: &mut Committed, log: &ClosedLog) -> Result<(), Error> {
        let heads = Heads { store: self.store, cause: Cause::Recovery, patience: self.patience };
        let sealing = &self.store.sealing();
        let slots = stream::iter(log.first.0..=log.last.0).map(|slot| {
            let object = Object { volume: self.volume, name: ObjectName::Log { writer: log.writer, seq: Seq(slot) } };
            async move {
                (
                    Seq(slot),
                    heads
                        .read(object, |head| SegmentMeta::parse_object(object.name, object.volume, head, sealing))
                        .await,
                )
            }
        });
        let mut slots = slots.buffered(PARALLEL);
        // The predecessor of the first slot may be under the checkpoint and is not read.
        let mut prev_crc = None;
        while let Some((seq, segment)) = slots.next().await {
            let (head, meta) = segment?;
            let fits = fits(committed, &meta, prev_crc);
            fits.map_err(|why| self.misfit(log, seq, &why))?;
            prev_crc = Some(head.prelude.crc());
            install(committed, log.writer, seq, &head, &meta);
        }
        Ok(())
    }

    fn misfit(&self, log: &ClosedLog, seq: Seq, why: &str) -> Error {
        let name = ObjectName::Log { writer: log.writer, seq };
        let object = self.store.name_of(&name.key("", self.volume));
        Error::new(Kind::Io, format!("the segment {object} does not continue the log: {why}"))
    }
}

/// Whether a segment continues the state.
pub(crate) fn fits(committed: &Committed, meta: &SegmentMeta, prev_crc: Option<u32>) -> Result<(), String> {
    if let Some(crc) = prev_crc
        && crc != meta.prev_prelude_crc
    {
        return Err(format!("it follows {:08x}, the segment before it is {crc:08x}", meta.prev_prelude_crc));
    }
    let last = committed.position().wseq;
    if meta.first_wseq.0 != last.0 + 1 {
        return Err(format!("it begins with mutation {}, the one before ended with {}", meta.first_wseq.0, last.0));
    }
    let blocks = committed.map.blocks();
    let ends =
        meta.data.iter().map(|record| record.range().end()).chain(meta.zero.iter().map(|record| record.range().end()));
    if let Some(end) = ends.max().filter(|end| end.0 > blocks) {
        return Err(format!("it reaches to block {} of a disk of {blocks}", end.0));
    }
    Ok(())
}

/// Adds a segment that fits.
pub(crate) fn install(committed: &mut Committed, writer: Writer, seq: Seq, head: &Head, meta: &SegmentMeta) {
    let zeros: Vec<BlockRange> = meta.zero.iter().map(ZeroRecord::range).collect();
    committed.install(
        0,
        &SegmentUse {
            name: log_segment(writer, seq),
            lblocks: meta.lblocks(),
            object_len: head.prelude.object_len(),
            meta_len: u64::from(head.prelude.meta_len),
            last_wseq: meta.last_wseq,
            layout: &meta.layout(),
            zeros: &zeros,
        },
    );
}
