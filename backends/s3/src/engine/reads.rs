//! The read path (§5.4): pending and map at once, indexes and frames from memory or by shared GETs.
//!
//! Every byte of a read becomes a span: so many bytes at a place of a segment, wanted by a client or by an edge.
//! A span waits for its segment's index, then for its frames; whoever wants a frame that is on its way joins
//! the list of the fetch that brings it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use nbdgate_api::{ByteRange, Error, Kind, Reply};

use super::{
    Content, Effect, Engine, Limits, Millis, Part, bytes_of,
    edges::EdgeRead,
    effect::FetchJob,
    gets::{Get, Gets},
    lru::Lru,
    plan,
    status::Source,
    token::ReadToken,
};
use crate::format::{BLOCK_SIZE, BlockRange, Frame, Lba, SegId, SegmentAddress, SegmentIndex};

const BLOCK: u64 = BLOCK_SIZE as u64;

/// Who wants bytes.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Client(Arc<ReadToken>),
    Edge(EdgeRead),
}

/// Bytes of a segment that someone wants. Positions count bytes of the segment's uncompressed blocks.
#[derive(Clone, Debug)]
pub(super) struct Span {
    target: Target,
    /// Offset on the disk.
    offset: u64,
    /// Position in the segment.
    at: u64,
    length: u64,
    /// When it is given up. Who joins a GET that is on its way shares that GET's deadline.
    deadline: Millis,
}

impl Span {
    fn range(&self) -> ByteRange {
        ByteRange::between(self.offset, self.offset + self.length)
    }

    fn blocks(&self) -> (u32, u32) {
        let (first, end) = (self.at / BLOCK, (self.at + self.length).div_ceil(BLOCK));
        let narrow = |block: u64| u32::try_from(block).expect("segments have fewer than 2^32 blocks");
        (narrow(first), narrow(end - first))
    }

    /// The part of it that lies in a frame.
    fn within(&self, frame: &Frame) -> Self {
        let start = bytes_of(u64::from(frame.lblk));
        let end = start + bytes_of(u64::from(frame.nblocks));
        let (from, to) = (self.at.max(start), (self.at + self.length).min(end));
        let offset = self.offset + (from - self.at);
        Self { target: self.target.clone(), offset, at: from, length: to - from, deadline: self.deadline }
    }
}

type FrameKey = (SegId, u32);

#[derive(Debug)]
struct Fetch {
    segment: SegId,
    /// First block of each frame in the segment, by the frame's number.
    starts: BTreeMap<u32, u32>,
    bytes: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Reads {
    indexes: Lru<SegId, Arc<SegmentIndex>>,
    frames: Lru<FrameKey, (u32, Bytes)>,
    /// Segments whose index is on its way, with who waits.
    loading: HashMap<SegId, Vec<Span>>,
    /// Frames that are on their way or queued, with who waits.
    wanted: HashMap<FrameKey, Vec<Span>>,
    /// Frames that are on their way or queued, by fetch.
    fetches: HashMap<u64, Fetch>,
    next_fetch: u64,
    gets: Gets,
}

impl Reads {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            indexes: Lru::new(limits.index_budget),
            frames: Lru::new(limits.frame_budget),
            loading: HashMap::new(),
            wanted: HashMap::new(),
            fetches: HashMap::new(),
            next_fetch: 0,
            gets: Gets::new(limits.get_budget),
        }
    }

    pub(super) fn keep_index(&mut self, segment: SegId, index: &Arc<SegmentIndex>) {
        self.indexes.insert(segment, Arc::clone(index), index.bytes() as u64);
    }

    /// Whether somebody waits for bytes of a segment: its object must stay.
    pub(super) fn uses(&self, segment: SegId) -> bool {
        self.loading.contains_key(&segment) || self.fetches.values().any(|fetch| fetch.segment == segment)
    }

    /// Forgets segments whose handles will mean others.
    pub(super) fn forget(&mut self, segments: &HashSet<SegId>) {
        self.indexes.remove_if(|segment| segments.contains(&segment));
        self.frames.remove_if(|(segment, _)| segments.contains(&segment));
    }

    /// A block, if its frame was read lately.
    pub(super) fn block_in_cache(&mut self, address: SegmentAddress) -> Option<Bytes> {
        let index = Arc::clone(self.indexes.get(address.segment)?);
        let frame = index.locate(address.lblk, 1).ok()?.next()?;
        let (lblk, bytes) = self.frames.get((address.segment, frame.number))?;
        let start = (address.lblk - lblk) as usize * BLOCK_SIZE;
        Some(bytes.slice(start..start + BLOCK_SIZE))
    }

    /// Fails everyone who waits for the store.
    pub(super) fn fail_all(&mut self, error: &Error, effects: &mut Vec<Effect>) {
        self.gets.clear();
        let loading = std::mem::take(&mut self.loading).into_values().flatten();
        let wanted = std::mem::take(&mut self.wanted).into_values().flatten();
        for span in loading.chain(wanted) {
            // Edges belong to mutations, which were failed already.
            if let Target::Client(token) = &span.target {
                let part = Part::Failed(span.range(), error.duplicate());
                effects.push(Effect::Deliver(Arc::clone(token), vec![part]));
            }
        }
    }
}

