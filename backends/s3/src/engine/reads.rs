//! The read path (§5.4): pending and map at once, indexes and frames from memory or by shared GETs.
//!
//! Every byte of a read becomes a span: so many bytes at a place of a segment, wanted by a client or by an edge.
//! A span waits for its segment's index, then for its frames; whoever wants a frame that is on its way joins
//! the list of the fetch that brings it. What is read ahead goes the same way without spans, and a span that joins it
//! makes it urgent.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;
use nbdgate_api::{ByteRange, Error, Kind, Reply};

use super::{
    Content, Effect, Engine, Limits, Millis, Part, WantedFor, bytes_of,
    edges::EdgeRead,
    effect::{FetchJob, IndexJob},
    frames::{Decoded, FrameKey, Frames},
    gets::{Get, Gets},
    plan,
    status::Source,
    token::ReadToken,
};
use crate::{
    format::{BLOCK_SIZE, BlockRange, Frame, Lba, Object, SegId, SegmentIndex, object::HEAD_FETCH},
    observer::Cause,
};

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

/// A block of a segment.
pub(super) fn narrow(block: u64) -> u32 {
    u32::try_from(block).expect("segments have fewer than 2^32 blocks")
}

#[derive(Debug)]
struct Fetch {
    object: Object,
    /// First block of each frame in the segment, by the frame's number.
    starts: BTreeMap<u32, u32>,
    bytes: u64,
    cause: Cause,
}

/// An index on its way or queued.
#[derive(Debug)]
struct Loading {
    cause: Cause,
    /// Who waits.
    spans: Vec<Span>,
    /// Blocks of the segment that are to be read ahead then.
    ahead: Vec<Range<u32>>,
}

/// A frame on its way or queued.
#[derive(Debug)]
struct Wanted {
    fetch: u64,
    /// Who waits.
    spans: Vec<Span>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Reads {
    pub(super) frames: Frames,
    loading: HashMap<Object, Loading>,
    wanted: HashMap<FrameKey, Wanted>,
    /// Frames that are on their way or queued, by fetch.
    fetches: HashMap<u64, Fetch>,
    next_fetch: u64,
    pub(super) gets: Gets,
}

impl Reads {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            frames: Frames::new(limits),
            loading: HashMap::new(),
            wanted: HashMap::new(),
            fetches: HashMap::new(),
            next_fetch: 0,
            gets: Gets::new(limits.get_budget),
        }
    }

    /// Whether somebody waits for bytes of a segment: its object must stay.
    pub(super) fn uses(&self, object: &Object) -> bool {
        self.loading.contains_key(object) || self.fetches.values().any(|fetch| fetch.object == *object)
    }

    /// Fails everyone who waits for the store.
    pub(super) fn fail_all(&mut self, error: &Error, effects: &mut Vec<Effect>) {
        self.gets.clear();
        let loading = std::mem::take(&mut self.loading).into_values().flat_map(|loading| loading.spans);
        let wanted = std::mem::take(&mut self.wanted).into_values().flat_map(|wanted| wanted.spans);
        for span in loading.chain(wanted) {
            // Edges belong to mutations, which were failed already.
            if let Target::Client(token) = &span.target {
                let part = Part::Failed(span.range(), error.duplicate());
                effects.push(Effect::Deliver(Arc::clone(token), vec![part]));
            }
        }
    }

    /// Forgets the read-ahead that was not started.
    pub(super) fn shed(&mut self) {
        for get in self.gets.shed() {
            match get {
                Get::Index(job) => {
                    self.loading.remove(&job.object);
                }
                Get::Frames(job) => {
                    self.fetches.remove(&job.number);
                    for frame in &job.frames {
                        self.wanted.remove(&(job.index.object(), frame.number));
                    }
                }
            }
        }
    }
}

