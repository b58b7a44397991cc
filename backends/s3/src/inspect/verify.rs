//! Holding a segment against the map, and its frames against their checks.

use std::ops::Range;

use bytes::Bytes;
use nbdgate_api::Error;

use super::{
    Inspect,
    pace::Pace,
    view::{LiveRun, LiveSegment},
};
use crate::{
    format::{BlockRange, Frame, Object, SegmentIndex, SegmentMeta, object::HEAD_FETCH, segment::LayoutRun},
    head::Bad,
    observer::Cause,
    store::StoreError,
};

/// Bytes of frames fetched at once.
const FETCH: u64 = 4 << 20;

/// What is wrong with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// There is no such object.
    Missing,
    /// Its head fails its checks.
    Unreadable,
    /// It does not hold what the map says it does.
    Mismatch,
    /// Frames fail their checks.
    Frames,
}

/// Something wrong with a segment, and the blocks of the disk that it takes with it.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) damage: Damage,
    pub(crate) detail: String,
    pub(crate) blocks: Vec<BlockRange>,
}

/// What was looked at, and what was wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verified {
    pub(crate) findings: Vec<Finding>,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
}

impl Verified {
    fn all_of(segment: &LiveSegment, damage: Damage, detail: String) -> Self {
        let blocks = segment.runs.iter().map(LiveRun::range).collect();
        Self { findings: vec![Finding { damage, detail, blocks }], ..Self::default() }
    }
}

impl Inspect {
    /// Looks at a segment: that it is there, holds what the map says, and, with `data`, that every frame of it is sound.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn verify(&self, segment: &LiveSegment, data: bool, pace: &Pace) -> Result<Verified, Error> {
        let object = segment.object;
        pace.spend(HEAD_FETCH.min(segment.stored_bytes)).await;
        let sealing = self.store.sealing();
        let parse = |head: &Bytes| {
            let (head, meta) = SegmentMeta::parse_object(object.name, object.volume, head, &sealing)?;
            Ok((SegmentIndex::new(object, &head, &meta), meta.layout()))
        };
        let (index, layout) = match self.heads().examine(object, parse).await {
            Ok(read) => read,
            Err(Bad::Store(StoreError::NotFound(_))) => {
                return Ok(Verified::all_of(segment, Damage::Missing, "the object is missing".to_owned()));
            }
            Err(Bad::Bytes(error)) => {
                return Ok(Verified::all_of(segment, Damage::Unreadable, error.what().to_owned()));
            }
            Err(bad @ Bad::Store(_)) => return Err(bad.tell(&self.store, object)),
        };
        let mut verified = Verified::default();
        verified.findings.extend(mismatch(segment, &index, &layout));
        if data {
            self.frames(segment, &index, pace, &mut verified).await?;
        }
        Ok(verified)
    }

    async fn frames(
        &self,
        segment: &LiveSegment,
        index: &SegmentIndex,
        pace: &Pace,
        verified: &mut Verified,
    ) -> Result<(), Error> {
        let all = index.locate(0, index.lblocks()).into_iter().flatten();
        let frames: Vec<Frame> = all.collect();
        let mut bad: Vec<Frame> = Vec::new();
        let mut why = String::new();
        for group in groups(&frames) {
            let range = group[0].stored.start..group[group.len() - 1].stored.end;
            pace.spend(range.end - range.start).await;
            let bytes = match self.get(index.object(), range.clone()).await {
                Ok(bytes) => bytes,
                Err(StoreError::NotFound(_)) => {
                    *verified = Verified::all_of(segment, Damage::Missing, "the object is missing".to_owned());
                    return Ok(());
                }
                Err(error) => return Err(Bad::Store(error).tell(&self.store, index.object())),
            };
            verified.frames += group.len() as u64;
            verified.bytes += range.end - range.start;
            for (frame, error) in check(index, group.to_vec(), range.start, bytes).await? {
                // What was damaged on the way is sound when it is asked for alone.
                let again = self.get(index.object(), frame.stored.clone()).await;
                let again = again.map_err(|error| Bad::Store(error).tell(&self.store, index.object()))?;
                if check(index, vec![frame.clone()], frame.stored.start, again).await?.is_empty() {
                    continue;
                }
                if why.is_empty() {
                    why = error;
                }
                bad.push(frame);
            }
        }
        if !bad.is_empty() {
            let blocks = bad.iter().flat_map(|frame| {
                segment.runs.iter().filter_map(|run| run.within(frame.lblk, frame.lblk + frame.nblocks))
            });
            let detail = format!("{} of {} frames are bad; {why}", bad.len(), frames.len());
            verified.findings.push(Finding { damage: Damage::Frames, detail, blocks: blocks.collect() });
        }
        Ok(())
    }

    async fn get(&self, object: Object, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.store.get(Cause::Scrub, &object.key(), Some(range), self.patience.renewed()).await
    }
}

