//! The must-finish token of a request, and the sink behind it.

use std::{fmt, os::fd::AsFd, sync::Arc};

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

/// Bytes of a read that stand in a file, and in its page cache.
#[derive(Clone)]
pub struct Stored {
    /// Absolute, in the export.
    pub offset: u64,
    /// How many.
    pub length: u32,
    /// The file.
    pub file: Arc<dyn AsFd + Send + Sync>,
    /// Where they begin in the file.
    pub at: u64,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, length, file: _, at } = self;
        let mut shown = f.debug_struct("Stored");
        shown.field("offset", offset).field("length", length).field("at", at).finish_non_exhaustive()
    }
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

    /// Bytes of a read that the sink may have the kernel send out of the page cache, without a copy. Whoever reads them
    /// later sees what was written in between, as with any read that is under way together with a write. A sink that
    /// cannot use them hands them back, and the backend reads them.
    ///
    /// # Errors
    /// What was offered.
    fn stored(&self, _tag: u64, stored: Stored) -> Result<(), Stored> {
        Err(stored)
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

    /// Offers bytes that stand in a file. See [`Sink::stored`].
    ///
    /// # Errors
    /// What was offered, if it was not taken.
    pub fn stored(&self, stored: Stored) -> Result<(), Stored> {
        self.sink().stored(self.tag, stored)
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
