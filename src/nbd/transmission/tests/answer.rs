//! What a client got for one request, and whether that is a legal reply at all.

use super::client::{BLOCK_STATUS, DF, READ, Request, Style};

const DONE: u16 = 1;
pub(super) const NONE: u16 = 0;
pub(super) const OFFSET_DATA: u16 = 1;
pub(super) const OFFSET_HOLE: u16 = 2;
pub(super) const STATUS: u16 = 5;
pub(super) const STATUS_EXT: u16 = 6;
pub(super) const ERROR: u16 = 0x8001;
pub(super) const ERROR_OFFSET: u16 = 0x8002;

/// A simple reply, or a chunk of the others.
#[derive(Debug)]
pub(super) enum Chunk {
    Simple {
        error: u32,
        data: Vec<u8>,
    },
    Part {
        flags: u16,
        kind: u16,
        /// Told by extended chunks.
        offset: Option<u64>,
        body: Vec<u8>,
    },
}

impl Chunk {
    pub(super) fn is_last(&self) -> bool {
        match self {
            Self::Simple { .. } => true,
            Self::Part { flags, .. } => flags & DONE != 0,
        }
    }
}

/// A complete reply.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) request: Request,
    pub(super) chunks: Vec<Chunk>,
}

/// Bytes of a read, from an absolute offset on; `None` for a hole.
type Content<'a> = (u64, u64, Option<&'a [u8]>);

impl Answer {
    /// The kinds of its chunks.
    pub(super) fn kinds(&self) -> Vec<u16> {
        let kind = |chunk: &Chunk| match chunk {
            Chunk::Simple { .. } => panic!("a simple reply has no chunks"),
            Chunk::Part { kind, .. } => *kind,
        };
        self.chunks.iter().map(kind).collect()
    }

    /// The first error, zero for success.
    pub(super) fn error(&self) -> u32 {
        self.chunks.iter().map(error).find(|error| *error != 0).unwrap_or(0)
    }

    /// The places of its errors with an offset.
    pub(super) fn failed_at(&self) -> Vec<u64> {
        let place = |chunk: &Chunk| match chunk {
            Chunk::Part { kind: ERROR_OFFSET, body, .. } => Some(number(&body[body.len() - 8..])),
            _ => None,
        };
        self.chunks.iter().filter_map(place).collect()
    }

