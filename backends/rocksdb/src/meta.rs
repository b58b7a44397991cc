//! The meta family: what a disk is. Text keys; numbers little-endian.
//!
//! | key | value |
//! |---|---|
//! | `format` | u32, [`FORMAT`] |
//! | `size` | u64, bytes |
//! | `extent` | u32, bytes |
//! | `compression` | u8: 0 none, 1 lz4, 2 zstd |
//! | `uuid` | 16 bytes |
//! | `created` | u64, milliseconds since 1970 |
//! | `parent` | text: for a clone, what it was made of |
//! | `taken` | u64, milliseconds since 1970: when a snapshot, or the newest of a disk, was taken |

use std::time::{SystemTime, UNIX_EPOCH};

use nbdgate_api::{Error, Kind};
use rocksdb::WriteBatch;
use uuid::Uuid;

use crate::{
    Compression, CreateOptions,
    database::{Database, Family},
    tuning::Shape,
};

/// The format that this code writes, and the highest that it reads.
pub(crate) const FORMAT: u32 = 1;

/// What a disk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) format: u32,
    pub(crate) size: u64,
    pub(crate) extent: u32,
    pub(crate) compression: Compression,
    pub(crate) uuid: Uuid,
    pub(crate) created_unix_ms: u64,
    pub(crate) parent: Option<String>,
}

impl Meta {
    /// A new disk.
    pub(crate) fn new(options: &CreateOptions) -> Self {
        Self {
            format: FORMAT,
            size: options.size,
            extent: options.extent,
            compression: options.compression,
            uuid: Uuid::new_v4(),
            created_unix_ms: now_unix_ms(),
            parent: None,
        }
    }

    /// What of it decides about RocksDB's options.
    pub(crate) fn shape(&self) -> Shape {
        Shape { extent: self.extent, compression: self.compression }
    }

    /// Puts everything into `batch`.
    pub(crate) fn put(&self, database: &Database, batch: &mut WriteBatch) {
        let family = database.family(Family::Meta);
        let compression = match self.compression {
            Compression::None => 0,
            Compression::Lz4 => 1,
            Compression::Zstd => 2,
        };
        batch.put_cf(family, "format", self.format.to_le_bytes());
        batch.put_cf(family, "size", self.size.to_le_bytes());
        batch.put_cf(family, "extent", self.extent.to_le_bytes());
        batch.put_cf(family, "compression", [compression]);
        batch.put_cf(family, "uuid", self.uuid.as_bytes());
        batch.put_cf(family, "created", self.created_unix_ms.to_le_bytes());
        match &self.parent {
            Some(parent) => batch.put_cf(family, "parent", parent),
            None => batch.delete_cf(family, "parent"),
        }
    }

    /// # Errors
    /// Something is missing or makes no sense, or the format is from the future.
    pub(crate) fn read(database: &Database) -> Result<Self, Error> {
        let fields = Fields(database);
        let format = u32::from_le_bytes(fields.fixed("format")?);
        if format > FORMAT {
            let text = format!(
                "{} has format {format}, made by a newer nbdgate: this one knows {FORMAT}, so use that one",
                database.name()
            );
            return Err(Error::new(Kind::NotSupported, text));
        }
        let meta = Self {
            format,
            size: u64::from_le_bytes(fields.fixed("size")?),
            extent: u32::from_le_bytes(fields.fixed("extent")?),
            compression: match fields.fixed("compression")? {
                [0] => Compression::None,
                [1] => Compression::Lz4,
                [2] => Compression::Zstd,
                [other] => return Err(fields.damaged("compression", &format!("{other}"))),
            },
            uuid: Uuid::from_bytes(fields.fixed("uuid")?),
            created_unix_ms: u64::from_le_bytes(fields.fixed("created")?),
            parent: fields.get("parent")?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        };
        let options = CreateOptions { size: meta.size, extent: meta.extent, compression: meta.compression };
        options.check().map_err(|error| fields.damaged("size or extent", &error.to_string()))?;
        if format == 0 {
            return Err(fields.damaged("format", "0"));
        }
        Ok(meta)
    }
}

/// Reading the values of one database.
struct Fields<'a>(&'a Database);

impl Fields<'_> {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.0.get(Family::Meta, key.as_bytes())
    }

    fn fixed<const N: usize>(&self, key: &str) -> Result<[u8; N], Error> {
        let value = self.get(key)?.ok_or_else(|| self.damaged(key, "missing"))?;
        value.try_into().map_err(|value: Vec<u8>| self.damaged(key, &format!("{} bytes, not {N}", value.len())))
    }

    fn damaged(&self, key: &str, what: &str) -> Error {
        Error::new(Kind::Io, format!("{} is damaged: its {key} is {what}", self.0.name()))
    }
}

/// Now, in milliseconds since 1970; 0 for a clock before that.
pub(crate) fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