impl Engine {
    pub(super) fn read(&mut self, now: Millis, range: ByteRange, reply: Reply, effects: &mut Vec<Effect>) {
        assert!(range.end() <= bytes_of(self.shape.blocks), "ranges lie inside the disk (C1)");
        self.attached(now);
        let token = Arc::new(ReadToken::new(reply, range.length()));
        let first = range.offset() / BLOCK;
        let blocks = BlockRange::new(Lba(first), range.end().div_ceil(BLOCK) - first);
        let mut parts = Vec::new();
        let mut spans: BTreeMap<SegId, Vec<Span>> = BTreeMap::new();
        let mut journaled = Vec::new();
        let mut hole: Option<ByteRange> = None;
        let mut place = None;
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
                Source::Pending(Content::Data(held)) => match held.data() {
                    Some(data) => {
                        let at = |offset: u64| usize::try_from(offset).expect("data in memory");
                        let data = data.bytes().slice(at(skip)..at(skip + bytes.length()));
                        parts.push(Part::Data(bytes.offset(), data));
                    }
                    None => journaled.push((held, WantedFor::Client { token: Arc::clone(&token), bytes, skip })),
                },
                Source::Stored(address) => {
                    place.get_or_insert(address);
                    spans.entry(address.segment).or_default().push(Span {
                        target: Target::Client(Arc::clone(&token)),
                        offset: bytes.offset(),
                        at: bytes_of(u64::from(address.lblk)) + skip,
                        length: bytes.length(),
                        deadline: now + self.limits.read_deadline,
                    });
                }
                Source::Hole | Source::Pending(Content::Zero) => unreachable!("handled above"),
            }
        }
        parts.extend(hole.map(Part::Hole));
        effects.push(Effect::Deliver(token, parts));
        for (held, target) in journaled {
            self.want_journaled(held, target, effects);
        }
        for (segment, spans) in spans {
            for span in &spans {
                self.ahead.record(now, span.range());
            }
            let object = self.committed.object(segment);
            self.want(now, object, spans, effects);
        }
        self.follow(now, range, place);
        self.read_ahead(now, effects);
    }

    /// Reads a block for a rewrite.
    pub(super) fn read_edge(&mut self, now: Millis, lba: Lba, edge: EdgeRead, effects: &mut Vec<Effect>) {
        if let Some(held) = self.released_block(lba) {
            self.want_journaled(held, WantedFor::Edge(edge), effects);
            return;
        }
        let address = self.committed.lookup(lba).expect("a hole is at hand");
        let at = bytes_of(u64::from(address.lblk));
        let deadline = now + self.limits.read_deadline;
        let span = Span { target: Target::Edge(edge), offset: bytes_of(lba.0), at, length: BLOCK, deadline };
        let object = self.committed.object(address.segment);
        self.want(now, object, vec![span], effects);
        self.start_gets(effects);
    }

    /// Brings spans of one segment on their way.
    fn want(&mut self, now: Millis, object: Object, spans: Vec<Span>, effects: &mut Vec<Effect>) {
        if let Some(index) = self.reads.frames.index(&object) {
            let index = Arc::clone(index);
            self.want_frames(now, &index, spans, effects);
            return;
        }
        if let Some(loading) = self.reads.loading.get_mut(&object) {
            if loading.cause == Cause::Prefetch && self.reads.gets.hurry_index(&object) {
                loading.cause = Cause::Index;
            }
            loading.spans.extend(spans);
            return;
        }
        let (cause, deadline) = (Cause::Index, latest(&spans));
        self.reads.loading.insert(object, Loading { cause, spans, ahead: Vec::new() });
        self.reads.gets.push(Get::Index(IndexJob { object, deadline, cause }));
    }

    /// Brings blocks of one segment on their way before anybody wants them.
    pub(super) fn want_ahead(&mut self, now: Millis, object: Object, blocks: Range<u32>) {
        if let Some(index) = self.reads.frames.index(&object) {
            let index = Arc::clone(index);
            self.want_frames_ahead(now, &index, blocks);
        } else if let Some(loading) = self.reads.loading.get_mut(&object) {
            loading.ahead.push(blocks);
        } else {
            let (cause, deadline) = (Cause::Prefetch, now + self.limits.read_deadline);
            self.reads.loading.insert(object, Loading { cause, spans: Vec::new(), ahead: vec![blocks] });
            self.reads.gets.push(Get::Index(IndexJob { object, deadline, cause }));
        }
    }

    pub(super) fn index_loaded(
        &mut self,
        now: Millis,
        object: Object,
        result: Result<Arc<SegmentIndex>, Error>,
        effects: &mut Vec<Effect>,
    ) {
        // After a failure nobody waits any more.
        let Some(Loading { cause, spans, ahead }) = self.reads.loading.remove(&object) else { return };
        self.reads.gets.ended(HEAD_FETCH, cause);
        match result {
            Ok(index) => {
                self.reads.frames.keep_index(&index);
                self.want_frames(now, &index, spans, effects);
                for blocks in ahead {
                    self.want_frames_ahead(now, &index, blocks);
                }
            }
            Err(error) => self.fail_spans(now, spans, &error, effects),
        }
        self.read_ahead(now, effects);
    }

    fn want_frames(&mut self, now: Millis, index: &Arc<SegmentIndex>, spans: Vec<Span>, effects: &mut Vec<Effect>) {
        let deadline = latest(&spans);
        let object = index.object();
        let mut missing: BTreeMap<u32, (Frame, Vec<Span>)> = BTreeMap::new();
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
                let key = (object, frame.number);
                if let Some(found) = self.reads.frames.take(&key) {
                    self.reads.frames.counts.hits += 1;
                    self.give(now, part, &found, effects);
                    continue;
                }
                self.reads.frames.counts.misses += 1;
                if let Some(wanted) = self.reads.wanted.get_mut(&key) {
                    wanted.spans.push(part);
                    // While a fetch is taken in, what it brought last is still wanted, and comes next.
                    if let Some(fetch) = self.reads.fetches.get_mut(&wanted.fetch)
                        && fetch.cause == Cause::Prefetch
                        && self.reads.gets.hurry_frames(wanted.fetch)
                    {
                        fetch.cause = Cause::Data;
                    }
                } else {
                    missing.entry(frame.number).or_insert_with(|| (frame, Vec::new())).1.push(part);
                }
            }
        }
        self.fetch(index, missing, deadline, Cause::Data);
    }

    fn want_frames_ahead(&mut self, now: Millis, index: &Arc<SegmentIndex>, blocks: Range<u32>) {
        let end = blocks.end.min(index.lblocks());
        let Some(count) = end.checked_sub(blocks.start).filter(|&count| count > 0) else { return };
        // A map that disagrees with a segment is told to whoever reads.
        let Ok(frames) = index.locate(blocks.start, count) else { return };
        let object = index.object();
        let unknown = |frame: &Frame| {
            let key = (object, frame.number);
            !self.reads.frames.has(&key) && !self.reads.wanted.contains_key(&key)
        };
        let missing = frames.filter(unknown).map(|frame| (frame.number, (frame, Vec::new()))).collect();
        self.fetch(index, missing, now + self.limits.read_deadline, Cause::Prefetch);
    }

    /// Queues the GETs that bring frames of one segment.
    fn fetch(
        &mut self,
        index: &Arc<SegmentIndex>,
        missing: BTreeMap<u32, (Frame, Vec<Span>)>,
        deadline: Millis,
        cause: Cause,
    ) {
        let object = index.object();
        let mut waiting = BTreeMap::new();
        let mut frames = Vec::with_capacity(missing.len());
        for (number, (frame, spans)) in missing {
            waiting.insert(number, spans);
            frames.push(frame);
        }
        for (range, frames) in plan::gets(index, frames, &self.limits.reads) {
            let number = self.reads.next_fetch;
            self.reads.next_fetch += 1;
            for frame in &frames {
                let spans = waiting.remove(&frame.number).unwrap_or_default();
                self.reads.wanted.insert((object, frame.number), Wanted { fetch: number, spans });
            }
            let starts = frames.iter().map(|frame| (frame.number, frame.lblk)).collect();
            let fetch = Fetch { object, starts, bytes: range.end - range.start, cause };
            self.reads.fetches.insert(number, fetch);
            let index = Arc::clone(index);
            self.reads.gets.push(Get::Frames(FetchJob { number, index, range, frames, deadline, cause }));
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
        self.reads.gets.ended(fetch.bytes, fetch.cause);
        for (frame, result) in frames {
            let key = (fetch.object, frame);
            let spans = self.reads.wanted.remove(&key).map(|wanted| wanted.spans).unwrap_or_default();
            match result {
                Ok(bytes) => {
                    let decoded = Decoded { lblk: fetch.starts[&frame], bytes };
                    self.keep_frame(key, &decoded, fetch.cause, !spans.is_empty());
                    for span in spans {
                        self.give(now, span, &decoded, effects);
                    }
                }
                Err(error) => self.fail_spans(now, spans, &error, effects),
            }
        }
        self.read_ahead(now, effects);
        self.tell_reads(effects);
    }

    fn keep_frame(&mut self, key: FrameKey, frame: &Decoded, cause: Cause, used: bool) {
        let frames = &mut self.reads.frames;
        if cause == Cause::Prefetch {
            let length = frame.bytes.len() as u64;
            frames.counts.ahead_bytes += length;
            frames.counts.ahead_used += if used { length } else { 0 };
        }
        if cause == Cause::Prefetch && !used {
            frames.keep_ahead(key, frame.clone());
        } else {
            frames.keep(key, frame.clone());
        }
    }

    /// Gives a span its bytes out of a frame.
    fn give(&mut self, now: Millis, span: Span, frame: &Decoded, effects: &mut Vec<Effect>) {
        let start = usize::try_from(span.at - bytes_of(u64::from(frame.lblk))).expect("inside a frame");
        let length = usize::try_from(span.length).expect("inside a frame");
        let bytes = frame.bytes.slice(start..start + length);
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
