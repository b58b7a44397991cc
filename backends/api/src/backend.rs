//! The trait itself, and the numbered duties of both sides.
//!
//! Duties of the **caller** (the scheduler; a layer passes them on):
//!
//! - C1. Every range lies inside `0..info.size`, is not empty, and starts and ends on a multiple of
//!   `info.block.minimum`.
//! - C2. Reads and writes are at most `info.block.maximum_payload` long; a write's payload has exactly the
//!   length of its range. The other commands have no limit but the size.
//! - C3. Mutations in flight (WRITE, TRIM, WRITE_ZEROES) never overlap each other.
//! - C4. What `info.capabilities` denies is never asked for: no FUA, TRIM, WRITE_ZEROES, CACHE, BLOCK_STATUS,
//!   and no mutation where `info.read_only` is set. DIRTY_STATUS is asked only of bitmaps that were listed.
//! - C5. `submit` may be called from any thread, also from inside a reply of another request.
//!
//! Duties of the **backend**:
//!
//! - B1. `submit` returns without waiting for a device, a network or another request. It may end the reply
//!   before it returns.
//! - B2. Every reply is ended exactly once, also when the backend is closed, fails or panics (a dropped
//!   [`Reply`](crate::Reply) ends with an I/O error).
//! - B3. A read that ends well has delivered every byte of its range exactly once, as data, hole or failed
//!   pieces, in any order and from any thread; a failed piece carries its own error. A read that ends
//!   with an error has failed as a whole, whatever it delivered before.
//! - B4. A read returns, for each minimum block, the newest write ended before the read was submitted, or one
//!   that was in flight at the same time. Never-written, trimmed and zeroed bytes read as zeros.
//! - B5. A FLUSH that ends well has made durable every mutation that ended well before it was submitted.
//!   A mutation with FUA that ends well is durable itself. "Durable" is the backend's declared level.
//! - B6. A failed mutation may have changed any part of its own range and nothing outside it.
//! - B7. TRIM and WRITE_ZEROES read back as zeros. WRITE_ZEROES with `no_hole` leaves its range allocated
//!   where the backend knows the difference. With `fast` it either is cheaper than writing or fails at once
//!   with [`Kind::NotSupported`](crate::Kind) and has changed nothing.
//! - B8. BLOCK_STATUS delivers at least one extent; the extents start at the range's offset, follow each other
//!   without gaps, are not empty, and do not pass the range's end. A hole or zero extent reads as zeros.
//!   DIRTY_STATUS keeps to the same form, and its extents are dirty or clean: a clean one reads as it did when the bitmap
//!   began, wherever a mutation that ended before is concerned. A bitmap that has gone since it was listed is
//!   [`Kind::NotSupported`](crate::Kind).
//! - B9. Bytes that fail an integrity check are an error, never data and never zeros.
//! - B10. `close` makes everything that ended well durable, ends what is in flight, and gives back every
//!   resource; it may block. After it every submit ends with [`Kind::Shutdown`](crate::Kind).
//! - B11. The memory of a write's payload may be lent, so a backend that needs the bytes after `submit` returned
//!   [detaches](crate::Payload::detach) them before. Most small writes are over by then, and are never copied.

use std::sync::Arc;

use crate::{Error, Info, Io};

/// The storage of one disk. See the [module documentation](self) for the numbered duties.
pub trait Backend: Send + Sync + 'static {
    /// Shape and capabilities. Constant for the life of the backend; asked once.
    fn info(&self) -> &Info;

    /// Takes a request and returns without waiting (B1); the answer comes through `io.reply`.
    fn submit(&self, io: Io);

    /// The names of the dirty bitmaps there are now, oldest first; asked whenever a client may choose among them. Does not
    /// wait for a device or a network.
    fn bitmaps(&self) -> Vec<Arc<str>> {
        Vec::new()
    }

    /// Ends the backend (B10). Called once, from a thread that may block, when no connection is left.
    ///
    /// # Errors
    /// The backend could not make everything durable; the text says what may be missing.
    fn close(&self) -> Result<(), Error>;
}
