//! What only disks in an embedded RocksDB can be told: how one is made that is missing.
//!
//! It is written as the query of the URI (`rocksdb:/path?size=10G&extent=16K&compression=lz4`) or as options of the export
//! of the same names; one of the two.

use std::fmt;

use clap::ValueEnum;
use serde::Deserialize;

use super::{
    Invalid, Size,
    export::{choice, needed, once},
    uri::disk_size,
};

/// Least and largest extent, in bytes; a power of two.
const EXTENTS: [u64; 2] = [4 << 10, 64 << 10];
/// Largest disk, in bytes.
const MAX_SIZE: u64 = 64 << 40;
/// Longest name of a snapshot, in bytes.
const MAX_SNAPSHOT_NAME: usize = 255;

/// A disk that is made if it is missing. One that exists must be like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RocksDbDisk {
    /// In bytes.
    pub size: u64,
    /// Bytes of an extent, a power of two from 4 KiB to 64 KiB; the backend's choice if it is not given.
    pub extent: Option<u32>,
    /// How extents are compressed; the backend's choice if it is not given.
    pub compression: Option<Compression>,
}

/// How extents are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4: fast.
    Lz4,
    /// Zstandard: smaller.
    Zstd,
}

/// What all disks in RocksDB of a gateway share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedRocksDb {
    /// Bytes of memory for what was read: blocks, filters, indexes, values.
    pub cache: u64,
    /// Bytes of memory for what was written and is in no sorted file yet.
    pub memory: u64,
}

impl RocksDbDisk {
    /// `None` if nothing is given.
    pub(super) fn new(
        size: Option<Size>,
        extent: Option<Size>,
        compression: Option<Compression>,
    ) -> Result<Option<Self>, Invalid> {
        let Some(size) = size else {
            let given = [("extent", extent.is_some()), ("compression", compression.is_some())];
            return match given.into_iter().find(|(_, given)| *given) {
                None => Ok(None),
                Some((key, _)) => Err(Invalid::new(format!(
                    "{key} without a size: it is for a disk that is made if it is missing, add size=10G or the like"
                ))),
            };
        };
        let bytes = disk_size(size)?;
        if bytes > MAX_SIZE {
            let most = Size::from_bytes(MAX_SIZE);
            return Err(Invalid::new(format!("size {size} is above {most}, the limit of a disk in RocksDB")));
        }
        Ok(Some(Self { size: bytes, extent: extent.map(extent_bytes).transpose()?, compression }))
    }

    /// What follows the `?` of a URI.
    pub(super) fn from_query(query: &str) -> Result<Self, Invalid> {
        let (mut size, mut extent, mut compression) = (None, None, None);
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').map_or((pair, None), |(key, value)| (key, Some(value)));
            match key {
                "size" => once(key, &mut size, needed(key, value)?.parse()?)?,
                "extent" => once(key, &mut extent, needed(key, value)?.parse()?)?,
                "compression" => once(key, &mut compression, choice(key, value)?)?,
                _ => {
                    return Err(Invalid::new(format!(
                        "rocksdb: with an unknown {key:?} after the \"?\": what makes a disk is size, extent and \
                         compression, as in rocksdb:/path?size=10G&extent=16K; other options follow a comma"
                    )));
                }
            }
        }
        Self::new(size, extent, compression)?.ok_or_else(|| Invalid::new("rocksdb: a disk that is made needs a size"))
    }
}

