//! Extents into segments, several built and stored at once.

use std::sync::Arc;

use nbdgate_api::{Error, Kind};
use tokio::task::JoinSet;

use crate::{
    admin::unix_ms,
    format::{BLOCK_SIZE, CheckpointNo, Codec, Object, SegmentAddress, VolumeId, Writer, Wseq, segment::LayoutRun},
    map::{PagedMap, Run, SegmentEntry, SegmentKind, SegmentName, SegmentTable},
    observer::Cause,
    offline,
    segment_builder::{self, BuiltSegment, PendingExtent, SegmentSpec},
    store::{Patience, Store},
};

/// Plain bytes in a segment.
const SEGMENT: u64 = 32 << 20;

/// Segments built or on their way at once: bounds memory to so many times 64 MiB.
const PARALLEL: usize = 4;

/// A segment that is stored.
struct Stored {
    name: SegmentName,
    lblocks: u32,
    object_len: u64,
    layout: Vec<LayoutRun>,
}

/// Where segments go.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) store: Arc<Store>,
    pub(super) volume: VolumeId,
    pub(super) writer: Writer,
    pub(super) frame_blocks: u32,
    pub(super) patience: Patience,
}

/// Collects extents in ascending order, and keeps map and table of what is stored.
pub(super) struct Packing {
    target: Arc<Target>,
    open: Vec<PendingExtent>,
    open_bytes: u64,
    next_number: u64,
    on_their_way: JoinSet<Result<Stored, Error>>,
    pub(super) map: PagedMap,
    pub(super) segments: SegmentTable,
    birth: CheckpointNo,
    /// Plain bytes taken.
    pub(super) plain_bytes: u64,
}

impl Packing {
    pub(super) fn new(target: Target, map: PagedMap, birth: CheckpointNo) -> Self {
        Self {
            target: Arc::new(target),
            open: Vec::new(),
            open_bytes: 0,
            next_number: 1,
            on_their_way: JoinSet::new(),
            map,
            segments: SegmentTable::new(),
            birth,
            plain_bytes: 0,
        }
    }

    /// Takes an extent; waits while too many segments are on their way.
    pub(super) async fn add(&mut self, extent: PendingExtent) -> Result<(), Error> {
        let bytes = extent.range().nblocks * BLOCK_SIZE as u64;
        self.plain_bytes += bytes;
        self.open_bytes += bytes;
        self.open.push(extent);
        if self.open_bytes >= SEGMENT { self.cut().await } else { Ok(()) }
    }

    /// Stores the rest.
    pub(super) async fn finish(&mut self) -> Result<(), Error> {
        if !self.open.is_empty() {
            self.cut().await?;
        }
        while let Some(stored) = self.on_their_way.join_next().await {
            self.install(&landed(stored)?);
        }
        Ok(())
    }

    async fn cut(&mut self) -> Result<(), Error> {
        while self.on_their_way.len() >= PARALLEL
            && let Some(stored) = self.on_their_way.join_next().await
        {
            self.install(&landed(stored)?);
        }
        let extents = std::mem::take(&mut self.open);
        self.open_bytes = 0;
        let name =
            SegmentName { kind: SegmentKind::Moved, owner: 0, writer: self.target.writer, number: self.next_number };
        self.next_number += 1;
        let target = Arc::clone(&self.target);
        self.on_their_way.spawn(async move { target.store_segment(name, extents).await });
        Ok(())
    }

    fn install(&mut self, stored: &Stored) {
        let id = self.segments.insert(SegmentEntry {
            name: stored.name,
            lblocks: stored.lblocks,
            live: 0,
            stored_bytes: u32::try_from(stored.object_len).unwrap_or(u32::MAX),
            birth: self.birth,
        });
        for run in &stored.layout {
            let address = SegmentAddress { segment: id, lblk: run.lblk };
            let segments = &mut self.segments;
            self.map.update(Run { lba: run.lba, address, nblocks: run.nblocks }, |old| {
                segments.sub_live(old.address.segment, old.nblocks);
            });
            segments.add_live(id, run.nblocks);
        }
    }
}

fn landed(stored: Result<Result<Stored, Error>, tokio::task::JoinError>) -> Result<Stored, Error> {
    stored.map_err(|error| Error::new(Kind::Io, "storing a segment failed").with_source(error))?
}

impl Target {
    async fn store_segment(&self, name: SegmentName, extents: Vec<PendingExtent>) -> Result<Stored, Error> {
        let spec = SegmentSpec {
            volume: self.volume,
            name,
            first_wseq: Wseq(0),
            last_wseq: Wseq(0),
            prev_prelude_crc: 0,
            unix_ms: unix_ms(),
            frame_blocks: self.frame_blocks,
            codec: Codec::Zstd,
        };
        let seal = self.store.sealing().fresh();
        let building = tokio::task::spawn_blocking(move || segment_builder::build(&spec, seal, &extents));
        let built: BuiltSegment =
            building.await.map_err(|error| Error::new(Kind::Io, "building a segment failed").with_source(error))?;
        if let Some(lba) = built.damaged.first() {
            let text = format!("block {} changed in memory while it was imported: nothing was imported", lba.0);
            return Err(Error::new(Kind::Io, text));
        }
        let key = Object { volume: self.volume, name: built.name }.key();
        let stored = Stored { name, lblocks: built.lblocks(), object_len: built.object_len(), layout: built.layout };
        offline::put(&self.store, Cause::Transfer, &key, built.payload, self.patience).await?;
        Ok(stored)
    }
}
