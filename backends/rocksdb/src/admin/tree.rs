//! Deleting a disk, or a part of one: files that are known, and nothing else.
//!
//! First everything is looked at, and something foreign refuses the whole before anything is changed. Links are foreign.

use std::{
    ffi::OsStr,
    fs::{self, DirEntry, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nbdgate_api::{Error, Kind};

use super::files::{is_database_file, taken};
use crate::{Progress, layout::Layout};

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files.
    pub files: u64,
    /// Bytes that are free now: those of files that had no other name.
    pub bytes: u64,
}

impl Removed {
    pub(super) fn add(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

/// Files and directories in the order in which they can be deleted. Directories have no metadata here.
#[derive(Debug, Default)]
pub(crate) struct Tree(Vec<(PathBuf, Option<Metadata>)>);

impl Tree {
    /// Everything of the disk in `root`. Its lock goes last, when nothing else is left.
    ///
    /// # Errors
    /// There is something else in it, or it cannot be listed.
    pub(crate) fn of_disk(root: &Path) -> Result<Self, Error> {
        let layout = Layout::new(root);
        let mut tree = Self::default();
        let mut own = Vec::new();
        for (entry, metadata) in list(root)? {
            let path = entry.path();
            if metadata.is_file() && (path == layout.lock() || path == layout.flushed()) {
                own.push((path, Some(metadata)));
            } else if metadata.is_dir() && path == layout.database() {
                tree.add_database(path)?;
            } else if metadata.is_dir() && path == layout.snapshots() {
                tree.add_snapshots(path)?;
            } else {
                return Err(foreign(&path));
            }
        }
        own.sort_by_key(|(path, _)| *path == layout.lock());
        tree.0.extend(own);
        tree.0.push((root.to_owned(), None));
        Ok(tree)
    }

    /// A database directory by itself, as a snapshot is one.
    ///
    /// # Errors
    /// There is something else in it, or it cannot be listed.
    pub(super) fn of_database(directory: &Path) -> Result<Self, Error> {
        let mut tree = Self::default();
        tree.add_database(directory.to_owned())?;
        Ok(tree)
    }

    fn add_snapshots(&mut self, directory: PathBuf) -> Result<(), Error> {
        for (entry, metadata) in list(&directory)? {
            if !metadata.is_dir() {
                return Err(foreign(&entry.path()));
            }
            self.add_database(entry.path())?;
        }
        self.0.push((directory, None));
        Ok(())
    }

    fn add_database(&mut self, directory: PathBuf) -> Result<(), Error> {
        for (entry, metadata) in list(&directory)? {
            if !metadata.is_file() || !is_database_file(&entry.file_name()) {
                return Err(foreign(&entry.path()));
            }
            self.0.push((entry.path(), Some(metadata)));
        }
        self.0.push((directory, None));
        Ok(())
    }

    /// Deletes it.
    ///
    /// # Errors
    /// Something cannot be deleted, or came meanwhile.
    pub(crate) fn delete(self, progress: &dyn Progress) -> Result<Removed, Error> {
        progress.total(self.0.iter().filter_map(|(_, metadata)| metadata.as_ref()).map(taken).sum());
        let mut removed = Removed::default();
        for (path, metadata) in &self.0 {
            let Some(metadata) = metadata else {
                gone(fs::remove_dir(path), path)?;
                continue;
            };
            // The other names of a file may have gone since it was looked at.
            let alone = fs::symlink_metadata(path).is_ok_and(|now| now.nlink() == 1);
            gone(fs::remove_file(path), path)?;
            removed.files += 1;
            removed.bytes += if alone { taken(metadata) } else { 0 };
            progress.advance(taken(metadata));
        }
        Ok(removed)
    }
}

/// What is gone already is gone.
fn gone(deleted: io::Result<()>, path: &Path) -> Result<(), Error> {
    match deleted {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::from_io(error, format!("cannot delete {}", path.display()))),
    }
}

fn list(directory: &Path) -> Result<Vec<(DirEntry, Metadata)>, Error> {
    let failed = |error| Error::from_io(error, format!("cannot list {}", directory.display()));
    let entries = fs::read_dir(directory).map_err(failed)?.map(|entry| {
        let entry = entry?;
        // Of a link, not of what it points to.
        let metadata = entry.metadata()?;
        Ok((entry, metadata))
    });
    entries.collect::<io::Result<Vec<_>>>().map_err(failed)
}

fn foreign(path: &Path) -> Error {
    let name = path.file_name().unwrap_or(OsStr::new("?"));
    let place = path.parent().unwrap_or(path);
    let text = format!(
        "{} in {} is nothing that a disk has: move it away, nothing was deleted",
        name.display(),
        place.display()
    );
    Error::new(Kind::Invalid, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoProgress;

    fn disk(place: &Path) -> PathBuf {
        let root = place.join("vm");
        for directory in ["db", "snapshots/monday", "snapshots/.new-1"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for file in ["lock", "flushed", "db/CURRENT", "db/000004.sst", "snapshots/monday/CURRENT"] {
            fs::write(root.join(file), file).unwrap();
        }
        root
    }

    #[test]
    fn a_disk_goes_whole_and_its_lock_goes_last() {
        let place = tempfile::tempdir().unwrap();
        let root = disk(place.path());
        let tree = Tree::of_disk(&root).unwrap();
        let last: Vec<_> = tree.0.iter().rev().take(2).map(|(path, _)| path.clone()).collect();
        assert_eq!(last, [root.clone(), root.join("lock")]);
        assert_eq!(tree.delete(&NoProgress).unwrap().files, 5);
        assert!(!root.exists());
    }

    #[test]
    fn something_foreign_anywhere_is_named_and_nothing_is_deleted() {
        for strange in ["notes.txt", "db/notes.txt", "snapshots/notes.txt", "snapshots/monday/notes.txt"] {
            let place = tempfile::tempdir().unwrap();
            let root = disk(place.path());
            fs::write(root.join(strange), "precious").unwrap();
            let error = Tree::of_disk(&root).unwrap_err().to_string();
            assert!(error.contains("notes.txt"), "{error}");
        }
    }

    #[test]
    fn links_are_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let root = disk(place.path());
        fs::write(place.path().join("precious"), "").unwrap();
        std::os::unix::fs::symlink(place.path().join("precious"), root.join("db/000007.sst")).unwrap();
        assert!(Tree::of_disk(&root).unwrap_err().to_string().contains("000007.sst"));
    }
}