impl Engine {
    pub(super) fn read(&mut self, now: Millis, range: ByteRange, reply: Reply, effects: &mut Vec<Effect>) {
        assert!(range.end() <= bytes_of(self.shape.blocks), "ranges lie inside the disk (C1)");
        let token = Arc::new(ReadToken::new(reply, range.length()));
        let first = range.offset() / BLOCK;
        let blocks = BlockRange::new(Lba(first), range.end().div_ceil(BLOCK) - first);
        let mut parts = Vec::new();
        let mut spans: BTreeMap<SegId, Vec<Span>> = BTreeMap::new();
        let mut hole: Option<ByteRange> = None;
        for (part, source) in self.sources(blocks) {
            let whole = ByteRange::between(bytes_of(part.start.0), bytes_of(part.end().0));
            let bytes = whole.intersect(range).expect("every run is touched");
            let skip = bytes.offset() - whole.offset();
            if matches!(source, Source::Hole | Source::Pending(Content::Zero)) {
                hole = Some(ByteRange::between(hole.map_or(bytes.offset(), ByteRange::offset), bytes.end()));
                continue;
            }
            parts.extend(hole.take().map(Part::Hole));
            match source {
                Source::Pending(Content::Data(data)) => {
                    let at = |offset: u64| usize::try_from(offset).expect("data in memory");
                    let data = data.bytes().slice(at(skip)..at(skip + bytes.length()));
                    parts.push(Part::Data(bytes.offset(), data));
                }
                Source::Stored(address) => spans.entry(address.segment).or_default().push(Span {
                    target: Target::Client(Arc::clone(&token)),
                    offset: bytes.offset(),
                    at: bytes_of(u64::from(address.lblk)) + skip,
                    length: bytes.length(),
                    deadline: now + self.limits.read_deadline,
                }),
                Source::Hole | Source::Pending(Content::Zero) => unreachable!("handled above"),
            }
        }
        parts.extend(hole.map(Part::Hole));
        effects.push(Effect::Deliver(token, parts));
        for (segment, spans) in spans {
            self.want(now, segment, spans, effects);
        }
        self.reads.gets.start(effects);
    }

    /// Reads a block for a rewrite.
    pub(super) fn read_edge(&mut self, now: Millis, lba: Lba, edge: EdgeRead, effects: &mut Vec<Effect>) {
        let address = self.committed.lookup(lba).expect("a hole is at hand");
        let at = bytes_of(u64::from(address.lblk));
        let deadline = now + self.limits.read_deadline;
        let span = Span { target: Target::Edge(edge), offset: bytes_of(lba.0), at, length: BLOCK, deadline };
        self.want(now, address.segment, vec![span], effects);
        self.reads.gets.start(effects);
    }

    /// Brings spans of one segment on their way.
    fn want(&mut self, now: Millis, segment: SegId, spans: Vec<Span>, effects: &mut Vec<Effect>) {
        if let Some(index) = self.reads.indexes.get(segment) {
            let index = Arc::clone(index);
            self.want_frames(now, segment, &index, spans, effects);
            return;
        }
        let waiting = self.reads.loading.entry(segment).or_default();
        if waiting.is_empty() {
            let object = self.committed.object(segment);
            self.reads.gets.push(Get::Index(segment, object, latest(&spans)));
        }
        waiting.extend(spans);
    }

