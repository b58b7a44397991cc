//! The committed state: the map, the segment table, and how far they are ahead of the last checkpoint.
//!
//! Holds nothing of what is pending, so a checkpoint taken from it at any time is a prefix (P1).

mod moved;

use super::{Limits, Millis, status::Source};
use crate::{
    format::{
        BlockRange, CheckpointNo, Lba, Object, SegId, SegmentAddress, Seq, VolumeId, Writer, Wseq, segment::LayoutRun,
    },
    map::{PagedMap, Run, SegmentEntry, SegmentKind, SegmentTable, Span, segments::SegmentName},
};

pub(crate) use self::moved::{Arrival, Move};

/// An encoded page of the map takes about so many bytes where writes are random; for the estimate of rule (b).
const PAGE_ESTIMATE: u64 = 2048;

/// Rule (d): fewer bytes than this in dead segments are not worth a checkpoint.
const DEAD_FLOOR: u64 = 64 << 20;

/// Rule (d): one part in so many of what is stored is.
const DEAD_PART: u64 = 20;

/// Pause after a checkpoint that failed.
const RETRY_AFTER: Millis = 60_000;

/// A segment that joins the committed state.
#[derive(Debug)]
pub(crate) struct SegmentUse<'a> {
    pub(crate) name: SegmentName,
    pub(crate) lblocks: u32,
    pub(crate) object_len: u64,
    pub(crate) meta_len: u64,
    pub(crate) last_wseq: Wseq,
    pub(crate) layout: &'a [LayoutRun],
    pub(crate) zeros: &'a [BlockRange],
}

/// Where the committed state ends in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) name: Option<SegmentName>,
    pub(crate) wseq: Wseq,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Committed {
    /// This volume, then its ancestors: what `owner` counts. Every owner in the segment table is among them.
    volumes: Vec<VolumeId>,
    pub(crate) map: PagedMap,
    pub(crate) segments: SegmentTable,
    /// The last checkpoint that is published.
    pub(crate) checkpoint: CheckpointNo,
    position: Position,
    /// A segment of moved data that is being installed in parts.
    arriving: Option<SegId>,
    since: Since,
    checkpointing: bool,
    not_before: Millis,
}

/// What was committed since the last checkpoint.
#[derive(Clone, Copy, Debug, Default)]
struct Since {
    segments: u64,
    log_bytes: u64,
    meta_bytes: u64,
    /// Bytes of segments that were without live blocks at the last checkpoint.
    empty_before: u64,
    /// When the first of it came.
    first: Option<Millis>,
}

impl Committed {
    /// An empty disk, or the state of a checkpoint.
    pub(crate) fn new(
        volumes: Vec<VolumeId>,
        map: PagedMap,
        segments: SegmentTable,
        checkpoint: CheckpointNo,
        wseq: Wseq,
    ) -> Self {
        let since = Since { empty_before: segments.usage().empty_bytes, ..Since::default() };
        Self {
            volumes,
            map,
            segments,
            checkpoint,
            position: Position { name: None, wseq },
            arriving: None,
            since,
            checkpointing: false,
            not_before: 0,
        }
    }

    /// Takes map and table out, for a checkpoint of a disk that nobody serves.
    pub(crate) fn into_parts(self) -> (PagedMap, SegmentTable) {
        (self.map, self.segments)
    }

    /// The last segment that was installed since the state was made, and the last mutation.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// Segments installed since the last checkpoint.
    pub(crate) fn segments_since(&self) -> u64 {
        self.since.segments
    }

    /// Whether something is in it that the last checkpoint does not show.
    pub(crate) fn is_ahead(&self) -> bool {
        self.since.segments > 0 || self.map.dirty_count() > 0
    }

    /// Puts another picture in the place of the whole state; the position in the log stays.
    pub(crate) fn replace(&mut self, map: PagedMap, segments: SegmentTable) {
        (self.map, self.segments) = (map, segments);
        self.since.segments += 1;
    }

    /// Segments installed since the last checkpoint, and their bytes.
    pub(crate) fn behind_checkpoint(&self) -> (u64, u64) {
        (self.since.segments, self.since.log_bytes)
    }

    /// Makes the disk larger or smaller; what lies behind a smaller one is let go.
    pub(crate) fn resize(&mut self, blocks: u64) {
        let Self { map, segments, .. } = self;
        if blocks >= map.blocks() {
            map.grow(blocks);
        } else {
            map.shrink(blocks, |old| {
                segments.sub_live(old.address.segment, old.nblocks);
            });
        }
    }

