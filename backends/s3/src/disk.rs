//! A disk in an object store, as a backend.

use std::{sync::Arc, time::Duration};

use nbdgate_api::{Backend, BlockSizes, Capabilities, Error, Home, Info, Io, Kind};

use crate::{
    Heat, Progress, SnapshotInfo, SnapshotPins, checkpoint::Discarded, driver::Driver, engine::Event,
    format::BLOCK_SIZE, gc::offline::GcReport,
};

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
            capabilities: Capabilities::ALL,
            read_piece: READ_PIECE,
            home: Home::OneThread,
        };
        Self { info, driver, close_deadline }
    }

    /// Begins what an open disk does by itself: deleting what its checkpoint calls dead, collecting garbage, looking for
    /// what earlier writers left behind.
    pub(crate) fn begin_upkeep(&self) {
        self.driver.schedule_deletes();
        self.driver.schedule_sweep();
        self.driver.event(Event::Awake);
    }

    /// See [`gc`](crate::admin::gc).
    pub(crate) async fn collect_all(&self, progress: &dyn Progress) -> Result<GcReport, Error> {
        self.driver.collect_all(progress).await
    }

    /// Takes a snapshot: a fixed picture of the disk that shows everything that was answered before the call, and is in the
    /// store when this ends. Writes go on meanwhile. Nothing is copied. Needs a runtime only to wait on.
    ///
    /// # Errors
    /// The name is not one or is taken, the disk is read-only, or it belongs to another gateway now.
    pub async fn snapshot(&self, name: &str) -> Result<SnapshotInfo, Error> {
        Arc::clone(&self.driver).take_snapshot(name.to_owned()).await
    }

    /// The snapshots of the disk, oldest first; of a snapshot, those that are older.
    pub fn snapshots(&self) -> Vec<SnapshotInfo> {
        self.driver.snapshots().iter().map(SnapshotInfo::from).collect()
    }

    /// The same with what each holds back, as far as this process knows: of a read-only disk, as it was opened.
    pub fn snapshot_pins(&self) -> Vec<SnapshotPins> {
        self.driver.snapshot_pins()
    }

    /// The segments of the disk in at most `cells` cells, oldest first. Requests go on meanwhile; the caller is busy for
    /// some 100 ms per million segments.
    pub fn heat(&self, cells: usize) -> Heat {
        self.driver.heat(cells)
    }

    /// Removes a snapshot. Whoever still serves it will miss objects once they are collected.
    ///
    /// # Errors
    /// There is no such snapshot, it has clones (the text names them), or the disk is read-only.
    pub async fn remove_snapshot(&self, name: &str) -> Result<(), Error> {
        Arc::clone(&self.driver).remove_snapshot(name.to_owned()).await
    }

    /// Goes back to a snapshot; see [`admin::rollback`](crate::admin::rollback). The disk serves nobody and is closed next.
    pub(crate) async fn roll_back(&self, name: &str) -> Result<Discarded, Error> {
        Arc::clone(&self.driver).roll_back(name.to_owned()).await
    }

    /// Changes the size; see [`admin::resize`](crate::admin::resize). The disk serves nobody and is closed next.
    pub(crate) async fn resize(&self, blocks: u64) -> Result<(), Error> {
        Arc::clone(&self.driver).resize(blocks).await
    }

    /// Brings what was replayed on its way. If the disk does not write its journal, it waits until that holds nothing any
    /// more, and says so in the manifest.
    pub(crate) async fn begin(&self, keeps_journal: bool) -> Result<(), Error> {
        self.driver.event(Event::Begin);
        if keeps_journal { Ok(()) } else { self.driver.leave_journal().await }
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

    /// What the disk takes in the store, as of now, and what is on its way there. Snapshots, and what they pin, are known to
    /// [`usage`](crate::usage::usage) alone. Holds requests for as long as the map is counted: about 10 ms per million extents.
    pub fn usage(&self, options: &crate::usage::UsageOptions) -> crate::usage::Usage {
        self.driver.usage(options.cells)
    }
}

impl Backend for Disk {
    fn info(&self) -> &Info {
        &self.info
    }

    /// Each snapshot is the beginning of one.
    fn bitmaps(&self) -> Vec<Arc<str>> {
        self.driver.snapshots().iter().map(|snapshot| snapshot.name.as_str().into()).collect()
    }

    fn submit(&self, mut io: Io) {
        io.op.detach();
        self.driver.request(io);
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