    pub(super) fn index_loaded(
        &mut self,
        now: Millis,
        segment: SegId,
        result: Result<Arc<SegmentIndex>, Error>,
        effects: &mut Vec<Effect>,
    ) {
        self.reads.gets.index_ended();
        let spans = self.reads.loading.remove(&segment).unwrap_or_default();
        match result {
            Ok(index) => {
                self.reads.keep_index(segment, &index);
                self.want_frames(now, segment, &index, spans, effects);
            }
            Err(error) => self.fail_spans(now, spans, &error, effects),
        }
        self.reads.gets.start(effects);
    }

    fn want_frames(
        &mut self,
        now: Millis,
        segment: SegId,
        index: &Arc<SegmentIndex>,
        spans: Vec<Span>,
        effects: &mut Vec<Effect>,
    ) {
        let deadline = latest(&spans);
        let mut missing: BTreeMap<u32, Frame> = BTreeMap::new();
        for span in spans {
            let (lblk, nblocks) = span.blocks();
            let frames: Vec<Frame> = match index.locate(lblk, nblocks) {
                Ok(frames) => frames.collect(),
                Err(error) => {
                    let error = Error::new(Kind::Io, "the map and a segment disagree").with_source(error);
                    self.fail_spans(now, vec![span], &error, effects);
                    continue;
                }
            };
            for frame in frames {
                let part = span.within(&frame);
                let key = (segment, frame.number);
                if let Some((lblk, bytes)) = self.reads.frames.get(key) {
                    let (lblk, bytes) = (*lblk, bytes.clone());
                    self.give(now, part, lblk, &bytes, effects);
                } else if let Some(waiting) = self.reads.wanted.get_mut(&key) {
                    waiting.push(part);
                } else {
                    self.reads.wanted.insert(key, vec![part]);
                    missing.insert(frame.number, frame);
                }
            }
        }
        for (range, frames) in plan::gets(index, missing.into_values().collect()) {
            let number = self.reads.next_fetch;
            self.reads.next_fetch += 1;
            let starts = frames.iter().map(|frame| (frame.number, frame.lblk)).collect();
            let fetch = Fetch { segment, starts, bytes: range.end - range.start };
            self.reads.fetches.insert(number, fetch);
            let index = Arc::clone(index);
            self.reads.gets.push(Get::Frames(FetchJob { number, index, range, frames, deadline }));
        }
    }

    pub(super) fn fetched(
        &mut self,
        now: Millis,
        number: u64,
        frames: Vec<(u32, Result<Bytes, Error>)>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(fetch) = self.reads.fetches.remove(&number) else { return };
        self.reads.gets.frames_ended(fetch.bytes);
        for (frame, result) in frames {
            let key = (fetch.segment, frame);
            let spans = self.reads.wanted.remove(&key).unwrap_or_default();
            match result {
                Ok(bytes) => {
                    let lblk = fetch.starts[&frame];
                    self.reads.frames.insert(key, (lblk, bytes.clone()), bytes.len() as u64 + 128);
                    for span in spans {
                        self.give(now, span, lblk, &bytes, effects);
                    }
                }
                Err(error) => self.fail_spans(now, spans, &error, effects),
            }
        }
        self.reads.gets.start(effects);
    }

    /// Gives a span its bytes out of the frame that begins at block `lblk` of the segment.
    fn give(&mut self, now: Millis, span: Span, lblk: u32, frame: &Bytes, effects: &mut Vec<Effect>) {
        let start = usize::try_from(span.at - bytes_of(u64::from(lblk))).expect("inside a frame");
        let length = usize::try_from(span.length).expect("inside a frame");
        let bytes = frame.slice(start..start + length);
        match span.target {
            Target::Client(token) => effects.push(Effect::Deliver(token, vec![Part::Data(span.offset, bytes)])),
            Target::Edge(edge) => self.edge_read(now, edge, Ok(bytes), effects),
        }
    }

    fn fail_spans(&mut self, now: Millis, spans: Vec<Span>, error: &Error, effects: &mut Vec<Effect>) {
        for span in spans {
            let range = span.range();
            match span.target {
                Target::Client(token) => {
                    effects.push(Effect::Deliver(token, vec![Part::Failed(range, error.duplicate())]));
                }
                Target::Edge(edge) => self.edge_read(now, edge, Err(error.duplicate()), effects),
            }
        }
    }
}

/// The latest deadline: a GET goes on for as long as someone waits for it.
fn latest(spans: &[Span]) -> Millis {
    spans.iter().map(|span| span.deadline).max().unwrap_or_default()
}
