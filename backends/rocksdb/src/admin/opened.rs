//! A disk's database, or a snapshot's, opened for work on it as a whole.

use std::path::Path;

use nbdgate_api::Error;
use rocksdb::WriteBatch;

use crate::{
    create::private,
    database::{Database, Family, Mode},
    flushed::{self, Flushed},
    layout::Layout,
    meta::Meta,
    open::load,
    recovery,
};

/// The key of the meta family that says when a snapshot was taken: u64, milliseconds since 1970. It is written to the disk
/// just before, so that the snapshot has it; the disk keeps that of its newest.
const TAKEN: &str = "taken";

/// An open database and what it says of itself.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) database: Database,
    pub(crate) meta: Meta,
}

impl Opened {
    /// Opens the database in `directory`, called `name` in texts, to be read.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub(crate) fn read(directory: &Path, name: &str) -> Result<Self, Error> {
        Self::open(directory, name, 0, Mode::Read)
    }

    /// Opens the database of a disk whose lock is held, to be changed.
    ///
    /// # Errors
    /// It is damaged, or has lost flushed writes.
    pub(crate) fn write(layout: &Layout) -> Result<Self, Error> {
        Self::open(&layout.database(), &layout.name(), flushed::recorded(layout)?, Mode::Write)
    }

    fn open(directory: &Path, name: &str, flushed: u64, mode: Mode) -> Result<Self, Error> {
        let shared = private();
        let meta = recovery::inspect(directory, name, flushed, &shared)?;
        let database = Database::open(directory, name, mode, meta.shape(), &shared)?;
        Ok(Self { database, meta })
    }

    /// Bytes of the extents that are present.
    pub(crate) fn allocated(&self) -> Result<u64, Error> {
        Ok(load(&self.database, &self.meta)?.present() * u64::from(self.meta.extent))
    }

    /// When this snapshot was taken, in milliseconds since 1970; 0 if it does not say.
    pub(crate) fn taken_unix_ms(&self) -> Result<u64, Error> {
        let value = self.database.get(Family::Meta, TAKEN.as_bytes())?;
        Ok(value.and_then(|value| value.try_into().ok()).map_or(0, u64::from_le_bytes))
    }

    /// Writes down when a snapshot is taken.
    pub(crate) fn put_taken(&self, unix_ms: u64) -> Result<(), Error> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.database.family(Family::Meta), TAKEN, unix_ms.to_le_bytes());
        self.database.write(batch)
    }

    /// Forgets that, in `batch`.
    pub(crate) fn delete_taken(&self, batch: &mut WriteBatch) {
        batch.delete_cf(self.database.family(Family::Meta), TAKEN);
    }

    /// Writes a batch, durably, and writes down that it is.
    pub(crate) fn commit(&self, layout: &Layout, batch: WriteBatch) -> Result<(), Error> {
        self.database.write(batch)?;
        self.database.settle()?;
        self.database.sync()?;
        Flushed::open(layout)?.record(self.database.sequence());
        Ok(())
    }
}
