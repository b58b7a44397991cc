//! Live blocks as new segments, and the map told of them.

use std::sync::{Arc, atomic::Ordering};

use nbdgate_api::{Error, Kind};

use super::super::Driver;
use super::read::Moving;
use crate::{
    admin::unix_ms,
    engine::{Arrival, Event, Move},
    format::{BLOCK_SHIFT, BLOCK_SIZE, Codec, Wseq},
    map::{SegmentKind, SegmentName},
    observer::Cause,
    segment_builder::{self, BuiltSegment, Content, PendingExtent, SegmentSpec},
    store::{Patience, Placed},
};

/// Moves told to the map under one lock.
const SLICE: usize = 1024;

impl Driver {
    /// Stores blocks in the order of the disk and installs them; returns how many bytes were stored and installed.
    /// `wseq` is the last mutation that was committed when the first of them was looked up.
    pub(super) async fn write_moved(self: &Arc<Self>, mut blocks: Vec<Moving>, wseq: Wseq) -> u64 {
        blocks.sort_unstable_by_key(|moving| moving.run.lba);
        let mut moved = 0;
        while !blocks.is_empty() && self.calm().await {
            let rest = blocks.split_off(self.fits(&blocks));
            let batch = std::mem::replace(&mut blocks, rest);
            let Some(bytes) = self.write_one(batch, wseq).await else { return moved };
            moved += bytes;
            self.bin.lock().moved_bytes += bytes;
        }
        moved
    }

    /// How many of the first blocks make one segment.
    fn fits(&self, blocks: &[Moving]) -> usize {
        let room = u64::from(self.gc.segment_target) * self.bin.lock().ratio / 256;
        let mut bytes = 0;
        let full = blocks.iter().position(|moving| {
            bytes += moving.data.bytes().len() as u64;
            bytes > room
        });
        full.unwrap_or(blocks.len()).max(1)
    }

    /// Builds, stores and installs one segment. `None` if that was not possible: nothing refers to it then.
    async fn write_one(self: &Arc<Self>, batch: Vec<Moving>, wseq: Wseq) -> Option<u64> {
        let number = self.next_moved.fetch_add(1, Ordering::Relaxed);
        let writer = self.writer;
        let name = SegmentName { kind: SegmentKind::Moved, owner: 0, writer, number };
        let spec = SegmentSpec {
            volume: self.volume,
            name,
            first_wseq: Wseq(0),
            last_wseq: wseq,
            prev_prelude_crc: 0,
            unix_ms: unix_ms(),
            frame_blocks: self.options.frame_max >> BLOCK_SHIFT,
            codec: Codec::Zstd,
        };
        let moves = places(&batch);
        let extents: Vec<PendingExtent> = batch.into_iter().map(extent).collect();
        let seal = self.store.sealing().fresh();
        let building = self.runtime.spawn_blocking(move || segment_builder::build(&spec, seal, &extents));
        let Ok(built) = building.await else {
            tracing::error!("building a segment of moved data failed; its blocks stay where they are");
            return None;
        };
        if !built.damaged.is_empty() {
            tracing::error!(blocks = built.damaged.len(), "moved data was damaged in memory; it stays where it is");
            return None;
        }
        self.learn_ratio(&built);
        self.store_moved(&built).await?;
        self.install(name, &built, &moves);
        Some(u64::from(built.lblocks()) * BLOCK_SIZE as u64)
    }

    fn learn_ratio(&self, built: &BuiltSegment) {
        let plain = u64::from(built.lblocks()) * BLOCK_SIZE as u64;
        self.bin.lock().ratio = (plain * 256 / built.prelude.body_len.max(1)).clamp(256, 1024);
    }

    async fn store_moved(self: &Arc<Self>, built: &BuiltSegment) -> Option<()> {
        let key = built.name.key("", self.volume);
        let payload = built.payload.iter().cloned().collect();
        match self.store.place(Cause::Gc, &key, &payload, Patience::endless()).await {
            Ok(Placed::Mine) => Some(()),
            Ok(Placed::Other(_)) => {
                let text = format!("{} holds what this gateway did not write", self.store.name_of(&key));
                self.event(Event::Lost(Error::new(Kind::Io, text)));
                None
            }
            Err(error) => {
                tracing::warn!(%error, "a segment of moved data was not stored; its blocks stay where they are");
                None
            }
        }
    }

    /// Tells the map, a slice at a time so that requests come in between.
    fn install(self: &Arc<Self>, name: SegmentName, built: &BuiltSegment, moves: &[Move]) {
        let index = Arc::new(built.index.clone());
        let parts = moves.chunks(SLICE).count();
        for (at, part) in (1..).zip(moves.chunks(SLICE)) {
            let (index, object_len) = (Arc::clone(&index), built.object_len());
            let arrival = Arrival { name, index, object_len, moves: part.to_vec(), last: at == parts };
            self.event(Event::Arrived(Box::new(arrival)));
        }
    }
}

/// Where each run of blocks comes to lie: the segment holds them one behind the other.
fn places(batch: &[Moving]) -> Vec<Move> {
    let mut lblk = 0;
    let place = |moving: &Moving| {
        let Moving { run, .. } = moving;
        let moved = Move { lba: run.lba, nblocks: run.nblocks, from: run.address, lblk };
        lblk += run.nblocks;
        moved
    };
    batch.iter().map(place).collect()
}

fn extent(moving: Moving) -> PendingExtent {
    PendingExtent { lba: moving.run.lba, content: Content::Data(moving.data) }
}
