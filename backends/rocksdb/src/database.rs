//! A database with its families: the only file that opens one, and the calls that the others make of it.
//!
//! Not in here: what the keys and values mean.

use std::{fmt, path::Path, sync::Arc};

use nbdgate_api::{Error, Kind};
use rocksdb::{
    CStrLike, ColumnFamily, DB, DBPinnableSlice, Direction, FlushOptions, IteratorMode, Options, ReadOptions, ReadTier,
    WriteBatch, WriteOptions, checkpoint::Checkpoint, statistics::Ticker,
};

use crate::{
    Shared,
    failure::failed,
    lock::Lock,
    tuning::{self, Shape},
};

/// The families of a disk's database; `default` is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Data,
    Bits,
    Meta,
}

impl Family {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Bits => "bits",
            Self::Meta => "meta",
        }
    }
}

/// How a database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Made anew.
    Create,
    /// Opened to be changed.
    Write,
    /// Opened; nothing on its file system changes.
    Read,
}

/// What a read may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    /// Look into memory.
    Memory,
    /// Wait for the device too.
    Device,
}

/// An open database.
pub(crate) struct Database {
    db: DB,
    options: Options,
    name: String,
    from_memory: ReadOptions,
    from_device: ReadOptions,
    logged: WriteOptions,
    pub(crate) shared: Arc<Shared>,
    /// The disk's, or the snapshot's. After the database, so that nobody else opens it while it is being closed.
    lock: Option<Lock>,
}

impl Database {
    /// Gives the lock back when it is closed.
    pub(crate) fn holding(mut self, lock: Lock) -> Self {
        self.lock = Some(lock);
        self
    }

    /// Opens the database in the directory `path`, called `name` in texts.
    ///
    /// # Errors
    /// RocksDB cannot; the text says what it found.
    pub(crate) fn open(path: &Path, name: &str, mode: Mode, shape: Shape, shared: &Arc<Shared>) -> Result<Self, Error> {
        let mut options = tuning::database(path, mode, shared);
        options.create_if_missing(mode == Mode::Create);
        options.create_missing_column_families(mode == Mode::Create);
        options.set_error_if_exists(mode == Mode::Create);
        let families = tuning::families(shape, shared);
        let opened = match mode {
            Mode::Read => DB::open_cf_descriptors_read_only(&options, path, families, false),
            Mode::Create | Mode::Write => DB::open_cf_descriptors(&options, path, families),
        };
        let db = opened.map_err(|error| failed(format!("cannot open the database of {name}"), error))?;
        Ok(Self::new(db, options, name, shared))
    }

    /// Opens no more than the meta family of a database that may be anything, and changes nothing.
    ///
    /// # Errors
    /// It is no disk's, or RocksDB cannot open it.
    pub(crate) fn open_meta(path: &Path, name: &str, shared: &Arc<Shared>) -> Result<Self, Error> {
        let mut options = Options::default();
        tuning::log(&mut options);
        tuning::quiet(&mut options);
        let unreadable = |error| failed(format!("cannot open the database of {name}"), error);
        let families = DB::list_cf(&options, path).map_err(unreadable)?;
        for family in [Family::Data, Family::Bits, Family::Meta] {
            if !families.iter().any(|there| there == family.name()) {
                let text =
                    format!("{name} is a RocksDB that nbdgate did not make: it is left alone, give another path");
                return Err(Error::new(Kind::Invalid, text));
            }
        }
        let opened = [rocksdb::DEFAULT_COLUMN_FAMILY_NAME, Family::Meta.name()];
        let db = DB::open_cf_for_read_only(&options, path, opened, false).map_err(unreadable)?;
        Ok(Self::new(db, options, name, shared))
    }

    fn new(db: DB, options: Options, name: &str, shared: &Arc<Shared>) -> Self {
        let mut from_memory = ReadOptions::default();
        from_memory.set_read_tier(ReadTier::BlockCache);
        Self {
            db,
            options,
            name: name.to_owned(),
            from_memory,
            from_device: ReadOptions::default(),
            logged: WriteOptions::default(),
            shared: shared.clone(),
            lock: None,
        }
    }

    /// The disk in texts.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A family; only of those that it was opened with.
    pub(crate) fn family(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(family.name()).expect("opened with its families")
    }

