//! The must-finish token of a request, and the sink behind it.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use crate::{ByteRange, Error, Extent, Kind};

/// A part of an answer.
#[derive(Debug)]
pub enum Piece {
    /// Bytes of a read, from `offset` of the export on; never empty.
    Data {
        /// Absolute, in the export.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// A stretch of a read that is all zeros.
    Hole(ByteRange),
    /// A stretch of a read that could not be had; the others are still delivered.
    Failed(ByteRange, Error),
    /// The answer to BLOCK_STATUS, in order; delivered once.
    Extents(Vec<Extent>),
}

/// Where answers go. Called from any thread; but for `fill` with no lock of the backend held, so that `piece`
/// and `end` may submit further requests (C5).
pub trait Sink: Send + Sync {
    /// A part of the answer of request `tag`.
    fn piece(&self, tag: u64, piece: Piece);

    /// Bytes of a read that the backend writes itself, at once, into `length` bytes of memory that the sink lends for the
    /// call: where they are going, if the sink can. `write` overwrites all of its argument, whose content is unspecified,
    /// and says true; if it says false, nothing was delivered, and false is returned. It is called at most once.
    ///
    /// Both may hold locks meanwhile: the backend one that keeps its memory still, the sink one of its own. So `write`
    /// only copies, from memory or the page cache, takes no lock and calls nothing of a sink; `fill` calls into no backend
    /// (no submit, no close) but for `write`, finishes or drops no reply, and waits for nothing but a lock of its own; and
    /// nobody holds such a lock of the sink while calling into a backend. As it is written here it hands memory of its own
    /// to `piece`: a sink whose `piece` calls into a backend must override it.
    fn fill(&self, tag: u64, offset: u64, length: usize, write: &mut dyn FnMut(&mut [u8]) -> bool) -> bool {
        fill_fresh(self, tag, offset, length, write)
    }

    /// The end of request `tag`; nothing of it follows.
    fn end(&self, tag: u64, outcome: Result<(), Error>);
}

/// What [`Sink::fill`] does where a sink has no memory to lend: it is written to fresh memory, which goes to `piece`.
pub fn fill_fresh<S: Sink + ?Sized>(
    sink: &S,
    tag: u64,
    offset: u64,
    length: usize,
    write: &mut dyn FnMut(&mut [u8]) -> bool,
) -> bool {
    let mut bytes = vec![0; length];
    let written = write(&mut bytes);
    if written {
        sink.piece(tag, Piece::Data { offset, bytes: bytes.into() });
    }
    written
}

/// Answers one request, exactly once. Dropping it unfinished ends the request with an I/O error, so a panic
/// or a lost request can never leave a client waiting.
pub struct Reply {
    sink: Option<Arc<dyn Sink>>,
    tag: u64,
}

impl Reply {
    /// A token for request `tag` of `sink`.
    pub fn new(sink: Arc<dyn Sink>, tag: u64) -> Self {
        Self { sink: Some(sink), tag }
    }

    /// Delivers bytes of a read without copying them.
    pub fn data(&self, offset: u64, bytes: Bytes) {
        self.sink().piece(self.tag, Piece::Data { offset, bytes });
    }

    /// Delivers bytes of a read that are only lent for the call. A backend may do so with its own locks held, see
    /// [`Sink::fill`]; but for `fill`, the other calls are made with none.
    pub fn copy(&self, offset: u64, bytes: &[u8]) {
        self.fill(offset, bytes.len(), &mut |memory| {
            memory.copy_from_slice(bytes);
            true
        });
    }

    /// Delivers `length` bytes of a read from `offset` on that `write` puts where they are going, unless it says false.
    /// See [`Sink::fill`] for what it may do.
    pub fn fill(&self, offset: u64, length: usize, write: &mut dyn FnMut(&mut [u8]) -> bool) -> bool {
        self.sink().fill(self.tag, offset, length, write)
    }

    /// Delivers a stretch of zeros of a read.
    pub fn hole(&self, range: ByteRange) {
        self.sink().piece(self.tag, Piece::Hole(range));
    }

    /// Reports a stretch of a read as failed.
    pub fn fail(&self, range: ByteRange, error: Error) {
        self.sink().piece(self.tag, Piece::Failed(range, error));
    }

    /// Delivers the answer to BLOCK_STATUS.
    pub fn extents(&self, extents: Vec<Extent>) {
        self.sink().piece(self.tag, Piece::Extents(extents));
    }

    /// Passes on a piece as it is; for layers.
    pub fn piece(&self, piece: Piece) {
        self.sink().piece(self.tag, piece);
    }

    /// Ends the request.
    pub fn end(mut self, outcome: Result<(), Error>) {
        let sink = self.sink.take().expect("a reply is ended once, by value");
        sink.end(self.tag, outcome);
    }

    fn sink(&self) -> &dyn Sink {
        self.sink.as_deref().expect("a reply has its sink until it is ended")
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            sink.end(self.tag, Err(Error::new(Kind::Io, "request was dropped by the backend")));
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("tag", &self.tag).finish_non_exhaustive()
    }
}
