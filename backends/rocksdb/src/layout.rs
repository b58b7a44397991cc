//! Where things of a disk are on its file system.
//!
//! | path | what |
//! |---|---|
//! | `PATH/lock` | locked by whoever has the disk open: one writer or many readers |
//! | `PATH/db/` | the database |
//! | `PATH/flushed` | up to where a FLUSH was acknowledged ([`flushed`](crate::flushed)) |
//! | `PATH/snapshots/NAME/` | databases of their own, which share files with the disk's by hard links |
//!
//! A disk is made beside its place and renamed to it, so a directory with a `lock` and a `db` in it is a whole disk.

use std::path::{Path, PathBuf};

use nbdgate_api::{Error, Kind};

/// The directory of one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("db")
    }

    pub(crate) fn flushed(&self) -> PathBuf {
        self.root.join("flushed")
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub(crate) fn snapshot(&self, name: &str) -> PathBuf {
        self.snapshots().join(name)
    }

    /// A directory beside the disk's, for what is not finished; `what` says what it is.
    pub(crate) fn beside(&self, what: &str) -> PathBuf {
        let mut name = self.root.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{what}-{}", uuid::Uuid::new_v4().simple()));
        self.root.with_file_name(name)
    }

    /// The disk in texts.
    pub(crate) fn name(&self) -> String {
        self.root.display().to_string()
    }

    /// Whether there is a disk.
    ///
    /// # Errors
    /// There is something else.
    pub(crate) fn is_disk(&self) -> Result<bool, Error> {
        let name = self.name();
        let metadata = match std::fs::metadata(&self.root) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::from_io(error, format!("cannot open {name}"))),
        };
        if !metadata.is_dir() {
            return Err(Error::new(Kind::Invalid, format!("{name} is no directory: a RocksDB disk is one")));
        }
        if self.database().is_dir() && self.lock().is_file() {
            return Ok(true);
        }
        if self.root.join("CURRENT").exists() {
            let text = format!("{name} is a RocksDB that nbdgate did not make: it is left alone, give another path");
            return Err(Error::new(Kind::Invalid, text));
        }
        let listed = std::fs::read_dir(&self.root);
        let mut entries = listed.map_err(|error| Error::from_io(error, format!("cannot list {name}")))?;
        if entries.next().is_none() {
            return Ok(false);
        }
        Err(Error::new(Kind::Invalid, format!("{name} is a directory with something else in it, not a disk")))
    }

    /// # Errors
    /// There is no disk, or something else.
    pub(crate) fn require(&self) -> Result<(), Error> {
        if self.is_disk()? {
            return Ok(());
        }
        let name = self.name();
        let text = format!("there is no disk at {name}: check the path, or make one with nbdgate disk create");
        Err(Error::from_io(std::io::ErrorKind::NotFound.into(), text))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_a_whole_disk_is_a_disk_and_strangers_are_named() {
        let place = tempfile::tempdir().unwrap();
        let layout = Layout::new(&place.path().join("vm"));
        assert!(!layout.is_disk().unwrap(), "nothing is there");
        fs::create_dir(layout.root()).unwrap();
        assert!(!layout.is_disk().unwrap(), "an empty directory may become one");
        fs::write(layout.root().join("CURRENT"), "MANIFEST-000001").unwrap();
        assert!(layout.is_disk().unwrap_err().to_string().contains("did not make"));
        fs::remove_file(layout.root().join("CURRENT")).unwrap();
        fs::create_dir(layout.database()).unwrap();
        assert!(layout.is_disk().unwrap_err().to_string().contains("something else"), "half a disk");
        fs::write(layout.lock(), "").unwrap();
        assert!(layout.is_disk().unwrap());
    }

    #[test]
    fn a_missing_disk_and_a_file_are_told_apart() {
        let place = tempfile::NamedTempFile::new().unwrap();
        assert!(Layout::new(place.path()).require().unwrap_err().to_string().contains("no directory"));
        let missing = place.path().with_extension("missing");
        assert!(Layout::new(&missing).require().unwrap_err().to_string().contains("no disk at"));
    }
}
