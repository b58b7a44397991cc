//! What is live in a segment, and its bytes.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use nbdgate_api::{Error, Kind};

use super::super::Driver;
use crate::{
    Progress,
    checked::Checked,
    engine::Move,
    format::{
        BLOCK_SIZE, FormatError, Frame, Object, SegId, SegmentAddress, SegmentIndex, SegmentMeta, segment::LayoutRun,
    },
    gc::ranges,
    head::{Bad, Heads},
    map::{Run, SegmentEntry},
    observer::Cause,
    store::Patience,
};

/// Requests of a round at once: it stays behind what clients ask.
const PARALLEL: usize = 4;

/// Runs of a segment looked up under one lock.
const SLICE: usize = 1024;

/// A segment that is to be emptied.
pub(super) struct Source {
    id: SegId,
    index: Arc<SegmentIndex>,
    layout: Vec<LayoutRun>,
    /// Its live blocks, in the order of the segment.
    pub(super) live: Vec<Run>,
}

/// Live blocks with their content.
pub(super) struct Moving {
    pub(super) run: Run,
    pub(super) data: Checked,
}

impl Driver {
    /// Reads the heads of segments; those that cannot be read are left alone.
    pub(super) async fn open_sources(&self, segments: &[(SegId, SegmentEntry)]) -> Vec<Source> {
        let heads = Heads { store: &self.store, cause: Cause::Gc, patience: Patience::endless() };
        let objects: Vec<(SegId, Object)> = segments
            .iter()
            .map(|(id, entry)| (*id, Object { volume: self.volume, name: entry.name.object() }))
            .collect();
        let opened = stream::iter(objects).map(|(id, object)| self.open_source(heads, id, object));
        let opened: Vec<Option<Source>> = opened.buffered(PARALLEL).collect().await;
        opened.into_iter().flatten().collect()
    }

    async fn open_source(&self, heads: Heads<'_>, id: SegId, object: Object) -> Option<Source> {
        if !self.calm().await {
            return None;
        }
        let sealing = self.store.sealing();
        let parse = |head: &Bytes| {
            let (head, meta) = SegmentMeta::parse_object(object.name, object.volume, head, &sealing)?;
            Ok((SegmentIndex::new(object, &head, &meta), meta.layout()))
        };
        match heads.read(object, parse).await {
            Ok((index, layout)) => Some(Source { id, index: Arc::new(index), layout, live: Vec::new() }),
            Err(error) => {
                self.rest(id, &error);
                None
            }
        }
    }

    /// Finds the blocks of a segment that the map still refers to, range by range, a slice of them under each lock.
    pub(super) async fn find_live(&self, source: &mut Source) {
        for slice in source.layout.chunks(SLICE) {
            {
                let mut engine = self.engine.lock();
                let committed = engine.committed();
                for run in slice {
                    let from = SegmentAddress { segment: source.id, lblk: run.lblk };
                    let whole = Move { lba: run.lba, nblocks: run.nblocks, from, lblk: 0 };
                    source.live.extend(committed.still_there(&whole));
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Reads and verifies all that is live. A segment with anything that cannot be read is left out as a whole.
    /// `None` if the disk is closing or lost.
    pub(super) async fn read_live(&self, sources: &[Source], progress: &dyn Progress) -> Option<Vec<Moving>> {
        let mut all = Vec::new();
        for source in super::worth_reading(sources) {
            if !self.calm().await {
                return None;
            }
            match self.read_source(source).await {
                Ok(blocks) => {
                    let bytes: usize = blocks.iter().map(|moving| moving.data.bytes().len()).sum();
                    progress.advance(bytes as u64);
                    all.extend(blocks);
                }
                Err(error) => self.rest(source.id, &error),
            }
        }
        Some(all)
    }

    async fn read_source(&self, source: &Source) -> Result<Vec<Moving>, Error> {
        let runs = source.live.iter().map(|run| (run.address.lblk, run.nblocks));
        let disagree = |error| Error::new(Kind::Io, "the map and a segment disagree").with_source(error);
        let pieces = ranges::pieces(&source.index, runs).map_err(disagree)?;
        let gets = stream::iter(pieces).map(|(range, frames)| self.frames(&source.index, range, frames));
        let mut gets = gets.buffered(PARALLEL);
        let mut blocks = Vec::new();
        let mut next = 0;
        while let Some(frames) = gets.next().await {
            for (frame, plain) in frames? {
                cut(&source.live, &mut next, &frame, &plain, &mut blocks);
            }
        }
        Ok(blocks)
    }

    /// Reads a range and takes it apart; asks for a bad frame once more.
    async fn frames(
        &self,
        index: &SegmentIndex,
        range: Range<u64>,
        frames: Vec<Frame>,
    ) -> Result<Vec<(Frame, Bytes)>, Error> {
        let start = range.start;
        let bytes = self.get_for_gc(index, range).await?;
        let mut plain = Vec::with_capacity(frames.len());
        for frame in frames {
            let decoded = match decode(index, &frame, &bytes, start) {
                Ok(decoded) => decoded,
                Err(error) => {
                    tracing::warn!(%error, "a frame failed its check; asking again");
                    let bytes = self.get_for_gc(index, frame.stored.clone()).await?;
                    let again = decode(index, &frame, &bytes, frame.stored.start);
                    again.map_err(|error| Bad::Bytes(error).tell(&self.store, index.object()))?
                }
            };
            plain.push((frame, decoded));
        }
        Ok(plain)
    }

    async fn get_for_gc(&self, index: &SegmentIndex, range: Range<u64>) -> Result<Bytes, Error> {
        let key = index.object().key();
        let got = self.store.get(Cause::Gc, &key, Some(range), Patience::endless()).await;
        got.map_err(|error| Bad::Store(error).tell(&self.store, index.object()))
    }
}

fn decode(index: &SegmentIndex, frame: &Frame, bytes: &Bytes, start: u64) -> Result<Bytes, FormatError> {
    let at = |offset: u64| usize::try_from(offset - start).unwrap_or(usize::MAX).min(bytes.len());
    index.decode_frame(frame, &bytes.slice(at(frame.stored.start)..at(frame.stored.end)))
}

/// Takes the live blocks out of a frame. `next` is the first run that may reach into it; frames come in order.
fn cut(live: &[Run], next: &mut usize, frame: &Frame, plain: &Bytes, out: &mut Vec<Moving>) {
    let end = frame.lblk + frame.nblocks;
    while let Some(run) = live.get(*next) {
        let (first, last) = (run.address.lblk.max(frame.lblk), (run.address.lblk + run.nblocks).min(end));
        if first >= end {
            return;
        }
        let skip = first - run.address.lblk;
        let at = |block: u32| (block - frame.lblk) as usize * BLOCK_SIZE;
        let address = SegmentAddress { lblk: first, ..run.address };
        let part = Run { lba: run.lba.plus(u64::from(skip)), address, nblocks: last - first };
        out.push(Moving { run: part, data: Checked::new(plain.slice(at(first)..at(last))) });
        if run.address.lblk + run.nblocks > end {
            return;
        }
        *next += 1;
    }
}