    /// Installs a segment: its blocks replace what was there. The caller keeps to the order of the log.
    pub(crate) fn install(&mut self, now: Millis, segment: &SegmentUse<'_>) -> SegId {
        let Self { map, segments, .. } = self;
        let id = segments.insert(SegmentEntry {
            name: segment.name,
            lblocks: segment.lblocks,
            live: 0,
            stored_bytes: u32::try_from(segment.object_len).unwrap_or(u32::MAX),
            birth: CheckpointNo(self.checkpoint.0 + 1),
        });
        for run in segment.layout {
            let address = SegmentAddress { segment: id, lblk: run.lblk };
            map.update(Run { lba: run.lba, address, nblocks: run.nblocks }, |old| {
                segments.sub_live(old.address.segment, old.nblocks);
            });
            segments.add_live(id, run.nblocks);
        }
        for &range in segment.zeros {
            map.zero(range, |old| {
                segments.sub_live(old.address.segment, old.nblocks);
            });
        }
        self.position = Position { name: Some(segment.name), wseq: segment.last_wseq };
        self.since.segments += 1;
        self.since.log_bytes += segment.object_len;
        self.since.meta_bytes += segment.meta_len;
        self.since.first.get_or_insert(now);
        id
    }

    /// Where a block lies; `None` for a hole.
    pub(super) fn lookup(&self, lba: Lba) -> Option<SegmentAddress> {
        match self.map.lookup(BlockRange::new(lba, 1)).next() {
            Some(Span::Run(run)) => Some(run.address),
            Some(Span::Hole(_)) | None => None,
        }
    }

    /// Where all of `blocks` lie, if they lie together.
    pub(super) fn lookup_whole(&self, blocks: BlockRange) -> Option<SegmentAddress> {
        match self.map.lookup(blocks).next() {
            Some(Span::Run(run)) if run.range() == blocks => Some(run.address),
            Some(Span::Run(_) | Span::Hole(_)) | None => None,
        }
    }

    /// The runs of `blocks` in order.
    pub(super) fn runs(&self, blocks: BlockRange) -> impl Iterator<Item = (BlockRange, Source)> {
        self.map.lookup(blocks).map(|span| match span {
            Span::Hole(range) => (range, Source::Hole),
            Span::Run(run) => (run.range(), Source::Stored(run.address)),
        })
    }

    /// This volume, then its ancestors.
    pub(crate) fn volumes(&self) -> &[VolumeId] {
        &self.volumes
    }

    /// The object behind a handle of the map, in this volume or in an ancestor.
    pub(crate) fn object(&self, segment: SegId) -> Object {
        let name = self.segments.get(segment).expect("the map refers to segments in the table").name;
        Object { volume: self.volumes[usize::from(name.owner)], name: name.object() }
    }

    /// Whether a rule of §7 asks for a checkpoint now.
    pub(super) fn wants_checkpoint(&self, now: Millis, limits: &Limits) -> bool {
        let rules = &limits.checkpoint;
        if self.checkpointing || self.since.segments == 0 || now < self.not_before {
            return false;
        }
        let estimate = self.map.dirty_count() as u64 * PAGE_ESTIMATE;
        let cheap = estimate * 100 < self.since.log_bytes * u64::from(rules.pack_percent);
        let long = self.since.log_bytes >= rules.log_bytes && cheap;
        let many = self.since.segments >= u64::from(rules.segments) || self.since.meta_bytes >= rules.meta_bytes;
        let late = self.since.first.is_some_and(|first| now >= first.saturating_add(limits.checkpoint_interval));
        long || many || late || limits.gc.enabled && self.much_is_dead()
    }

    /// Rule (d): segments died that only a checkpoint allows to delete.
    fn much_is_dead(&self) -> bool {
        let died = self.segments.usage().empty_bytes.saturating_sub(self.since.empty_before);
        died > DEAD_FLOOR.max(self.segments.stored_bytes() / DEAD_PART)
    }

    /// When rule (e) will ask for one; `None` if nothing was committed since the last.
    pub(super) fn checkpoint_due(&self, limits: &Limits) -> Option<Millis> {
        if self.checkpointing {
            return None;
        }
        let first = self.since.first?;
        Some(first.saturating_add(limits.checkpoint_interval).max(self.not_before))
    }

    pub(super) fn is_checkpointing(&self) -> bool {
        self.checkpointing
    }

    pub(super) fn checkpoint_begins(&mut self) {
        self.checkpointing = true;
    }

    /// A checkpoint takes its picture now; what is committed from here on counts for the next.
    pub(crate) fn picture_taken(&mut self) {
        self.since = Since { empty_before: self.segments.usage().empty_bytes, ..Since::default() };
    }

    pub(super) fn checkpoint_ended(&mut self) {
        self.checkpointing = false;
    }

    /// The picture was not published: what it covered is uncovered again.
    pub(super) fn checkpoint_failed(&mut self, now: Millis) {
        self.checkpointing = false;
        self.not_before = now + RETRY_AFTER;
        self.since.segments += 1;
        self.since.first.get_or_insert(now);
    }
}

/// The segment in a slot of this volume's log.
pub(crate) fn log_segment(writer: Writer, seq: Seq) -> SegmentName {
    SegmentName { kind: SegmentKind::Log, owner: 0, writer, number: seq.0 }
}
