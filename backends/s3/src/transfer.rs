//! Raw images in and out, in parallel and with holes kept (OBJECT-LOG §10).
//!
//! An import writes sorted segments of moved data past the log, one checkpoint and one manifest: until that is there the
//! disk is empty, and a crash leaves orphans. An export reads the disk, or a snapshot, through the read path that serves
//! clients, so that every byte is verified.

mod asking;
mod export;
mod import;
mod packing;
pub mod raw;
mod reading;

use std::{fmt, io};

use nbdgate_api::ByteRange;

pub use self::{
    export::{ExportOptions, ExportReport, export},
    import::{ImportReport, import},
    raw::{RawSink, RawSource},
};

/// Where an import comes from. Calls block, and come from many threads at once.
pub trait Source: Send + Sync + fmt::Debug + 'static {
    /// Bytes.
    fn size(&self) -> u64;

    /// The first range at or behind `offset` that may hold anything but zeros; `None` if there is none. It is not
    /// empty, and ends at most at `size`.
    ///
    /// # Errors
    /// The source cannot tell.
    fn next_data(&self, offset: u64) -> io::Result<Option<ByteRange>>;

    /// Fills `buffer` with what is at `offset`; all of it lies below `size`.
    ///
    /// # Errors
    /// The source cannot be read; a source that ends early is an error.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// Where an export goes. Calls block, and come from many threads at once.
pub trait Sink: Send + Sync + fmt::Debug + 'static {
    /// Called once and first: it will hold `size` bytes, zeros wherever nothing is written.
    ///
    /// # Errors
    /// There is no room, or something is there already.
    fn prepare(&self, size: u64) -> io::Result<()>;

    /// Writes data.
    ///
    /// # Errors
    /// The sink cannot be written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Called once and last: everything is to be durable.
    ///
    /// # Errors
    /// It is not.
    fn finish(&self) -> io::Result<()>;
}
