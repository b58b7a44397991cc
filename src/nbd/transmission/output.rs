//! Bytes for the client: small things side by side in arenas, large ones gathered, one send for all of it.
//!
//! ```text
//! segments   [arena 7: 0..33k] [shared 64k] [shared 64k] [arena 7: 33k..34k] [arena 8: 0..12k]
//! arenas     7 ─ 8                                                    encoded next ▲
//! ```
//!
//! Invariant: an arena that follows a backlog is at least half full or the last, so what a client that does not read
//! keeps is bounded by the cost of its requests.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, IoSlice},
    os::fd::AsFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use nbdgate_api::{Payload, Stored};
use smallvec::SmallVec;

use super::{arena::Arena, queue::Lent, sending::Transport};

/// Payload slices up to this many bytes are copied next to their headers: cheaper than another slice to gather.
const COPY_BYTES: usize = 4096;
/// Slices handed to the kernel in one call.
const GATHER_SLICES: usize = 64;

/// Replies that wait to be sent, in order.
#[derive(Debug, Default)]
pub(super) struct Output {
    segments: VecDeque<Segment>,
    /// What segments refer to, oldest first; what is encoded goes into the last.
    arenas: VecDeque<Arena>,
    /// The number of the oldest.
    first: u64,
    /// Something on its way into an arena.
    scratch: BytesMut,
    /// Bytes ever put in, and ever sent.
    queued: u64,
    sent: u64,
    /// Cost of requests to be given back when everything up to a position has been sent.
    costs: VecDeque<(u64, u32)>,
    pub(super) tally: Tally,
}

/// A stretch of what is to be sent.
enum Segment {
    Arena { number: u64, start: usize, end: usize },
    Shared(Bytes),
    Stored { file: Arc<dyn AsFd + Send + Sync>, at: u64, length: usize },
}

/// Where an arena that was taken over stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    number: u64,
    start: usize,
}

/// Structured or extended chunks written, by kind.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) data: u64,
    pub(super) hole: u64,
    pub(super) error: u64,
    pub(super) none: u64,
    pub(super) block_status: u64,
}

impl Output {
    /// Whether everything has been sent.
    pub(super) fn is_empty(&self) -> bool {
        self.queued == self.sent
    }

    /// Writes `length` bytes, of which there are few, by `encode`.
    pub(super) fn header(&mut self, length: usize, encode: impl FnOnce(&mut [u8])) {
        let last = self.room_for(length);
        let start = last.filled();
        encode(last.reserve(length));
        last.advance(length);
        self.push_arena(self.last_number(), start, start + length);
        self.queued += length as u64;
    }

    /// Writes something whose length is not known before by `encode`.
    pub(super) fn encode(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        let mut scratch = std::mem::take(&mut self.scratch);
        encode(&mut scratch);
        self.queued += scratch.len() as u64;
        if scratch.len() <= COPY_BYTES {
            self.append(&scratch);
            scratch.clear();
        } else {
            self.segments.push_back(Segment::Shared(scratch.split().freeze()));
        }
        self.scratch = scratch;
    }

    /// Appends payload.
    pub(super) fn payload(&mut self, payload: &Payload) {
        for slice in payload.slices() {
            if slice.len() <= COPY_BYTES {
                self.append(slice);
            } else {
                self.segments.push_back(Segment::Shared(slice.clone()));
            }
        }
        self.queued += payload.len();
    }

    /// Takes over an arena with lent data, none of which is sent before [`Output::lent`] says so; where it stands from
    /// now on.
    pub(super) fn adopt(&mut self, arena: Arena) -> Place {
        if self.is_empty() {
            self.drop_arenas(self.arenas.len());
        } else if let Some(last) = self.arenas.back_mut()
            && arena.filled() <= last.room().min(Arena::BYTES / 2)
        {
            let start = last.append(arena.bytes(0..arena.filled()));
            return Place { number: self.last_number(), start };
        }
        self.arenas.push_back(arena);
        Place { number: self.last_number(), start: 0 }
    }

    /// The bytes of lent data.
    pub(super) fn lent_bytes(&self, place: Place, lent: Lent) -> &[u8] {
        let start = place.start + lent.at;
        self.arena(place.number).bytes(start..start + lent.length)
    }

    /// Appends lent data; `header` fills the `headroom` bytes before it.
    pub(super) fn lent(&mut self, place: Place, lent: Lent, headroom: usize, header: impl FnOnce(&mut [u8])) {
        let data = place.start + lent.at;
        let start = data - headroom;
        let index = self.index(place.number);
        header(self.arenas[index].bytes_mut(start..data));
        self.push_arena(place.number, start, data + lent.length);
        self.queued += (headroom + lent.length) as u64;
    }

    /// Appends bytes of a file.
    pub(super) fn stored(&mut self, Stored { file, at, length, .. }: Stored) {
        self.segments.push_back(Segment::Stored { file, at, length: length as usize });
        self.queued += u64::from(length);
    }

    /// Marks the end of a request's reply: `cost` is due back once it is sent.
    pub(super) fn finish(&mut self, cost: u32) {
        self.costs.push_back((self.queued, cost));
    }

