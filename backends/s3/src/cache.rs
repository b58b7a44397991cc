//! The read cache on local storage (OBJECT-LOG §5.5): lines of 64 KiB of immutable objects, shared by all disks of the
//! process and by their clones.
//!
//! ```text
//!  read ──► set (RAM, locked) ──► slot (medium) ──► crc of key and bytes ──► bytes, or a miss
//!  keep ──► queue, bounded ──► reserve a slot ──► write it ──► publish ──► the set's page, now and then
//! ```
//!
//! Invariant: bytes are handed out only if their crc fits the key that was asked for, so whatever the medium lost, tore or
//! mixed up is a miss. An object never changes, so nothing is ever invalidated; a name that is deleted is asked for no
//! more. Failures of the medium are misses too; after [`STRIKES`] of them in a row the cache is off until it is opened
//! again. Lines hold objects as they are stored, sealed ones sealed.
//!
//! Absent by design: fsync, because nothing here is believed without its check; a promise that what is kept stays.

mod key;
mod medium;
mod page;
mod set;
mod slots;
mod work;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use nbdgate_api::{Error, Kind};
use tokio::runtime::Handle;

pub(crate) use self::{key::ObjectKey, key::lines};
pub use self::{medium::Medium, slots::CacheLevels};
use self::{slots::Slots, work::Work};

/// Bytes of a line: an aligned range of an object.
pub(crate) const LINE: u64 = 64 << 10;

/// After so many failures of the medium in a row the cache is off.
const STRIKES: u32 = 8;

/// Where a read cache is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// A file, created if it does not exist, or a block device. What it holds is overwritten if it is not a cache of this size.
    pub path: PathBuf,
    /// Bytes of the file, all of them allocated at once; a device is used whole. At least 1 MiB.
    pub size: u64,
}

/// A read cache; see the [module](self). Cheap to share: `OpenOptions::cache` takes the same one for every disk.
#[derive(Debug)]
pub struct Cache {
    slots: Arc<Slots>,
    work: Work,
}

impl Cache {
    /// Opens the cache, with what it held when it was closed if it is the same file of the same size. Blocks: its index is
    /// read, 4 KiB for each 16 MiB.
    ///
    /// # Errors
    /// The file cannot be opened, locked or allocated, or is too small. Damage is no error.
    pub fn open(options: &CacheOptions) -> Result<Arc<Self>, Error> {
        let name = options.path.display().to_string();
        Self::on(Arc::new(medium::OnFile::open(&options.path, options.size)?), &name)
    }

    /// A cache on any medium; `name` is for messages. For tests that let the medium fail.
    ///
    /// # Errors
    /// The medium is too small, or its superblock cannot be written.
    pub fn on(medium: Arc<dyn Medium>, name: &str) -> Result<Arc<Self>, Error> {
        let slots = Slots::open(medium, name)?;
        Ok(Arc::new(Self { slots: Arc::new(slots), work: Work::default() }))
    }

    /// What it holds and did so far.
    pub fn levels(&self) -> CacheLevels {
        CacheLevels { dropped_bytes: self.work.dropped.load(Ordering::Relaxed), ..self.slots.levels() }
    }

    /// Writes what changed of the index, so that it is found again after a restart. Blocks. Also done when the cache is
    /// dropped, and now and then while it is used.
    pub fn sync(&self) {
        self.slots.sync();
    }

    /// Whether there is any use in asking for the line.
    pub(crate) fn has(&self, object: ObjectKey, line: u32) -> bool {
        self.slots.has(object.line(line))
    }

    /// The lines, each if it is there and sound. The medium is read on the blocking threads of `runtime`.
    pub(crate) async fn read(&self, runtime: &Handle, object: ObjectKey, lines: &[u32]) -> Vec<Option<Bytes>> {
        if lines.iter().any(|&line| self.has(object, line)) {
            self.work.read(&self.slots, runtime, object, lines).await
        } else {
            self.slots.missed(lines.len() as u64);
            vec![None; lines.len()]
        }
    }

    /// Keeps `bytes`, which begin at the line `first` of the object and are whole lines, except that the last may be cut
    /// short by the object's end. Returns at once; what there is no time for is not kept.
    pub(crate) fn keep(&self, runtime: &Handle, object: ObjectKey, first: u32, bytes: Vec<Bytes>) {
        self.work.keep(&self.slots, runtime, work::Keep { object, first, bytes });
    }

    /// Drops the lines: their bytes are not what the object holds, although they are what was kept.
    pub(crate) fn forget(&self, object: ObjectKey, lines: std::ops::Range<u32>) {
        lines.for_each(|line| self.slots.forget(object.line(line)));
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.slots.sync();
    }
}

fn too_small(name: &str, size: u64) -> Error {
    Error::new(Kind::Invalid, format!("the read cache {name} has {size} bytes, and needs at least 1 MiB"))
}

#[cfg(test)]
mod tests;
