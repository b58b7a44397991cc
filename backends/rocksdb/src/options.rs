//! What a disk is made with, and how one is opened.

use std::{fmt, str::FromStr, sync::Arc};

use nbdgate_api::{Error, Kind};

use crate::{DEFAULT_EXTENT, MAX_EXTENT, MAX_SIZE, MIN_EXTENT, Shared};

/// How extents are compressed on disk. Kept with the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4: cheap.
    #[default]
    Lz4,
    /// Zstandard: smaller, at several times the processor time.
    Zstd,
}

impl Compression {
    const NAMES: [(Self, &str); 3] = [(Self::None, "none"), (Self::Lz4, "lz4"), (Self::Zstd, "zstd")];
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) = Self::NAMES.iter().find(|(value, _)| value == self).expect("every value has a name");
        f.pad(name)
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::NAMES.iter().find(|(_, name)| *name == text);
        found
            .map(|(value, _)| *value)
            .ok_or_else(|| Error::new(Kind::Invalid, format!("{text:?} is no compression: none, lz4 or zstd")))
    }
}

/// A disk that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateOptions {
    /// Bytes; at least one.
    pub size: u64,
    /// Bytes of an extent: a power of two from [`MIN_EXTENT`] to [`MAX_EXTENT`]. Constant for the life of the disk.
    pub extent: u32,
    /// Constant for the life of the disk.
    pub compression: Compression,
}

impl Default for CreateOptions {
    /// Without a size, which has no default.
    fn default() -> Self {
        Self { size: 0, extent: DEFAULT_EXTENT, compression: Compression::default() }
    }
}

impl CreateOptions {
    /// # Errors
    /// A size or an extent out of bounds.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.size == 0 || self.size > MAX_SIZE {
            let text = format!("a size of {} bytes: a RocksDB disk has 1 byte to 64 TiB", self.size);
            return Err(Error::new(Kind::Invalid, text));
        }
        if !self.extent.is_power_of_two() || !(MIN_EXTENT..=MAX_EXTENT).contains(&self.extent) {
            let text = format!("an extent of {} bytes: give a power of two from 4 KiB to 64 KiB", self.extent);
            return Err(Error::new(Kind::Invalid, text));
        }
        Ok(())
    }
}

/// How a disk is to be that is opened, or made if it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Bytes.
    pub size: u64,
    /// Bytes of an extent; whatever it has, or [`DEFAULT_EXTENT`].
    pub extent: Option<u32>,
    /// Whatever it has, or LZ4.
    pub compression: Option<Compression>,
}

impl Wanted {
    /// How it is made.
    pub(crate) fn new_disk(&self) -> CreateOptions {
        let default = CreateOptions::default();
        CreateOptions {
            size: self.size,
            extent: self.extent.unwrap_or(default.extent),
            compression: self.compression.unwrap_or(default.compression),
        }
    }

    /// Whether a disk is like this.
    pub(crate) fn is_met_by(&self, disk: &CreateOptions) -> bool {
        self.size == disk.size
            && self.extent.is_none_or(|extent| extent == disk.extent)
            && self.compression.is_none_or(|compression| compression == disk.compression)
    }
}

impl From<CreateOptions> for Wanted {
    fn from(options: CreateOptions) -> Self {
        let CreateOptions { size, extent, compression } = options;
        Self { size, extent: Some(extent), compression: Some(compression) }
    }
}

/// What all RocksDB disks of a process share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedOptions {
    /// Bytes of the cache of blocks and extents.
    pub cache: u64,
    /// Bytes of memtables: writes that are in the log and not yet in a table.
    pub write_memory: u64,
}

impl Default for SharedOptions {
    fn default() -> Self {
        Self { cache: 256 << 20, write_memory: 256 << 20 }
    }
}

/// How a disk is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// No mutation; together with other readers.
    pub read_only: bool,
    /// This snapshot of the disk, which is read-only.
    pub snapshot: Option<String>,
    /// Make the disk if it is missing. One that exists must be like this.
    pub create: Option<Wanted>,
    /// The memory it uses.
    pub shared: Arc<Shared>,
}

impl OpenOptions {
    /// A disk that exists, to be written.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { read_only: false, snapshot: None, create: None, shared }
    }
}
