//! One writer or many readers of a disk.
//!
//! `flock` on a file of the disk's directory: held until it is dropped, gone with the process, and valid between two opens
//! in one process. RocksDB has a lock of its own, which keeps other programs' writers out.

use std::{fs::File, path::Path, thread, time::Duration};

use nbdgate_api::{Error, Kind};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::layout::Layout;

/// How often a writer tries, and how long it waits in between.
const TRIES: u32 = 5;
const BETWEEN: Duration = Duration::from_millis(10);

/// What someone wants of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// To change it.
    Write,
    /// That nobody changes it.
    Read,
}

/// A lock that is held.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// # Errors
    /// Somebody else has the disk, or the file system has no locks.
    pub(crate) fn take(layout: &Layout, hold: Hold) -> Result<Self, Error> {
        Self::on(&layout.lock(), &layout.name(), hold)
    }

    /// A snapshot has a lock of its own, its directory: it may be read while the disk is written.
    ///
    /// # Errors
    /// There is no such snapshot, or somebody else has it.
    pub(crate) fn take_snapshot(layout: &Layout, snapshot: &str, hold: Hold) -> Result<Self, Error> {
        Self::on(&layout.snapshot(snapshot), &format!("{}, snapshot {snapshot},", layout.name()), hold)
    }

    fn on(path: &Path, name: &str, hold: Hold) -> Result<Self, Error> {
        let file =
            File::open(path).map_err(|error| Error::from_io(error, format!("cannot open {}", path.display())))?;
        let operation = match hold {
            Hold::Write => FlockOperation::NonBlockingLockExclusive,
            Hold::Read => FlockOperation::NonBlockingLockShared,
        };
        let mut left = TRIES;
        let outcome = loop {
            left -= 1;
            match flock(&file, operation) {
                // Somebody may only be looking whether it is free.
                Err(Errno::WOULDBLOCK) if left > 0 && hold == Hold::Write => thread::sleep(BETWEEN),
                outcome => break outcome,
            }
        };
        match outcome {
            Ok(()) => Ok(Self { _file: file }),
            Err(Errno::WOULDBLOCK) => {
                let text = match hold {
                    Hold::Write => format!("{name} is in use, here or by another process: stop that first"),
                    Hold::Read => format!("{name} is being written to: stop that first, or serve a snapshot of it"),
                };
                Err(Error::new(Kind::Permission, text))
            }
            Err(errno) => Err(Error::from_io(errno.into(), format!("cannot lock {name}"))),
        }
    }

    /// Whether nobody has the disk open for writing now.
    pub(crate) fn is_free(layout: &Layout) -> bool {
        Self::take(layout, Hold::Read).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_or_many_readers_also_in_one_process() {
        let place = tempfile::tempdir().unwrap();
        let layout = Layout::new(place.path());
        std::fs::write(layout.lock(), "").unwrap();
        let reader = Lock::take(&layout, Hold::Read).unwrap();
        let another = Lock::take(&layout, Hold::Read).unwrap();
        assert!(Lock::take(&layout, Hold::Write).unwrap_err().to_string().contains("in use"));
        drop((reader, another));
        let writer = Lock::take(&layout, Hold::Write).unwrap();
        assert!(Lock::take(&layout, Hold::Read).unwrap_err().to_string().contains("written to"));
        assert!(!Lock::is_free(&layout));
        drop(writer);
        assert!(Lock::is_free(&layout));
    }
}
