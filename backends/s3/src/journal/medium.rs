//! What a journal is written to: three operations that never block.

use std::{fmt, ops::Range};

use bytes::Bytes;
use tokio::sync::oneshot;

/// Called with the outcome of an operation.
pub type Done<T> = Box<dyn FnOnce(std::io::Result<T>) + Send>;

/// A file, a block device, or a simulation of one.
///
/// Duties:
/// - **M1** No call blocks: outcomes come through `done`, from any thread, perhaps before the call returns.
/// - **M2** Writes and syncs take effect, and their `done` is called, in the order of their calls.
/// - **M3** A `read` that is called after a write's `done` sees that write. Reads have no order among themselves.
/// - **M4** A sync that ends well makes every write called before it survive power loss. After a write or sync
///   failed, every later one fails: it is unknown what a second try would say the truth about.
/// - **M5** After `close` nothing is executed any more; what was not executed is dropped, and its `done` with it.
///   When `close` returns the medium can be opened again, unless it was called from within a `done`.
pub trait Medium: Send + Sync + fmt::Debug {
    /// Bytes; does not change.
    fn size(&self) -> u64;

    /// Writes `slices`, one behind the other, from `offset` on; all multiples of 4096 in total.
    fn write(&self, offset: u64, slices: Vec<Bytes>, done: Done<()>);

    /// Makes what was written stable.
    fn sync(&self, done: Done<()>);

    /// Reads a range that lies inside.
    fn read(&self, range: Range<u64>, done: Done<Bytes>);

    /// Ends the use of the medium.
    fn close(&self);

    /// How messages call it.
    fn name(&self) -> String;
}

/// The operations as futures, for opening and closing.
pub(crate) mod io {
    use super::{Bytes, Done, Medium, Range, oneshot};

    /// See [`Medium::write`].
    pub(crate) async fn write(medium: &dyn Medium, offset: u64, bytes: Bytes) -> std::io::Result<()> {
        ask(|done| medium.write(offset, vec![bytes], done)).await
    }

    /// See [`Medium::sync`].
    pub(crate) async fn sync(medium: &dyn Medium) -> std::io::Result<()> {
        ask(|done| medium.sync(done)).await
    }

    /// See [`Medium::read`].
    pub(crate) async fn read(medium: &dyn Medium, range: Range<u64>) -> std::io::Result<Bytes> {
        ask(|done| medium.read(range, done)).await
    }

    async fn ask<T: Send + 'static>(call: impl FnOnce(Done<T>)) -> std::io::Result<T> {
        let (tell, told) = oneshot::channel();
        call(Box::new(move |outcome| {
            // Who asked may be gone.
            let _ = tell.send(outcome);
        }));
        told.await.unwrap_or_else(|_| Err(std::io::Error::other("the journal was closed")))
    }
}
