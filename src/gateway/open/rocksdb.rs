//! Opening disks in RocksDB, and what they share: the cache and the memory of writes.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use nbdgate_api::{Backend, Error, Info, Io};
use nbdgate_rocksdb::{OpenOptions, RocksDisk, Shared, SharedOptions, Wanted};
use tokio::{runtime::Handle, task::spawn_blocking};

use crate::{
    config::{Config, ExportConfig, ExportUri, RocksDbDisk},
    metrics::Metrics,
};

/// What all disks in RocksDB share.
#[derive(Clone, Debug)]
pub(super) struct Disks {
    /// There if an export is in RocksDB.
    shared: Option<Arc<Shared>>,
    metrics: Metrics,
}

impl Disks {
    pub(super) fn new(config: &Config, metrics: &Metrics) -> Self {
        let used = config.exports.iter().any(|export| matches!(export.uri, ExportUri::RocksDb { .. }));
        let options = SharedOptions { cache: config.rocksdb.cache, write_memory: config.rocksdb.memory };
        let shared = used.then(|| Shared::new(&options));
        if let Some(shared) = &shared {
            metrics.watch_rocksdb(shared);
        }
        Self { shared, metrics: metrics.clone() }
    }

    /// Opens the disk of an export, or a snapshot of it, on a thread that may block.
    pub(super) async fn open(
        &self,
        path: &Path,
        create: Option<RocksDbDisk>,
        export: &ExportConfig,
    ) -> anyhow::Result<Arc<dyn Backend>> {
        let shared = self.shared.clone().context("no export was in RocksDB when the gateway started")?;
        let (path, read_only, snapshot) = (path.to_owned(), export.read_only, export.snapshot.clone());
        let is_snapshot = snapshot.is_some();
        let create = create.map(|disk| Wanted {
            size: disk.size,
            extent: disk.extent,
            compression: disk.compression.map(Into::into),
        });
        let opening =
            spawn_blocking(move || RocksDisk::open(&path, &OpenOptions { read_only, snapshot, create, shared }));
        let disk = opening.await.context("opening a disk in RocksDB panicked")??;
        self.metrics.watch_rocksdb_disk(export.name.as_str(), disk.watch());
        Ok(if is_snapshot { Arc::new(Snapshot::new(disk)) } else { Arc::new(disk) })
    }
}

/// A snapshot, which goes when the last of its clients leaves: on a thread that serves others, where RocksDB must not
/// wait for its own. So it is closed elsewhere.
#[derive(Debug)]
struct Snapshot {
    /// Until it is dropped.
    disk: Option<RocksDisk>,
    runtime: Handle,
}

impl Snapshot {
    /// Closed by the runtime of the caller.
    fn new(disk: RocksDisk) -> Self {
        Self { disk: Some(disk), runtime: Handle::current() }
    }

    fn disk(&self) -> &RocksDisk {
        self.disk.as_ref().expect("it is there until it is dropped")
    }
}

impl Backend for Snapshot {
    fn info(&self) -> &Info {
        self.disk().info()
    }

    fn submit(&self, io: Io) {
        self.disk().submit(io);
    }

    fn close(&self) -> Result<(), Error> {
        self.disk().close()
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let Some(disk) = self.disk.take() else { return };
        self.runtime.spawn_blocking(move || {
            // Waits for reads whose client is gone, so that the database goes here and not with the last of them.
            let _nothing_was_written = disk.close();
        });
    }
}