    /// Content chunks of a read in the order of their coming: offset, length, bytes.
    pub(super) fn contents(&self) -> Vec<Content<'_>> {
        self.chunks.iter().filter_map(|chunk| content(chunk, self.request.offset)).collect()
    }

    /// The bytes of a read that went well.
    pub(super) fn content(&self) -> Vec<u8> {
        assert_eq!(self.error(), 0, "{:?}", self.request);
        let mut bytes = vec![0; usize::try_from(self.request.length).unwrap()];
        for (offset, length, data) in self.contents() {
            if let Some(data) = data {
                let at = usize::try_from(offset - self.request.offset).unwrap();
                bytes[at..at + usize::try_from(length).unwrap()].copy_from_slice(data);
            }
        }
        bytes
    }

    /// Descriptors of a status chunk: length and state.
    pub(super) fn extents(&self) -> Vec<(u64, u64)> {
        let descriptors = |chunk: &Chunk| match chunk {
            Chunk::Part { kind: STATUS, body, .. } => {
                body[4..].chunks(8).map(|d| (number(&d[..4]), number(&d[4..]))).collect()
            }
            Chunk::Part { kind: STATUS_EXT, body, .. } => {
                assert_eq!(number(&body[4..8]) * 16, body.len() as u64 - 8, "the count fits the length");
                body[8..].chunks(16).map(|d| (number(&d[..8]), number(&d[8..]))).collect()
            }
            _ => Vec::new(),
        };
        self.chunks.iter().flat_map(descriptors).collect()
    }

    /// Every rule that holds for every reply.
    pub(super) fn assert_legal(&self, style: Style) {
        let request = &self.request;
        let last = self.chunks.len() - 1;
        for (index, chunk) in self.chunks.iter().enumerate() {
            assert_eq!(chunk.is_last(), index == last, "DONE is on the last chunk only: {request:?}");
            match chunk {
                Chunk::Simple { error, .. } if style == Style::Structured => {
                    assert!(*error == 0 && request.command != READ && request.command != BLOCK_STATUS, "{request:?}");
                }
                Chunk::Simple { .. } => assert_eq!(style, Style::Simple, "{request:?}"),
                Chunk::Part { flags, kind, offset, body } => {
                    assert_eq!(*offset, (style == Style::Extended).then_some(request.offset), "{request:?}");
                    assert_eq!(flags & !DONE, 0, "{request:?}");
                    self.assert_legal_part(style, *kind, body);
                }
            }
        }
        if request.command == READ {
            self.assert_legal_read();
        }
    }

    fn assert_legal_part(&self, style: Style, kind: u16, body: &[u8]) {
        let request = &self.request;
        let read = request.command == READ;
        match kind {
            NONE => assert!(body.is_empty()),
            OFFSET_DATA => assert!(read && body.len() >= 9, "{request:?}"),
            OFFSET_HOLE => assert!(read && body.len() == 12 && number(&body[8..]) > 0, "{request:?}"),
            STATUS => assert!(style == Style::Structured && request.command == BLOCK_STATUS && body.len() >= 12),
            STATUS_EXT => assert!(style == Style::Extended && request.command == BLOCK_STATUS && body.len() >= 24),
            ERROR | ERROR_OFFSET => {
                let tail = if kind == ERROR { 0 } else { 8 };
                assert_ne!(number(&body[..4]), 0, "an error has a number");
                let text = &body[6..body.len() - tail];
                assert_eq!(number(&body[4..6]), text.len() as u64, "the length of the text fits");
                std::str::from_utf8(text).unwrap();
            }
            other => panic!("a chunk of kind {other}"),
        }
    }

    /// Content lies in the request, covers nothing twice, and everything if there is no error.
    fn assert_legal_read(&self) {
        let request = &self.request;
        let mut contents = self.contents();
        contents.sort_by_key(|(offset, ..)| *offset);
        let end = request.offset.saturating_add(request.length);
        let mut told = request.offset;
        for &(offset, length, _) in &contents {
            assert!(offset >= told && offset + length <= end, "{offset}+{length} of {request:?}");
            for border in [offset, offset + length] {
                assert!(border % 512 == 0 || border == request.offset || border == end, "{border} of {request:?}");
            }
            if self.error() == 0 {
                assert_eq!(offset, told, "nothing is left out of {request:?}");
            }
            told = offset + length;
        }
        if self.error() == 0 {
            assert_eq!(told, end, "all of {request:?} is told");
        }
        assert!(self.failed_at().iter().all(|at| (request.offset..end).contains(at)));
        if request.flags & DF != 0 {
            assert!(contents.len() <= 1 && self.chunks.len() == 1, "one chunk for {request:?}");
        }
    }
}

/// What a chunk of a reply to a read from `start` on tells of it.
fn content(chunk: &Chunk, start: u64) -> Option<Content<'_>> {
    match chunk {
        Chunk::Part { kind: OFFSET_DATA, body, .. } => {
            Some((number(&body[..8]), body.len() as u64 - 8, Some(&body[8..])))
        }
        Chunk::Part { kind: OFFSET_HOLE, body, .. } => Some((number(&body[..8]), number(&body[8..]), None)),
        Chunk::Simple { error: 0, data } if !data.is_empty() => Some((start, data.len() as u64, Some(data))),
        _ => None,
    }
}

fn error(chunk: &Chunk) -> u32 {
    match chunk {
        Chunk::Simple { error, .. } => *error,
        Chunk::Part { kind: ERROR | ERROR_OFFSET, body, .. } => u32::try_from(number(&body[..4])).unwrap(),
        Chunk::Part { .. } => 0,
    }
}

/// A big-endian number of any width.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