    /// A value, copied.
    pub(crate) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let got = self.db.get_cf(self.family(family), key);
        got.map_err(|error| failed(format!("cannot read {} of {}", family.name(), self.name), error))
    }

    /// The value of an extent, where `tier` finds it.
    pub(crate) fn extent(&self, index: u64, tier: Tier) -> Result<Option<DBPinnableSlice<'_>>, rocksdb::Error> {
        let options = match tier {
            Tier::Memory => &self.from_memory,
            Tier::Device => &self.from_device,
        };
        self.db.get_pinned_cf_opt(self.family(Family::Data), index.to_be_bytes(), options)
    }

    /// The values of extents in ascending order, from wherever they are. Not from memory alone: RocksDB's reads of several keys
    /// read blocks from the device all the same, and take a key for empty whose block is not there.
    pub(crate) fn extents(
        &self,
        indexes: impl Iterator<Item = u64>,
    ) -> Vec<Result<Option<DBPinnableSlice<'_>>, rocksdb::Error>> {
        let keys: Vec<_> = indexes.map(u64::to_be_bytes).collect();
        self.db.batched_multi_get_cf_opt(self.family(Family::Data), &keys, true, &self.from_device)
    }

    /// Everything in a family, in the order of its keys.
    pub(crate) fn each(
        &self,
        family: Family,
        mut act: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mode = IteratorMode::From(&[], Direction::Forward);
        for entry in self.db.iterator_cf(self.family(family), mode) {
            let read = |error| failed(format!("cannot read {} of {}", family.name(), self.name), error);
            let (key, value) = entry.map_err(read)?;
            act(&key, &value)?;
        }
        Ok(())
    }

    /// Writes a batch: safe against a crash of the process, not of the host.
    pub(crate) fn write(&self, batch: WriteBatch) -> Result<(), Error> {
        let wrote = self.db.write_opt(batch, &self.logged);
        wrote.map_err(|error| failed(format!("cannot write to {}", self.name), error))
    }

    /// Makes durable whatever was written before.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.db.flush_wal(true).map_err(|error| failed(format!("cannot sync the log of {}", self.name), error))
    }

    /// Has memtables written to tables in the background.
    pub(crate) fn begin_settling(&self) {
        let mut options = FlushOptions::default();
        options.set_wait(false);
        for family in [Family::Data, Family::Bits] {
            if let Err(error) = self.db.flush_cf_opt(self.family(family), &options) {
                tracing::debug!(disk = self.name, %error, "cannot write out a memtable");
            }
        }
    }

    /// Writes memtables to tables, so that nothing has to be replayed.
    pub(crate) fn settle(&self) -> Result<(), Error> {
        for family in [Family::Data, Family::Bits, Family::Meta] {
            let wrote = self.db.flush_cf(self.family(family));
            wrote.map_err(|error| failed(format!("cannot write the tables of {}", self.name), error))?;
        }
        Ok(())
    }

    /// Drops tables that hold nothing but extents of the range, which must not be empty, and be deleted already, durably so.
    pub(crate) fn drop_tables(&self, from: u64, to: u64) -> Result<(), Error> {
        // RocksDB takes the last key for one of the range.
        let last = to - 1;
        let data = self.family(Family::Data);
        let dropped = self.db.delete_file_in_range_cf(data, from.to_be_bytes(), last.to_be_bytes());
        dropped.map_err(|error| failed(format!("cannot give back space of {}", self.name), error))
    }

    /// Rewrites what holds extents from `from` on, so that those that are deleted give their space back.
    pub(crate) fn compact(&self, from: u64) {
        self.db.compact_range_cf(self.family(Family::Data), Some(from.to_be_bytes()), None::<[u8; 8]>);
    }

    /// Makes the directory `path` a database of its own with the content of now; files are shared by hard links.
    pub(crate) fn checkpoint(&self, path: &Path) -> Result<(), Error> {
        let made = Checkpoint::new(&self.db).and_then(|checkpoint| checkpoint.create_checkpoint(path));
        made.map_err(|error| failed(format!("cannot take a checkpoint of {}", self.name), error))
    }

    /// The number of the newest change.
    pub(crate) fn sequence(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    /// A count of RocksDB's since it was opened.
    pub(crate) fn count(&self, ticker: Ticker) -> u64 {
        self.options.get_ticker_count(ticker)
    }

    /// A property of RocksDB's of the data family; 0 where it knows none.
    pub(crate) fn level(&self, property: impl CStrLike) -> u64 {
        let value = self.db.property_int_value_cf(self.family(Family::Data), property);
        value.ok().flatten().unwrap_or(0)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Compactions are left unfinished; they begin again when it is opened.
        self.db.cancel_all_background_work(true);
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("name", &self.name).finish_non_exhaustive()
    }
}
