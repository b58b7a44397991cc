//! A disk in an object store, as a backend.

use std::{sync::Arc, time::Duration};

use nbdgate_api::{Backend, BlockSizes, Capabilities, Error, Home, Info, Io, Kind};

use crate::{driver::Driver, engine::Event, format::BLOCK_SIZE};

/// The longest read served as one unit: one GET at most per segment and piece.
const READ_PIECE: u32 = 4 << 20;

/// An open disk. Dropped without [`close`](Backend::close) it is like a gateway that died: what was flushed is
/// in the store, the rest is lost, and the next open finds it unclean.
#[derive(Debug)]
pub struct Disk {
    info: Info,
    driver: Arc<Driver>,
    close_deadline: Duration,
}

impl Disk {
    pub(crate) fn new(blocks: u64, read_only: bool, driver: Arc<Driver>, close_deadline: Duration) -> Self {
        let info = Info {
            size: blocks * BLOCK_SIZE as u64,
            block: BlockSizes { preferred: 4096, ..BlockSizes::default() },
            read_only,
            rotational: false,
            capabilities: Capabilities { cache: false, ..Capabilities::ALL },
            read_piece: READ_PIECE,
            home: Home::OneThread,
        };
        Self { info, driver, close_deadline }
    }

    /// Whether a bucket of this disk complained of its load within the last seconds: work that nobody waits for should
    /// wait.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.driver.store().is_throttled()
    }

    /// Closes the disk from within a runtime; otherwise as [`Backend::close`].
    ///
    /// # Errors
    /// Not everything could be stored; the text says what may be missing.
    pub async fn shutdown(&self) -> Result<(), Error> {
        Arc::clone(&self.driver).close(self.close_deadline).await
    }
}

impl Backend for Disk {
    fn info(&self) -> &Info {
        &self.info
    }

    fn submit(&self, io: Io) {
        self.driver.event(Event::Request(io));
    }

    fn close(&self) -> Result<(), Error> {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let closing = Arc::clone(&self.driver).close(self.close_deadline);
        self.driver.runtime().spawn(async move {
            // The receiver is gone only if its thread is.
            let _ = tell.send(closing.await);
        });
        told.recv().unwrap_or_else(|_| Err(Error::new(Kind::Shutdown, "the runtime ended before the disk was closed")))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.driver.abandon();
    }
}

#[cfg(test)]
mod tests;