/// Neighbouring frames that are fetched together.
fn groups(frames: &[Frame]) -> impl Iterator<Item = &[Frame]> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        let first = rest.first()?.stored.start;
        let len = rest.iter().take_while(|frame| frame.stored.end - first <= FETCH).count().max(1);
        let (group, more) = rest.split_at(len);
        rest = more;
        Some(group)
    })
}

/// The frames that fail their checks, off this thread: it costs a decompression.
async fn check(
    index: &SegmentIndex,
    frames: Vec<Frame>,
    start: u64,
    bytes: Bytes,
) -> Result<Vec<(Frame, String)>, Error> {
    let index = index.clone();
    let work = move || {
        let at = |offset: u64| usize::try_from(offset - start).unwrap_or(usize::MAX).min(bytes.len());
        let failed = |frame: Frame| {
            let stored = bytes.slice(at(frame.stored.start)..at(frame.stored.end));
            index.decode_frame(&frame, &stored).err().map(|error| (frame, error.what().to_owned()))
        };
        frames.into_iter().filter_map(failed).collect()
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(nbdgate_api::Kind::Io, "checking frames failed").with_source(error))
}

/// Where the map and the segment disagree: about its length, or about which block of the disk a block of it is.
fn mismatch(segment: &LiveSegment, index: &SegmentIndex, layout: &[LayoutRun]) -> Option<Finding> {
    let wrong: Vec<BlockRange> = segment.runs.iter().filter(|run| !holds(layout, run)).map(LiveRun::range).collect();
    let detail = if !wrong.is_empty() {
        "the map refers to blocks that are not in it, or are others".to_owned()
    } else if index.lblocks() != segment.lblocks {
        format!("it has {} blocks, the table says {}", index.lblocks(), segment.lblocks)
    } else {
        return None;
    };
    Some(Finding { damage: Damage::Mismatch, detail, blocks: wrong })
}

/// Whether every block of `run` is in the layout, for the same block of the disk.
fn holds(layout: &[LayoutRun], run: &LiveRun) -> bool {
    let (mut lblk, mut lba, mut left) = (run.lblk, run.lba, run.nblocks);
    while left > 0 {
        let after = layout.partition_point(|part| part.lblk <= lblk);
        let Some(part) = after.checked_sub(1).map(|at| &layout[at]) else { return false };
        let skip = lblk - part.lblk;
        if skip >= part.nblocks || part.lba.plus(u64::from(skip)) != lba {
            return false;
        }
        let step = left.min(part.nblocks - skip);
        (lblk, lba, left) = (lblk + step, lba.plus(u64::from(step)), left - step);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Lba;

    #[test]
    fn a_run_is_held_if_every_block_is_the_same_block_of_the_disk() {
        let part = |lba, nblocks, lblk| LayoutRun { lba: Lba(lba), nblocks, lblk };
        let layout = [part(10, 4, 0), part(20, 4, 4), part(24, 2, 8)];
        let run = |lblk, nblocks, lba| LiveRun { lblk, nblocks, lba: Lba(lba) };
        for good in [run(0, 4, 10), run(1, 2, 11), run(4, 6, 20), run(7, 2, 23)] {
            assert!(holds(&layout, &good), "{good:?}");
        }
        for bad in [run(0, 5, 10), run(1, 1, 10), run(9, 2, 25), run(12, 1, 30), run(3, 2, 13)] {
            assert!(!holds(&layout, &bad), "{bad:?}");
        }
    }
}