/// As the query of a URI.
impl fmt::Display for RocksDbDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "size={}", Size::from_bytes(self.size))?;
        if let Some(extent) = self.extent {
            write!(f, "&extent={}", Size::from_bytes(extent.into()))?;
        }
        match self.compression {
            Some(compression) => write!(f, "&compression={compression}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// Whether a disk in RocksDB can have a snapshot of that name. It is the name of a directory, and clients ask for it, so it
/// must not lead anywhere else.
pub(crate) fn is_snapshot_name(name: &str) -> bool {
    let fits = (1..=MAX_SNAPSHOT_NAME).contains(&name.len()) && !name.starts_with('.');
    fits && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn extent_bytes(extent: Size) -> Result<u32, Invalid> {
    let bytes = extent.bytes();
    let [least, most] = EXTENTS;
    if !bytes.is_power_of_two() || !(least..=most).contains(&bytes) {
        return Err(Invalid::new(format!(
            "extent {extent} is none: it is 4K, 8K, 16K, 32K or 64K, and stays as it is for the life of the disk"
        )));
    }
    Ok(u32::try_from(bytes).expect("at most 64 KiB"))
}

#[cfg(feature = "rocksdb")]
mod of_the_backend {
    //! The same in the words of the backend.

    use super::Compression;

    impl From<Compression> for nbdgate_rocksdb::Compression {
        fn from(asked: Compression) -> Self {
            match asked {
                Compression::None => Self::None,
                Compression::Lz4 => Self::Lz4,
                Compression::Zstd => Self::Zstd,
            }
        }
    }

    #[test]
    fn the_limits_are_those_of_the_backend() {
        let extents = [nbdgate_rocksdb::MIN_EXTENT, nbdgate_rocksdb::MAX_EXTENT].map(u64::from);
        assert_eq!((super::EXTENTS, super::MAX_SIZE), (extents, nbdgate_rocksdb::MAX_SIZE));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_query_says_how_a_disk_is_made() {
        let (size, extent) = (10 << 30, Some(16 << 10));
        for (query, disk) in [
            ("size=10G", RocksDbDisk { size, extent: None, compression: None }),
            ("size=10G&extent=16K", RocksDbDisk { size, extent, compression: None }),
            ("compression=zstd&extent=16384&size=10240M", {
                RocksDbDisk { size, extent, compression: Some(Compression::Zstd) }
            }),
            ("size=10G&compression=none", RocksDbDisk { size, extent: None, compression: Some(Compression::None) }),
        ] {
            assert_eq!(RocksDbDisk::from_query(query), Ok(disk), "{query}");
        }
    }

    #[test]
    fn a_query_that_makes_no_disk_is_refused_with_the_reason() {
        for (query, reason) in [
            ("", "unknown \"\""),
            ("extent=16K", "extent without a size"),
            ("compression=lz4", "compression without a size"),
            ("size", "needs a value"),
            ("size=", "not a size"),
            ("size=0", "holds nothing"),
            ("size=65T", "above 64T"),
            ("size=1G&size=1G", "given twice"),
            ("size=1G&", "unknown \"\""),
            ("size=1G&snapshot=a", "follow a comma"),
            ("size=1G&extent=2K", "extent 2K is none"),
            ("size=1G&extent=12K", "4K, 8K, 16K"),
            ("size=1G&extent=128K", "extent 128K"),
            ("size=1G&compression=gzip", "none or lz4 or zstd"),
        ] {
            let error = RocksDbDisk::from_query(query).expect_err(query).to_string();
            assert!(error.contains(reason), "{query}: {error}");
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_no_snapshots() {
        for good in ["a", "monday", "2026-01-31_12.00", &"x".repeat(255)] {
            assert!(is_snapshot_name(good), "{good}");
        }
        for bad in ["", ".", "..", ".new-1", "../x", "a/b", "/", "a b", "ä", "a\0", &"x".repeat(256)] {
            assert!(!is_snapshot_name(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_displayed_reads_back_the_same(
            size in 1..=MAX_SIZE,
            extent in proptest::option::of(12..=16_u32),
            compression in proptest::option::of(0..3_usize),
        ) {
            let compression = compression.map(|index| Compression::value_variants()[index]);
            let disk = RocksDbDisk { size, extent: extent.map(|shift| 1 << shift), compression };
            prop_assert_eq!(RocksDbDisk::from_query(&disk.to_string()), Ok(disk));
        }
    }
}
