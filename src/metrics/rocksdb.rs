//! Disks in RocksDB: what each holds and does, as RocksDB and its backend count it; and the memory that all of them share.
//!
//! Nothing is told: everything is asked for when someone scrapes. The series of a disk come when it is opened and go at
//! the first scrape after it was closed; its counts begin anew when it is opened again.

mod disk;
mod shared;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Weak},
};

use nbdgate_rocksdb::{Levels, Shared, SharedLevels};
use parking_lot::Mutex;

use self::{
    disk::{CACHES, DISK, DiskSeries, WRITTEN},
    shared::SHARED,
};
use super::{
    Recorder,
    family::Family,
    measures::{Group, families as of},
};

/// What the names of all families here begin with.
const PREFIX: &str = "nbdgate_rocksdb_";
const EXPORT: &str = "export";

/// Every family of RocksDB.
pub(super) fn families() -> impl Iterator<Item = &'static Family> {
    of(DISK).chain(of(CACHES)).chain(of(WRITTEN)).chain(of(SHARED))
}

/// What is looked at when someone scrapes.
#[derive(Debug, Default)]
pub(super) struct RocksDbMetrics {
    /// By export. The lock is held where series come and go, so that a disk that was closed takes its own with it and not
    /// those of its successor.
    disks: Mutex<BTreeMap<String, Disk>>,
    shared: Mutex<Option<(Weak<Shared>, Group<SharedLevels>)>>,
}

struct Disk {
    /// `None` once it is closed.
    levels: Box<dyn Fn() -> Option<Levels> + Send + Sync>,
    series: DiskSeries,
}

impl RocksDbMetrics {
    /// Registers the series of what the disks share, which is not kept alive.
    pub(super) fn watch_shared(&self, shared: &Arc<Shared>) {
        *self.shared.lock() = Some((Arc::downgrade(shared), Group::new(SHARED, &[])));
    }

    /// Registers the series of a disk. One that is watched under the same name is closed, and its series go on.
    pub(super) fn watch_disk(&self, export: &str, levels: impl Fn() -> Option<Levels> + Send + Sync + 'static) {
        let mut disks = self.disks.lock();
        let disk = Disk { levels: Box::new(levels), series: DiskSeries::new(export) };
        disks.insert(export.to_owned(), disk);
    }

    /// Asks everything that is watched, and takes the series of closed disks out of `recorder`.
    pub(super) fn update(&self, recorder: &Recorder) {
        self.disks.lock().retain(|export, disk| {
            let levels = (disk.levels)();
            match &levels {
                Some(levels) => disk.series.set(levels),
                None => recorder.forget(PREFIX, EXPORT, export),
            }
            levels.is_some()
        });
        if let Some((shared, series)) = &*self.shared.lock()
            && let Some(shared) = shared.upgrade()
        {
            series.set(&shared.levels());
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use self::tests::tell_everything;
