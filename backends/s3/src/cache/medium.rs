//! What a cache is kept on: a file or a block device, or in tests something that fails.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom},
    os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt},
    path::Path,
};

use nbdgate_api::{Error, Kind};

/// Bytes that may be read back otherwise than they were written, or not at all: the cache believes none of them.
///
/// 1. Calls may block; the cache makes them on threads for that, several at once.
/// 2. A write that failed, or was under way when the process died, leaves anything in its own range and nothing elsewhere.
/// 3. No call makes anything durable, and the cache needs none to.
pub trait Medium: Send + Sync + fmt::Debug {
    /// Bytes that it holds.
    fn size(&self) -> u64;

    /// Fills `bytes` from `offset`.
    ///
    /// # Errors
    /// The device's; a range beyond the end.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` to `offset`.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

/// A file of the cache's own, or a block device.
#[derive(Debug)]
pub(super) struct OnFile {
    file: File,
    size: u64,
}

impl OnFile {
    /// Opens or creates the file with `size` bytes; a device is used whole. What it holds may be someone's data, so only
    /// its owner may read a new one.
    pub(super) fn open(path: &Path, size: u64) -> Result<Self, Error> {
        let failed = |verb: &str, error| Error::from_io(error, format!("{verb} the read cache {}", path.display()));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| failed("opening", error))?;
        file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => {
                Error::new(Kind::Invalid, format!("the read cache {} is in use by another process", path.display()))
            }
            std::fs::TryLockError::Error(error) => failed("locking", error),
        })?;
        let metadata = file.metadata().map_err(|error| failed("examining", error))?;
        if metadata.file_type().is_block_device() {
            let size = file.seek(SeekFrom::End(0)).map_err(|error| failed("measuring", error))?;
            return Ok(Self { file, size });
        }
        if !metadata.is_file() {
            let text = format!("the read cache {} is neither a file nor a block device", path.display());
            return Err(Error::new(Kind::Invalid, text));
        }
        file.set_len(size).map_err(|error| failed("resizing", error))?;
        preallocate(&file, size).map_err(|error| failed("allocating", error))?;
        Ok(Self { file, size })
    }
}

/// Allocates the file's blocks, so that a full file system is noticed now. One that cannot do that has a sparse cache.
fn preallocate(file: &File, size: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, size) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Medium for OnFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }
}
