//! Reading before somebody asks: streams, wishes of clients (CACHE), and the profile of the last attach.
//!
//! What is wished for is looked up in the map when its turn comes, so it follows data across segments and across
//! commits. Everything here gives way to reads: nothing is begun while a GET that somebody waits for has no room, and what
//! was queued for a stream is dropped then. A disk that nobody reads wishes for nothing.

use std::{collections::VecDeque, ops::Range};

use nbdgate_api::ByteRange;

use super::{Effect, Engine, Limits, Millis, State, bytes_of, reads::narrow, status::Source, streams::Streams};
use crate::{
    attach_profile::{AttachProfile, Recorder},
    format::{BLOCK_SIZE, BlockRange, Lba, SegmentAddress},
};

const BLOCK: u64 = BLOCK_SIZE as u64;

/// Detectors of a space by itself have the disk's own number.
const DISK: u32 = 0;

/// Stretches that wait for their turn at most; what is wished for on top is forgotten.
const WISHES: usize = 16 << 10;

/// A stretch of the disk that is to be read ahead.
#[derive(Debug)]
struct Wish {
    range: Range<u64>,
    /// Of a stream, which can live without.
    guess: bool,
}

/// What is known of the time after an attach.
#[derive(Debug, Default)]
enum Attach {
    /// Nobody has read yet.
    #[default]
    Untouched,
    /// The first reads are taken down until then.
    Recording(Millis),
    /// They were, or are not wanted.
    Over,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Ahead {
    /// In the order of the disk.
    disk: Streams,
    /// In the order in which the data was written: each segment is a space.
    objects: Streams,
    wishes: VecDeque<Wish>,
    /// Bytes of the disk that clients and profiles still wish for.
    hinted: u64,
    last: AttachProfile,
    attach: Attach,
    recorder: Recorder,
}

impl Ahead {
    pub(super) fn new(last: AttachProfile) -> Self {
        Self {
            disk: Streams::default(),
            objects: Streams::default(),
            wishes: VecDeque::new(),
            hinted: 0,
            last,
            attach: Attach::default(),
            recorder: Recorder::default(),
        }
    }

    /// Notes a read of stored bytes, if it is one of the first.
    pub(super) fn record(&mut self, now: Millis, range: ByteRange) {
        if let Attach::Recording(until) = self.attach {
            if now < until {
                self.recorder.note(range.offset(), range.end());
            } else {
                self.attach = Attach::Over;
            }
        }
    }

    /// The profile for the next attach, if this one has a better one than the last. A short visit is no reason to forget.
    pub(super) fn profile(&self, now: Millis) -> Option<&AttachProfile> {
        let complete = match self.attach {
            Attach::Untouched => false,
            Attach::Recording(until) => now >= until,
            Attach::Over => true,
        };
        let new = self.recorder.profile();
        (!new.is_empty() && (complete || self.last.is_empty())).then_some(new)
    }
}

impl Engine {
    /// Somebody reads. The first one brings what the last attach began with.
    pub(super) fn attached(&mut self, now: Millis) {
        if !matches!(self.ahead.attach, Attach::Untouched) {
            return;
        }
        let time = self.limits.profile_time;
        self.ahead.attach = if time > 0 { Attach::Recording(now + time) } else { Attach::Over };
        if time > 0 {
            let ranges: Vec<Range<u64>> = self.ahead.last.ranges().collect();
            for range in ranges {
                self.wish(range);
            }
        }
    }

    /// A client will read this soon, or did after the last attach.
    pub(super) fn wish(&mut self, range: Range<u64>) {
        let end = range.end.min(bytes_of(self.shape.blocks));
        let room = self.limits.hint_budget.saturating_sub(self.ahead.hinted);
        let end = end.min(range.start.saturating_add(room));
        if range.start < end && self.ahead.wishes.len() < WISHES {
            self.ahead.hinted += end - range.start;
            self.ahead.wishes.push_back(Wish { range: range.start..end, guess: false });
        }
    }

    /// Takes note of a client's read, which begins at `place` if it is stored.
    pub(super) fn follow(&mut self, now: Millis, range: ByteRange, place: Option<SegmentAddress>) {
        let Limits { reads: rules, .. } = &self.limits;
        if rules.readahead == 0 {
            return;
        }
        let (most, longest) = (rules.readahead, rules.readahead_budget);
        let seen = self.ahead.disk.saw(DISK, range.offset()..range.end(), most, longest);
        if let Some(range) = seen.ahead {
            let end = range.end.min(bytes_of(self.shape.blocks));
            if range.start < end {
                self.ahead.wishes.push_front(Wish { range: range.start..end, guess: true });
            }
        }
        let Some(place) = place else { return };
        let at = bytes_of(u64::from(place.lblk)) + range.offset() % BLOCK;
        let object = self.ahead.objects.saw(place.segment.0, at..at + range.length(), most, longest);
        // One in the order of the disk is already cared for.
        if let Some(blocks) = object.ahead.filter(|_| !seen.follows) {
            self.ahead_in_object(now, place, blocks);
        }
    }

    /// Reads on in the segment of `place`. At once, because the handle is known to stand for it only now.
    fn ahead_in_object(&mut self, now: Millis, place: SegmentAddress, bytes: Range<u64>) {
        if self.reads.gets.outstanding() >= self.limits.reads.readahead_budget || self.reads.gets.is_short() {
            return;
        }
        let object = self.committed.object(place.segment);
        let end = u32::try_from(bytes.end.div_ceil(BLOCK)).unwrap_or(u32::MAX);
        self.want_ahead(now, object, narrow(bytes.start / BLOCK)..end);
    }

    /// Starts GETs, those that somebody waits for first, and then as much ahead as there is room for.
    pub(super) fn read_ahead(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        self.start_gets(effects);
        if self.reads.gets.is_short() || !matches!(self.state, State::Open) {
            self.reads.shed();
            self.ahead.wishes.retain(|wish| !wish.guess);
            return;
        }
        if self.ahead.wishes.is_empty() {
            return;
        }
        while self.reads.gets.outstanding() < self.limits.reads.readahead_budget {
            let Some(wish) = self.ahead.wishes.front_mut() else { break };
            let piece = wish.range.start..wish.range.end.min(wish.range.start + self.limits.reads.get_max.max(BLOCK));
            wish.range.start = piece.end;
            if !wish.guess {
                self.ahead.hinted -= piece.end - piece.start;
            }
            if wish.range.is_empty() {
                self.ahead.wishes.pop_front();
            }
            self.ahead_on_disk(now, piece);
        }
        self.start_gets(effects);
    }

    /// Reads a stretch of the disk ahead, wherever it lies now.
    fn ahead_on_disk(&mut self, now: Millis, bytes: Range<u64>) {
        let first = bytes.start / BLOCK;
        let blocks = BlockRange::new(Lba(first), bytes.end.div_ceil(BLOCK) - first);
        let stored = |(part, source): (BlockRange, Source)| match source {
            Source::Stored(address) => Some((address, narrow(part.nblocks))),
            Source::Hole | Source::Pending(_) => None,
        };
        let places: Vec<(SegmentAddress, u32)> = self.sources(blocks).filter_map(stored).collect();
        for (address, nblocks) in places {
            let object = self.committed.object(address.segment);
            self.want_ahead(now, object, address.lblk..address.lblk + nblocks);
        }
    }
}
