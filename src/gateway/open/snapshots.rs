//! Opening snapshots of served disks when a client asks for them.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use tokio::runtime::Handle;

use super::{Storage, share};
use crate::{
    config::{Config, ExportConfig, ExportUri},
    export::{Export, ExportName, Opened, SnapshotOpener, Snapshots},
};

/// The snapshots of the exports of `config` whose storage has them; opened on the runtime of the caller.
pub(super) fn on_demand(config: &Config, storage: Storage, total: u32) -> Snapshots {
    let exports = config.exports.iter().filter(|export| has_snapshots(export));
    let exports = exports.map(|export| (export.name.clone(), export.clone())).collect();
    Snapshots::new(Box::new(Opener { exports, storage, total, runtime: Handle::current() }))
}

/// A snapshot in the object log has those before it. One in RocksDB has none: whoever exports it exports nothing else.
fn has_snapshots(export: &ExportConfig) -> bool {
    match export.uri {
        ExportUri::Object(_) => true,
        ExportUri::RocksDb { .. } => export.snapshot.is_none(),
        ExportUri::File { .. } | ExportUri::Memory { .. } => false,
    }
}

struct Opener {
    exports: BTreeMap<ExportName, ExportConfig>,
    storage: Storage,
    total: u32,
    runtime: Handle,
}

impl SnapshotOpener for Opener {
    /// The object log lists its snapshots as bitmaps. RocksDB has snapshots and no bitmaps: to look for one there is to
    /// look into a directory, so whether one of a possible name is there is left to opening.
    fn has(&self, base: &Export, snapshot: &str) -> bool {
        let Some(config) = self.exports.get(base.name()) else { return false };
        match config.uri {
            #[cfg(feature = "rocksdb")]
            ExportUri::RocksDb { .. } => crate::config::is_snapshot_name(snapshot),
            _ => base.backend().bitmaps().iter().any(|listed| &**listed == snapshot),
        }
    }

    fn open(&self, base: &Export, snapshot: &str, name: ExportName) -> Pin<Box<dyn Future<Output = Opened> + Send>> {
        let Some(config) = self.exports.get(base.name()).cloned() else {
            return Box::pin(async { Err("only disks in an object store or in RocksDB have snapshots".to_owned()) });
        };
        let (storage, total) = (self.storage.clone(), self.total);
        let config = of_snapshot(config, snapshot, name);
        let opening = self.runtime.spawn(async move { open(&storage, config, total).await });
        Box::pin(async move { opening.await.unwrap_or_else(|error| Err(error.to_string())) })
    }
}

/// The export of a disk, turned into that of a snapshot of it.
fn of_snapshot(mut config: ExportConfig, snapshot: &str, name: ExportName) -> ExportConfig {
    config.read_only = true;
    config.snapshot = Some(snapshot.to_owned());
    config.name = name;
    if let ExportUri::RocksDb { create, .. } = &mut config.uri {
        *create = None;
    }
    config
}

async fn open(storage: &Storage, config: ExportConfig, total: u32) -> Opened {
    tracing::info!(export = %config.name, "opening a snapshot");
    match storage.open(&config).await {
        Ok(backend) => Ok(Arc::new(Export::new(config.name, config.description, backend, true, share(total)))),
        Err(error) => {
            // Clients are not told of paths and other snapshots.
            tracing::warn!(error = format!("{error:#}"), "cannot open a snapshot that a client asked for");
            Err("there is no such snapshot, or it cannot be opened: the gateway's log says why".to_owned())
        }
    }
}
