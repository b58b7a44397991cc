//! Where a disk is, and which verbs and flags have a meaning there.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::{
    cli::Failure,
    config::{ExportUri, Invalid},
};

/// A disk at rest, by the storage that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A raw image or a block device.
    File(PathBuf),
    /// In the object log: the URL of the disk.
    Object(String),
    /// The directory of a disk in RocksDB.
    RocksDb(PathBuf),
}

impl FromStr for Place {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let uri: ExportUri = text.parse()?;
        match uri {
            ExportUri::File { path, .. } => Ok(Self::File(path)),
            ExportUri::Object(url) => Ok(Self::Object(url)),
            ExportUri::RocksDb { path, create: None } => Ok(Self::RocksDb(path)),
            ExportUri::RocksDb { path, create: Some(_) } => {
                let place = Self::RocksDb(path);
                Err(Invalid::new(format!("{text:?}: what follows the ? is for exports: write {place}, and flags")))
            }
            ExportUri::Memory { .. } => Err(Invalid::new(format!(
                "{uri} has no disk until it is served: give file:, rocksdb: or an object store's URI"
            ))),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Object(url) => f.write_str(url),
            Self::RocksDb(path) => write!(f, "rocksdb:{}", path.display()),
        }
    }
}

/// A flag that was given, if it was.
#[cfg(any(feature = "object-log", feature = "rocksdb"))]
pub(super) type Given = Option<&'static str>;

/// The name of a flag that has a value.
#[cfg(any(feature = "object-log", feature = "rocksdb"))]
pub(super) fn given<T>(flag: &'static str, value: Option<&T>) -> Given {
    value.map(|_| flag)
}

impl Place {
    /// Why this program does not do `verb` there.
    pub(super) fn refused(&self, verb: &str) -> Failure {
        usage(match self {
            Self::File(_) => format!("{self} is a file: {verb} is for disks in the object log and in RocksDB"),
            Self::Object(_) => format!("{self}: this nbdgate was built without the object log"),
            Self::RocksDb(_) => format!("{self}: this nbdgate was built without RocksDB"),
        })
    }

    /// The URL of a disk in the object log; for others, why there is no `verb`, and what there is `instead`.
    #[cfg(feature = "object-log")]
    pub(super) fn in_object_log(&self, verb: &str, instead: &str) -> Result<&str, Failure> {
        match self {
            Self::Object(url) => Ok(url),
            Self::File(_) => Err(usage(format!("{verb} is for disks in the object log, and {self} is a file"))),
            Self::RocksDb(_) => Err(usage(format!("{verb} is for disks in the object log: {instead}"))),
        }
    }
}

/// What verbs of several storages ask of a place.
#[cfg(any(feature = "object-log", feature = "rocksdb"))]
impl Place {
    /// Refuses flags that only the object log knows, for other disks.
    pub(super) fn check_object_flags(&self, flags: impl IntoIterator<Item = Given>) -> Result<(), Failure> {
        match (self, flags.into_iter().flatten().next()) {
            (Self::File(_) | Self::RocksDb(_), Some(flag)) => {
                Err(usage(format!("{flag} is for disks in the object log, and {self} is none")))
            }
            (Self::Object(_), _) | (_, None) => Ok(()),
        }
    }

    /// Refuses flags that only RocksDB disks know, for other disks.
    pub(super) fn check_rocksdb_flags(&self, flags: impl IntoIterator<Item = Given>) -> Result<(), Failure> {
        match (self, flags.into_iter().flatten().next()) {
            (Self::File(_) | Self::Object(_), Some(flag)) => {
                Err(usage(format!("{flag} is for disks in RocksDB, and {self} is none")))
            }
            (Self::RocksDb(_), _) | (_, None) => Ok(()),
        }
    }

    /// Refuses `verb` where this program cannot do it; for commands that ask before they begin.
    pub(super) fn check_verb(&self, verb: &str) -> Result<(), Failure> {
        let can = match self {
            Self::File(_) => false,
            Self::Object(_) => cfg!(feature = "object-log"),
            Self::RocksDb(_) => cfg!(feature = "rocksdb"),
        };
        if can { Ok(()) } else { Err(self.refused(verb)) }
    }

    /// Whether two disks are in the same kind of storage.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// A command that was asked for wrongly.
pub(super) fn usage(sentence: impl Into<String>) -> Failure {
    Failure::Usage(Invalid::new(sentence.into()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_storage_with_disks_at_rest_is_a_place() {
        for text in ["file:/x.img", "s3://bucket/disk", "dir:/srv/bucket/vm1", "rocksdb:/srv/vm1"] {
            assert_eq!(text.parse::<Place>().expect(text).to_string(), text);
        }
        let error = "mem:1G".parse::<Place>().expect_err("nothing is at rest there").to_string();
        assert!(error.contains("until it is served"), "{error}");
        let error = "rocksdb:/srv/vm1?size=1G".parse::<Place>().expect_err("a query makes a disk").to_string();
        assert!(error.contains("rocksdb:/srv/vm1,") && error.contains("flags"), "{error}");
    }

    #[test]
    #[cfg(any(feature = "object-log", feature = "rocksdb"))]
    fn flags_of_another_storage_are_refused_by_name() {
        let place = |text: &str| text.parse::<Place>().expect(text);
        let flags = || [None, Some("--steal")];
        for wrong in ["rocksdb:/srv/vm1", "file:/x.img"] {
            let refused = place(wrong).check_object_flags(flags()).expect_err(wrong).to_string();
            assert!(refused.contains("--steal") && refused.contains(wrong), "{refused}");
            assert!(place(wrong).check_object_flags([None]).is_ok());
        }
        assert!(place("s3://bucket/disk").check_object_flags(flags()).is_ok());
        for wrong in ["s3://bucket/disk", "file:/x.img"] {
            assert!(place(wrong).check_rocksdb_flags([Some("--extent")]).is_err(), "{wrong}");
        }
        assert!(place("rocksdb:/srv/vm1").check_rocksdb_flags([Some("--extent")]).is_ok());
    }

    #[test]
    #[cfg(feature = "object-log")]
    fn a_verb_of_the_object_log_says_so_elsewhere() {
        let refused = |text: &str| {
            let place: Place = text.parse().expect(text);
            place.in_object_log("gc", "RocksDB compacts by itself").map(str::to_owned)
        };
        assert_eq!(refused("s3://bucket/disk").expect("it is there"), "s3://bucket/disk");
        let rocksdb = refused("rocksdb:/srv/vm1").expect_err("it is elsewhere").to_string();
        assert!(rocksdb.contains("gc is for disks in the object log: RocksDB compacts by itself"), "{rocksdb}");
        assert!(refused("file:/x.img").is_err());
    }
}
