//! Block status from memory: the map and what is pending over it.

use nbdgate_api::{ByteRange, Extent, ExtentKind};

use super::{Content, Engine, bytes_of};
use crate::format::{BLOCK_SIZE, BlockRange, Lba};

/// The most extents of one answer; the client asks again for the rest.
const MAX_EXTENTS: usize = 4096;

/// The most runs of the map looked at for one answer, so that one request cannot hold the disk for long.
const MAX_RUNS: usize = 1 << 16;

impl Engine {
    pub(super) fn status(&self, range: ByteRange, req_one: bool) -> Vec<Extent> {
        let limit = if req_one { 1 } else { MAX_EXTENTS };
        let block = BLOCK_SIZE as u64;
        let first = range.offset() / block;
        let blocks = BlockRange::new(Lba(first), range.end().div_ceil(block) - first);
        let mut extents: Vec<Extent> = Vec::new();
        for (part, data) in self.layout(blocks).take(MAX_RUNS) {
            let bytes = ByteRange::between(bytes_of(part.start.0), bytes_of(part.end().0));
            let Some(range) = bytes.intersect(range) else { continue };
            let kind = if data { ExtentKind::Data } else { ExtentKind::Hole };
            Extent { range, kind }.push_onto(&mut extents);
            // The last one may still grow; one more shows that it is complete.
            if extents.len() > limit {
                extents.pop();
                break;
            }
        }
        extents
    }

    /// The runs of `blocks` in order, without gaps, and whether each holds data.
    fn layout(&self, blocks: BlockRange) -> impl Iterator<Item = (BlockRange, bool)> {
        self.sources(blocks).map(|(part, source)| match source {
            Source::Pending(Content::Data(_)) | Source::Stored(_) => (part, true),
            Source::Pending(Content::Zero) | Source::Hole => (part, false),
        })
    }
}

/// Where a run of blocks comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// Memory: not committed yet.
    Pending(Content),
    /// The log.
    Stored(crate::format::SegmentAddress),
    /// Never written, or zeroed.
    Hole,
}

impl Engine {
    /// The runs of `blocks` with their sources: pending over committed, in order, without gaps.
    pub(super) fn sources(&self, blocks: BlockRange) -> impl Iterator<Item = (BlockRange, Source)> {
        let end = blocks.end();
        let mut pending = self.log.pending.overlapping(blocks).peekable();
        let mut at = blocks.start;
        let mut stored: Option<Box<dyn Iterator<Item = (BlockRange, Source)> + '_>> = None;
        std::iter::from_fn(move || {
            loop {
                if let Some(runs) = &mut stored {
                    if let Some((part, source)) = runs.next() {
                        at = part.end();
                        return Some((part, source));
                    }
                    stored = None;
                }
                if at >= end {
                    return None;
                }
                match pending.peek() {
                    Some((part, _)) if part.start == at => {
                        let (part, content) = pending.next().expect("it was just seen");
                        at = part.end();
                        return Some((part, Source::Pending(content)));
                    }
                    next => {
                        let until = next.map_or(end, |(part, _)| part.start);
                        let gap = BlockRange::new(at, until.0 - at.0);
                        stored = Some(Box::new(self.committed.runs(gap)));
                    }
                }
            }
        })
    }
}
