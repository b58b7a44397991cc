//! The files of a database directory: which there are, whose they are, and what they take.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use nbdgate_api::{Error, Kind};

use crate::create::{parent, sync_directory};

/// Unit of `st_blocks`, in bytes, whatever the file system's block size.
const STAT_BLOCK: u64 = 512;

/// Names without a number.
const NAMES: [&str; 4] = ["CURRENT", "IDENTITY", "LOCK", "LOG"];
/// Before a number; that of a temporary file ends with [`TEMPORARY`].
const PREFIXES: [&str; 5] = ["MANIFEST-", "OPTIONS-", "COMPACTION_PROGRESS-", "METADB-", "LOG.old."];
/// Behind a number.
const SUFFIXES: [&str; 4] = [".sst", ".blob", ".log", TEMPORARY];
const TEMPORARY: &str = ".dbtmp";
/// Before a hexadecimal number: a file that this crate makes for a moment, to learn what the file system can do.
const TRIAL: &str = "direct-";

/// Whether a database of a disk may have a file of this name. Nothing else is ever deleted.
pub(super) fn is_database_file(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbered = |prefix: &&str| {
        let rest = name.strip_prefix(prefix);
        rest.is_some_and(|rest| is_number(rest.strip_suffix(TEMPORARY).unwrap_or(rest)))
    };
    NAMES.contains(&name)
        || PREFIXES.iter().any(numbered)
        || SUFFIXES.iter().any(|suffix| name.strip_suffix(suffix).is_some_and(is_number))
        || name.strip_prefix(TRIAL).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Whether a file of this name is never changed once it is there, so that two databases may share it.
pub(super) fn is_shared(name: &OsStr) -> bool {
    Path::new(name).extension().is_some_and(|kind| kind == "sst" || kind == "blob")
}

/// Bytes that a file takes on its device.
pub(super) fn taken(metadata: &Metadata) -> u64 {
    metadata.blocks() * STAT_BLOCK
}

/// What makes a file the same file under two names.
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The files of the database in `directory`, by identity.
///
/// # Errors
/// It cannot be listed.
pub(super) fn identities(directory: &Path) -> Result<HashSet<(u64, u64)>, Error> {
    let mut found = HashSet::new();
    each(directory, |metadata| {
        found.insert(identity(metadata));
    })?;
    Ok(found)
}

/// What the files of a snapshot take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pinned {
    /// Bytes of files that are not among the disk's own.
    pub(super) all: u64,
    /// Bytes of files that have no other name.
    pub(super) alone: u64,
}

/// What the files in `directory` take that are not among `shared`.
///
/// # Errors
/// It cannot be listed.
pub(super) fn pinned(directory: &Path, shared: &HashSet<(u64, u64)>) -> Result<Pinned, Error> {
    let mut pinned = Pinned::default();
    each(directory, |metadata| {
        if !shared.contains(&identity(metadata)) {
            pinned.all += taken(metadata);
        }
        if metadata.nlink() == 1 {
            pinned.alone += taken(metadata);
        }
    })?;
    Ok(pinned)
}

/// Looks at every file; one that goes meanwhile is left out.
fn each(directory: &Path, mut act: impl FnMut(&Metadata)) -> Result<(), Error> {
    let failed = |error| Error::from_io(error, format!("cannot list {}", directory.display()));
    for entry in fs::read_dir(directory).map_err(failed)? {
        match entry.map_err(failed)?.metadata() {
            Ok(metadata) if metadata.is_file() => act(&metadata),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

/// Renames a directory, durably. What is at `to` is replaced only if it is an empty directory.
///
/// # Errors
/// It cannot be renamed; if only the directory could not be synced, it is renamed all the same.
pub(crate) fn rename_durably(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
            Error::new(Kind::Invalid, format!("{} exists already", to.display()))
        }
        _ => Error::from_io(error, format!("cannot rename {} to {}", from.display(), to.display())),
    })?;
    sync_directory(parent(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_database_are_known_by_name() {
        for ours in [
            "CURRENT",
            "IDENTITY",
            "LOCK",
            "LOG",
            "LOG.old.1763800000000000",
            "MANIFEST-000005",
            "OPTIONS-000007",
            "OPTIONS-000007.dbtmp",
            "000012.sst",
            "000013.blob",
            "000011.log",
            "000014.dbtmp",
            "direct-0af3",
        ] {
            assert!(is_database_file(OsStr::new(ours)), "{ours}");
        }
        for foreign in ["notes.txt", "sst", ".sst", "x.sst", "12.txt", "MANIFEST-", "MANIFEST-x", "LOG.old", "direct-z"]
        {
            assert!(!is_database_file(OsStr::new(foreign)), "{foreign}");
        }
    }

    #[test]
    fn only_what_never_changes_is_shared() {
        let shared = |name: &str| is_shared(OsStr::new(name));
        assert!(shared("000012.sst") && shared("000013.blob"));
        assert!(!shared("000011.log") && !shared("MANIFEST-000005") && !shared("CURRENT"));
    }

    #[test]
    fn what_is_pinned_is_told_by_links() {
        let place = tempfile::tempdir().unwrap();
        let (disk, snapshot) = (place.path().join("db"), place.path().join("snapshot"));
        fs::create_dir(&disk).unwrap();
        fs::create_dir(&snapshot).unwrap();
        let write = |path: &Path| {
            let mut file = fs::File::create(path).unwrap();
            io::Write::write_all(&mut file, &vec![7; 100_000]).unwrap();
            file.sync_all().unwrap();
        };
        write(&disk.join("1.sst"));
        fs::hard_link(disk.join("1.sst"), snapshot.join("1.sst")).unwrap();
        write(&snapshot.join("2.sst"));
        // Of a clone of the snapshot, not of the disk.
        fs::hard_link(snapshot.join("2.sst"), place.path().join("2.sst")).unwrap();
        write(&snapshot.join("MANIFEST-000001"));
        let pinned = pinned(&snapshot, &identities(&disk).unwrap()).unwrap();
        let one = taken(&fs::metadata(disk.join("1.sst")).unwrap());
        assert!(one >= 100_000, "the file is on its device");
        assert_eq!(pinned, Pinned { all: 2 * one, alone: one });
    }
}
