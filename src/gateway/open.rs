//! From configured exports to open ones.

#[cfg(feature = "object-log")]
mod object;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(any(feature = "object-log", feature = "rocksdb"))]
mod snapshots;

use std::{path::Path, sync::Arc, time::Instant};

use anyhow::Context;
use nbdgate_api::Backend;
use nbdgate_file::FileDisk;
use nbdgate_memory::Memory;

use super::stop::close_exports;
use crate::{
    config::{Config, ExportConfig, ExportUri},
    export::{Export, Registry},
    metrics::Metrics,
    scheduler::permits::Budget,
};

/// Opens every export; if one fails, closes the others again. `total` is the budget of the gateway: one export may
/// use up to three quarters of it, so that a stuck one leaves something to the others.
pub(super) async fn exports(config: &Config, total: u32, metrics: &Metrics) -> anyhow::Result<Registry> {
    let mut registry = Registry::default();
    let storage = Storage::new(config, metrics)?;
    for export in &config.exports {
        let opened =
            storage.open(export).await.with_context(|| format!("cannot open export {:?}", export.name.as_str()));
        let added = opened.and_then(|backend| {
            let budget = share(total);
            let name = export.name.clone();
            let export = Export::new(name, export.description.clone(), backend, export.read_only, budget);
            Ok(registry.add(Arc::new(export))?)
        });
        if let Err(error) = added {
            let _closed = close_exports(&registry, Instant::now() + config.shutdown_timeout);
            return Err(error);
        }
    }
    #[cfg(any(feature = "object-log", feature = "rocksdb"))]
    let registry = registry.with_snapshots(snapshots::on_demand(config, storage, total));
    Ok(registry)
}

/// What opens disks, and what disks of one kind share. Cheap to clone.
#[derive(Clone, Debug)]
struct Storage {
    #[cfg(feature = "object-log")]
    object: object::Disks,
    #[cfg(feature = "rocksdb")]
    rocksdb: rocksdb::Disks,
}

impl Storage {
    #[cfg_attr(
        not(feature = "object-log"),
        expect(clippy::unnecessary_wraps, reason = "the same shape as with the object log")
    )]
    #[cfg_attr(
        not(any(feature = "object-log", feature = "rocksdb")),
        expect(unused_variables, reason = "what is left shares nothing")
    )]
    fn new(config: &Config, metrics: &Metrics) -> anyhow::Result<Self> {
        Ok(Self {
            #[cfg(feature = "object-log")]
            object: object::Disks::new(config, metrics)?,
            #[cfg(feature = "rocksdb")]
            rocksdb: rocksdb::Disks::new(config, metrics),
        })
    }

    #[cfg_attr(
        not(any(feature = "object-log", feature = "rocksdb")),
        expect(clippy::unused_async, reason = "what is left opens at once")
    )]
    async fn open(&self, export: &ExportConfig) -> anyhow::Result<Arc<dyn Backend>> {
        match &export.uri {
            ExportUri::Memory { size } => Ok(Arc::new(Memory::new(*size)?)),
            ExportUri::File { path, direct, create_size } => file(path, *direct, *create_size, export.read_only),
            #[cfg(feature = "object-log")]
            ExportUri::Object(url) => self.object.open(url, export).await,
            #[cfg(feature = "rocksdb")]
            ExportUri::RocksDb { path, create } => self.rocksdb.open(path, *create, export).await,
            #[cfg(not(feature = "object-log"))]
            ExportUri::Object(_) => left_out(&export.uri),
            #[cfg(not(feature = "rocksdb"))]
            ExportUri::RocksDb { .. } => left_out(&export.uri),
        }
    }
}

/// A configuration that was validated names no such storage.
#[cfg(not(all(feature = "object-log", feature = "rocksdb")))]
fn left_out(uri: &ExportUri) -> anyhow::Result<Arc<dyn Backend>> {
    anyhow::bail!("{uri} is storage that this nbdgate was built without")
}

fn file(path: &Path, direct: bool, create_size: Option<u64>, read_only: bool) -> anyhow::Result<Arc<dyn Backend>> {
    let options = nbdgate_file::OpenOptions { read_only, direct, create_size };
    Ok(Arc::new(FileDisk::open(path, options)?))
}

/// What one export may use of the gateway's budget.
fn share(total: u32) -> Budget {
    Budget::new(total / 4 * 3)
}
