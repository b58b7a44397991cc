//! From the pieces of a read to the chunks of its reply; pure.
//!
//! A backend delivers data, holes and failures in any order and with any borders. The wire wants chunks whose borders
//! are multiples of [`SECTOR`] except at the request's own two ends, holes long enough to be worth a chunk
//! ([`FOLD`]), and data no longer than [`MAX_CHUNK`]. Whatever the pieces, the chunks cover the request exactly
//! once: bytes of a sector that two pieces share wait here until the sector is whole.

mod covered;

use bytes::Bytes;
use nbdgate_api::{ByteRange, Error, Kind, Payload, Piece};
use smallvec::SmallVec;

use self::covered::Covered;
use super::emulate::zeros;

/// Borders between chunks are multiples of this many bytes.
pub const SECTOR: u64 = 512;
/// A hole shorter than this many bytes is sent as data: a chunk header and the client's bookkeeping cost more.
pub const FOLD: u64 = 4096;
/// Longest data chunk in bytes; longer data is cut so that other replies can interleave.
pub const MAX_CHUNK: u64 = 1 << 20;

/// A part of a reply to READ.
#[derive(Debug)]
pub enum Chunk {
    /// Bytes from `offset` on.
    Data {
        /// Absolute, in the export.
        offset: u64,
        /// The bytes.
        payload: Payload,
    },
    /// Zeros that are not sent.
    Hole(ByteRange),
    /// A stretch that failed.
    Error {
        /// Where the failed stretch begins.
        offset: u64,
        /// Why.
        error: Error,
    },
}

impl Chunk {
    /// The bytes of a content chunk, zeros of a hole included. Panics on an error: a caller's bug.
    pub fn into_payload(self) -> Payload {
        match self {
            Self::Data { payload, .. } => payload,
            Self::Hole(range) => zeros(range.length()),
            Self::Error { .. } => panic!("an error chunk has no bytes"),
        }
    }
}

/// A reply that is streamed in chunks, in whatever order its pieces come.
#[derive(Debug)]
pub struct Stream {
    request: ByteRange,
    /// What pieces have covered so far, failed ones included.
    covered: Covered,
    /// Parts of sectors whose other parts have not come.
    fragments: Vec<Fragment>,
}

#[derive(Debug)]
struct Fragment {
    range: ByteRange,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Bytes(Bytes),
    Zeros,
    Failed,
}

impl Stream {
    /// A plan for a read of `request`.
    pub fn new(request: ByteRange) -> Self {
        Self { request, covered: Covered::default(), fragments: Vec::new() }
    }

    /// Whether no piece has come.
    pub fn is_new(&self) -> bool {
        self.covered.is_empty()
    }

    /// Whether the pieces so far cover the request, so that no error can follow (B3).
    pub fn is_covered(&self) -> bool {
        self.covered.contains(self.request)
    }

    /// Takes a piece and appends the chunks that it completes to `chunks`, joining data that continues the last one.
    ///
    /// # Errors
    /// The backend broke B3: a piece outside the request, or bytes that came before.
    pub fn push(&mut self, piece: Piece, chunks: &mut Vec<Chunk>) -> Result<(), Error> {
        let mut failure = None;
        let (range, content) = match piece {
            Piece::Data { offset, bytes } => {
                let range = ByteRange::new(offset, bytes.len() as u64).ok_or_else(|| self.broken("overflows"))?;
                (range, Content::Bytes(bytes))
            }
            Piece::Hole(range) => (range, Content::Zeros),
            Piece::Failed(range, error) => {
                failure = Some(error);
                (range, Content::Failed)
            }
            Piece::Extents(_) => return Err(self.broken("is a list of extents")),
        };
        if range.is_empty() || !self.request.contains(range) {
            return Err(self.broken("is empty or lies outside"));
        }
        if self.covered.overlaps(range) {
            return Err(self.broken("covers bytes twice"));
        }
        self.covered.fill(range);
        if let Some(error) = failure {
            chunks.push(Chunk::Error { offset: range.offset(), error });
        }
        self.split(range, &content, chunks);
        Ok(())
    }

    /// Marks a sub-range, whose backend request failed, as failed. What it delivered before is void.
    pub fn fail(&mut self, part: ByteRange, error: Error, chunks: &mut Vec<Chunk>) {
        self.covered.fill(part);
        self.fragments.retain(|fragment| !part.contains(fragment.range));
        chunks.push(Chunk::Error { offset: part.offset(), error });
    }

    /// Emits the whole sectors of a piece and keeps the broken ones at its ends.
    fn split(&mut self, range: ByteRange, content: &Content, chunks: &mut Vec<Chunk>) {
        let start = if range.offset() == self.request.offset() {
            range.offset()
        } else {
            range.offset().next_multiple_of(SECTOR)
        };
        let end = if range.end() == self.request.end() { range.end() } else { range.end() / SECTOR * SECTOR };
        if start >= end {
            // No border of a sector inside, or exactly one.
            let border = start.clamp(range.offset(), range.end());
            self.keep(range, ByteRange::between(range.offset(), border), content, chunks);
            self.keep(range, ByteRange::between(border, range.end()), content, chunks);
            return;
        }
        self.keep(range, ByteRange::between(range.offset(), start), content, chunks);
        emit(ByteRange::between(start, end), part(range, ByteRange::between(start, end), content), chunks);
        self.keep(range, ByteRange::between(end, range.end()), content, chunks);
    }

