//! The snapshots of a disk, oldest first, with what they hold back.
//!
//! Those of a disk in RocksDB are files: they are looked at by a thread that may block, one disk at a time, and what never
//! changes is found out once. The look ends between two snapshots when nobody waits for it any more, as when the gateway
//! stops: RocksDB does not let a process end under it.

use std::{collections::HashSet, future::Future};

use serde::Serialize;

use crate::{
    export::ExportName,
    status::{Shown, Status},
};

/// Most snapshots that are told of, the newest; all are counted.
#[cfg(any(feature = "object-log", feature = "rocksdb"))]
const MAX_TOLD: usize = 256;

/// Disks looked at one time: each look is a call of the file system for each file of each snapshot.
#[cfg(feature = "rocksdb")]
static LOOKS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(1);

/// The snapshots of a disk.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Snapshots {
    /// How many there are.
    pub(super) total: usize,
    pub(super) newest: Vec<Snapshot>,
}

/// What is kept of the snapshots of a disk from one look to the next. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    #[cfg(feature = "rocksdb")]
    rocksdb: std::sync::Arc<parking_lot::Mutex<nbdgate_rocksdb::admin::WatchedSnapshots>>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Snapshot {
    name: String,
    created_unix_seconds: f64,
    /// Of a disk that is served read-only, others know.
    pinned_bytes: Option<u64>,
    pinned_alone_bytes: Option<u64>,
    /// Whether it is an export, or a client uses it.
    served: bool,
}

/// Lists them; `None` if the storage of the export has none, or does not tell.
pub(super) fn list(
    status: &Status,
    shown: &Shown,
    export: &ExportName,
    known: &Known,
) -> impl Future<Output = Option<Snapshots>> + Send + 'static + use<> {
    let served = served(status, shown, export);
    #[cfg(feature = "object-log")]
    let disk = status.object_disk(export.as_str()).filter(|_| !shown.is_snapshot);
    #[cfg(feature = "rocksdb")]
    let directory = shown.directory.clone().filter(|_| !shown.is_snapshot);
    let known = known.clone();
    async move {
        #[cfg(feature = "object-log")]
        if let Some(disk) = disk {
            return of_object_log(disk, served).await;
        }
        #[cfg(feature = "rocksdb")]
        if let Some(directory) = directory {
            return of_rocksdb(directory, known, served).await;
        }
        drop((served, known));
        None
    }
}

/// The names of those that somebody can read now.
fn served(status: &Status, shown: &Shown, export: &ExportName) -> HashSet<String> {
    let prefix = format!("{export}@");
    let snapshot = |used: &ExportName| used.as_str().strip_prefix(&prefix).map(str::to_owned);
    // An export may have a name that looks like that of a snapshot.
    let is_export = |snapshot: &String| status.shown(&format!("{prefix}{snapshot}")).is_some();
    let used = status.clients.exports().iter().filter_map(snapshot).filter(|used| !is_export(used)).collect::<Vec<_>>();
    shown.served_snapshots.iter().cloned().chain(used).collect()
}

#[cfg(feature = "object-log")]
async fn of_object_log(disk: std::sync::Weak<nbdgate_s3::Disk>, served: HashSet<String>) -> Option<Snapshots> {
    let look = move || {
        let disk = disk.upgrade()?;
        let knows = !nbdgate_api::Backend::info(disk.as_ref()).read_only;
        let told = |pins: nbdgate_s3::SnapshotPins| Snapshot {
            served: served.contains(&pins.snapshot.name),
            created_unix_seconds: seconds(pins.snapshot.created_unix_ms),
            pinned_bytes: knows.then_some(pins.pinned),
            pinned_alone_bytes: knows.then_some(pins.pinned_alone),
            name: pins.snapshot.name,
        };
        let pins = disk.snapshot_pins();
        let (total, older) = (pins.len(), pins.len().saturating_sub(MAX_TOLD));
        Some(Snapshots { total, newest: pins.into_iter().skip(older).map(told).collect() })
    };
    tokio::task::spawn_blocking(look).await.ok()?
}

#[cfg(feature = "rocksdb")]
async fn of_rocksdb(directory: std::path::PathBuf, known: Known, served: HashSet<String>) -> Option<Snapshots> {
    let _turn = LOOKS.acquire().await.ok()?;
    // Goes when this is not waited for any more.
    let waited_for = std::sync::Arc::new(());
    let waiting = std::sync::Arc::downgrade(&waited_for);
    let look = move || known.rocksdb.lock().look(&directory, MAX_TOLD, || waiting.strong_count() > 0);
    let seen = match tokio::task::spawn_blocking(look).await.ok()? {
        Ok(seen) => seen?,
        Err(error) => {
            tracing::debug!(error = error.chain(), "the status page cannot list snapshots");
            return None;
        }
    };
    drop(waited_for);
    let told = |of: nbdgate_rocksdb::admin::SnapshotPins| Snapshot {
        served: served.contains(&of.name),
        created_unix_seconds: seconds(of.created_unix_ms),
        pinned_bytes: Some(of.pinned),
        pinned_alone_bytes: Some(of.pinned_alone),
        name: of.name,
    };
    Some(Snapshots { total: seen.total, newest: seen.newest.into_iter().map(told).collect() })
}

#[cfg(any(feature = "object-log", feature = "rocksdb"))]
fn seconds(unix_ms: u64) -> f64 {
    unix_ms as f64 / 1000.0
}
