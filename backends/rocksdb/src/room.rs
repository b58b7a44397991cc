//! Room on the file system: writes end before RocksDB runs out of it.
//!
//! A log that met a full file system cannot be synced any more, and RocksDB stops for good when that is tried. So writes are
//! refused while there still is room for what must go on: the log of deletions, which make room, and the tables of what is in
//! memory. Then FLUSH stays true, and there is nothing to recover from when there is room again.
//!
//! Not in here: a file system that others fill between the look and the write, by more than what is kept.

use std::{fs::File, path::Path};

use nbdgate_api::{Error, Kind};
use rustix::fs::fstatvfs;

/// Bytes that writes leave: two memtables on their way into tables.
const KEPT_BY_WRITES: u64 = 64 << 20;
/// Bytes that deletions leave.
const KEPT_BY_DELETIONS: u64 = 4 << 20;

/// The file system of a disk.
#[derive(Debug)]
pub(crate) struct Room {
    directory: File,
}

impl Room {
    /// # Errors
    /// The directory cannot be opened.
    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        let opened = File::open(path);
        let directory = opened.map_err(|error| Error::from_io(error, format!("cannot open {}", path.display())))?;
        Ok(Self { directory })
    }

    /// # Errors
    /// There is no room to write so many bytes; 0 for a deletion.
    pub(crate) fn check(&self, bytes: u64) -> Result<(), Error> {
        // Where nobody can tell, RocksDB finds out.
        let Ok(status) = fstatvfs(&self.directory) else { return Ok(()) };
        let left = status.f_bavail.saturating_mul(status.f_frsize);
        let kept = if bytes == 0 { KEPT_BY_DELETIONS } else { KEPT_BY_WRITES + bytes };
        if left >= kept {
            return Ok(());
        }
        let text = format!("the file system has {left} bytes left, of which {kept} are not written to: make room");
        Err(Error::new(Kind::NoSpace, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_no_space() {
        let place = tempfile::tempdir().unwrap();
        let room = Room::of(place.path()).unwrap();
        room.check(0).unwrap();
        assert_eq!(room.check(u64::MAX - KEPT_BY_WRITES).unwrap_err().kind(), Kind::NoSpace);
    }
}