    /// Keeps a fragment of a sector; if that makes the sector whole, emits it.
    fn keep(&mut self, whole: ByteRange, fragment: ByteRange, content: &Content, chunks: &mut Vec<Chunk>) {
        if fragment.is_empty() {
            return;
        }
        self.fragments.push(Fragment { range: fragment, content: part(whole, fragment, content) });
        let first = fragment.offset() / SECTOR * SECTOR;
        let sector =
            ByteRange::between(first, first + SECTOR).intersect(self.request).expect("a fragment lies in the request");
        let have: u64 = self.fragments.iter().filter(|f| sector.contains(f.range)).map(|f| f.range.length()).sum();
        if have < sector.length() {
            return;
        }
        let mut parts: Vec<Fragment> = self.fragments.extract_if(.., |f| sector.contains(f.range)).collect();
        parts.sort_by_key(|f| f.range.offset());
        if parts.iter().any(|f| matches!(f.content, Content::Failed)) {
            return;
        }
        let mut joined = Payload::default();
        for Fragment { range, content } in parts {
            payload(range, content).slices().iter().for_each(|slice| joined.push(slice.clone()));
        }
        emit_data(sector.offset(), joined, chunks);
    }

    fn broken(&self, how: &str) -> Error {
        Error::new(Kind::Io, format!("backend answered the read of {} with a piece that {how}", self.request))
    }
}

/// The part of `whole`'s content that lies in `range`.
fn part(whole: ByteRange, range: ByteRange, content: &Content) -> Content {
    match content {
        Content::Bytes(bytes) => {
            let at = |offset: u64| usize::try_from(offset - whole.offset()).expect("inside the piece's bytes");
            Content::Bytes(bytes.slice(at(range.offset())..at(range.end())))
        }
        other => other.clone(),
    }
}

fn payload(range: ByteRange, content: Content) -> Payload {
    match content {
        Content::Bytes(bytes) => bytes.into(),
        Content::Zeros | Content::Failed => zeros(range.length()),
    }
}

fn emit(range: ByteRange, content: Content, chunks: &mut Vec<Chunk>) {
    match content {
        Content::Failed => {}
        Content::Zeros if range.length() >= FOLD => chunks.push(Chunk::Hole(range)),
        content => emit_data(range.offset(), payload(range, content), chunks),
    }
}

/// Appends data, joined to the last chunk where it continues that, cut where it would grow too long.
fn emit_data(offset: u64, payload: Payload, chunks: &mut Vec<Chunk>) {
    let range = ByteRange::between(offset, offset + payload.len());
    if let Some(Chunk::Data { offset: before, payload: joined }) = chunks.last_mut()
        && *before + joined.len() == offset
        && joined.len() + payload.len() <= MAX_CHUNK
    {
        payload.slices().iter().for_each(|slice| joined.push(slice.clone()));
    } else if payload.len() <= MAX_CHUNK {
        chunks.push(Chunk::Data { offset, payload });
    } else {
        for piece in range.pieces(MAX_CHUNK) {
            let part = payload.slice(piece.offset() - offset, piece.length());
            chunks.push(Chunk::Data { offset: piece.offset(), payload: part });
        }
    }
}

/// A reply that leaves as a whole: a simple reply, or a structured one with DF.
#[derive(Debug)]
pub struct Gather {
    request: ByteRange,
    parts: SmallVec<[(ByteRange, Content); 1]>,
    failed: Option<Error>,
}

impl Gather {
    /// A plan for a read of `request`.
    pub fn new(request: ByteRange) -> Self {
        Self { request, parts: SmallVec::new(), failed: None }
    }

    /// Whether no piece has come.
    pub fn is_new(&self) -> bool {
        self.parts.is_empty() && self.failed.is_none()
    }

    /// Takes a piece.
    pub fn push(&mut self, piece: Piece) {
        match piece {
            Piece::Data { offset, bytes } => match ByteRange::new(offset, bytes.len() as u64) {
                Some(range) => self.parts.push((range, Content::Bytes(bytes))),
                None => self.fail(self.broken()),
            },
            Piece::Hole(range) => self.parts.push((range, Content::Zeros)),
            Piece::Failed(_, error) => self.fail(error),
            Piece::Extents(_) => self.fail(self.broken()),
        }
    }

    /// Remembers a failure; the first is the one that is told.
    pub fn fail(&mut self, error: Error) {
        self.failed.get_or_insert(error);
    }

    /// The whole answer, all pieces having come: one data chunk, or one hole if nothing but zeros is in it.
    ///
    /// # Errors
    /// A piece failed, or the backend broke B3.
    pub fn finish(mut self) -> Result<Chunk, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.parts.sort_by_key(|(range, _)| range.offset());
        let mut next = self.request.offset();
        for (range, _) in &self.parts {
            if range.offset() != next {
                return Err(self.broken());
            }
            next = range.end();
        }
        if next != self.request.end() {
            return Err(self.broken());
        }
        if self.parts.iter().all(|(_, content)| matches!(content, Content::Zeros)) {
            return Ok(Chunk::Hole(self.request));
        }
        let mut whole = Payload::default();
        for (range, content) in self.parts {
            match content {
                Content::Bytes(bytes) => whole.push(bytes),
                zeros => payload(range, zeros).slices().iter().for_each(|slice| whole.push(slice.clone())),
            }
        }
        Ok(Chunk::Data { offset: self.request.offset(), payload: whole })
    }

    fn broken(&self) -> Error {
        Error::new(Kind::Io, format!("backend did not answer the read of {} exactly once", self.request))
    }
}

#[cfg(test)]
mod tests;