    /// The cost of the replies sent since the last call.
    pub(super) fn take_sent_cost(&mut self) -> u32 {
        let mut sum = 0;
        while self.costs.front().is_some_and(|(end, _)| *end <= self.sent) {
            sum += self.costs.pop_front().map_or(0, |(_, cost)| cost);
        }
        sum
    }

    /// Drops what has not been sent: the client is not there any more.
    pub(super) fn discard(&mut self) {
        self.segments.clear();
        self.sent = self.queued;
    }

    /// Sends until all is gone (ready, with whether anything was sent) or the socket is full (pending).
    pub(super) fn poll_send<S: Transport>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut any = false;
        while !self.is_empty() {
            let sent = match self.poll_send_once(stream, cx) {
                Poll::Ready(sent) => sent?,
                Poll::Pending if any => return Poll::Ready(Ok(true)),
                Poll::Pending => return Poll::Pending,
            };
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(sent);
            any = true;
        }
        Poll::Ready(Ok(any))
    }

    /// Lets memory go while there is nothing to send.
    pub(super) fn rest(&mut self) {
        if self.is_empty() {
            self.drop_arenas(self.arenas.len());
            if self.scratch.capacity() > COPY_BYTES {
                self.scratch = BytesMut::new();
            }
        }
    }

    fn poll_send_once<S: Transport>(&self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(Segment::Stored { file, at, length }) = self.segments.front() {
            return stream.poll_send_file(cx, file.as_fd(), *at, *length);
        }
        let slices = self.segments.iter().take(GATHER_SLICES).map_while(|segment| self.bytes(segment));
        let gather: SmallVec<[IoSlice<'_>; GATHER_SLICES]> = slices.map(IoSlice::new).collect();
        match &gather[..] {
            [only] => Pin::new(stream).poll_write(cx, only),
            several => Pin::new(stream).poll_write_vectored(cx, several),
        }
    }

    fn advance(&mut self, sent: usize) {
        self.sent += sent as u64;
        let mut rest = sent;
        while let Some(front) = self.segments.front_mut() {
            let here = front.len();
            if rest < here {
                front.skip(rest);
                break;
            }
            rest -= here;
            self.segments.pop_front();
        }
        match self.segments.front() {
            // The last one stays at hand; nothing refers to it.
            None => {
                self.drop_arenas(self.arenas.len().saturating_sub(1));
                self.arenas.iter_mut().for_each(Arena::clear);
            }
            Some(Segment::Arena { number, .. }) => self.drop_arenas(self.index(*number)),
            Some(Segment::Shared(_) | Segment::Stored { .. }) => {}
        }
    }

    /// What stands in memory of a segment.
    fn bytes<'a>(&'a self, segment: &'a Segment) -> Option<&'a [u8]> {
        match segment {
            Segment::Arena { number, start, end } => Some(self.arena(*number).bytes(*start..*end)),
            Segment::Shared(bytes) => Some(bytes),
            Segment::Stored { .. } => None,
        }
    }

    fn arena(&self, number: u64) -> &Arena {
        &self.arenas[self.index(number)]
    }

    fn index(&self, number: u64) -> usize {
        usize::try_from(number - self.first).expect("an index into the arenas that are kept")
    }

    fn last_number(&self) -> u64 {
        self.first + self.arenas.len() as u64 - 1
    }

    fn drop_arenas(&mut self, count: usize) {
        self.arenas.drain(..count);
        self.first += count as u64;
    }

    /// Copies bytes, of which there are few, into the last arena.
    fn append(&mut self, bytes: &[u8]) {
        let start = self.room_for(bytes.len()).append(bytes);
        self.push_arena(self.last_number(), start, start + bytes.len());
    }

    /// The last arena, with room for so many bytes.
    fn room_for(&mut self, length: usize) -> &mut Arena {
        if self.arenas.back().is_none_or(|last| last.room() < length) {
            self.arenas.push_back(Arena::new());
        }
        self.arenas.back_mut().expect("pushed above if there was none")
    }

    /// Appends a stretch of an arena, joined to the last segment where it continues that.
    fn push_arena(&mut self, number: u64, start: usize, end: usize) {
        match self.segments.back_mut() {
            Some(Segment::Arena { number: before, end: joined, .. }) if *before == number && *joined == start => {
                *joined = end;
            }
            _ => self.segments.push_back(Segment::Arena { number, start, end }),
        }
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Arena { .. } => "arena",
            Self::Shared(_) => "shared",
            Self::Stored { .. } => "stored",
        };
        write!(f, "{} bytes {kind}", self.len())
    }
}

impl Segment {
    fn len(&self) -> usize {
        match self {
            Self::Arena { start, end, .. } => end - start,
            Self::Shared(bytes) => bytes.len(),
            Self::Stored { length, .. } => *length,
        }
    }

    fn skip(&mut self, count: usize) {
        match self {
            Self::Arena { start, .. } => *start += count,
            Self::Shared(bytes) => bytes.advance(count),
            Self::Stored { at, length, .. } => {
                *at += count as u64;
                *length -= count;
            }
        }
    }
}
