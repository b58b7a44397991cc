//! From configured exports to open ones.

#[cfg(feature = "object-log")]
mod object;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod shown;
#[cfg(any(feature = "object-log", feature = "rocksdb"))]
mod snapshots;

use std::{path::PathBuf, sync::Arc, time::Instant};

use anyhow::{Context, bail};
use nbdgate_api::Backend;
use nbdgate_file::FileDisk;
use nbdgate_memory::Memory;
use tokio::task::{JoinHandle, spawn_blocking};

use super::stop::{self, Signals};
use crate::{
    config::{Config, ExportConfig, ExportUri},
    export::{Export, ExportName, Registry},
    metrics::Metrics,
    scheduler::permits::Budget,
    status::Status,
};

/// How opening the exports ended.
pub(super) enum Opened {
    All(Registry),
    /// A signal came first.
    Cut(Unfinished),
}

/// What there is when a signal ends opening; no other export is touched.
pub(super) struct Unfinished {
    pub(super) open: Registry,
    pub(super) last: Pending,
}

/// A disk that is being opened, by a task of its own.
pub(super) struct Pending {
    name: ExportName,
    opening: JoinHandle<anyhow::Result<Arc<dyn Backend>>>,
}

impl Pending {
    fn begin(storage: &Storage, export: &ExportConfig) -> Self {
        let (storage, name, export) = (storage.clone(), export.name.clone(), export.clone());
        Self { name, opening: tokio::spawn(async move { storage.open(&export).await }) }
    }

    /// Waits for the disk; the task goes on if nobody does.
    async fn opened(&mut self) -> anyhow::Result<Arc<dyn Backend>> {
        let opened = (&mut self.opening).await.context("opening it panicked").flatten();
        opened.with_context(|| format!("cannot open export {:?}", self.name.as_str()))
    }

    /// Waits for the disk, and closes it. It is not cut short before the deadline: a disk that was claimed and not closed
    /// looks to the next gateway like one that is in use, or whose gateway died.
    pub(super) async fn end(mut self, deadline: Instant) -> anyhow::Result<()> {
        let Ok(opened) = tokio::time::timeout_at(deadline.into(), self.opened()).await else {
            bail!(
                "export {:?} was still being opened at the shutdown timeout: nothing is lost, but its disk may count as \
                 not closed",
                self.name.as_str()
            );
        };
        match opened {
            Ok(backend) => stop::close(vec![(self.name, backend)], deadline).await,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the export that was being opened failed");
                Ok(())
            }
        }
    }
}

/// Opens every export; if one fails, closes the others again, and a signal ends it. `total` is the budget of the gateway:
/// one export may use up to three quarters of it, so that a stuck one leaves something to the others.
pub(super) async fn exports(
    config: &Config,
    total: u32,
    metrics: &Metrics,
    status: &Arc<Status>,
    signals: &mut Signals,
) -> anyhow::Result<Opened> {
    let mut registry = Registry::default();
    let storage = Storage::new(config, metrics, status)?;
    for export in &config.exports {
        let mut last = Pending::begin(&storage, export);
        let opened = tokio::select! {
            opened = last.opened() => opened,
            () = signals.first() => return Ok(Opened::Cut(Unfinished { open: registry, last })),
        };
        let added = opened.and_then(|backend| {
            let budget = share(total);
            let name = export.name.clone();
            let export = Export::new(name, export.description.clone(), backend, export.read_only, budget);
            Ok(registry.add(Arc::new(export))?)
        });
        if let Err(error) = added {
            undo(&registry, config, signals).await;
            return Err(error);
        }
    }
    status.show(shown::shown(config, &registry));
    #[cfg(any(feature = "object-log", feature = "rocksdb"))]
    let registry = registry.with_snapshots(snapshots::on_demand(config, storage, total));
    Ok(Opened::All(registry))
}

/// Closes what is open, since the start has failed; why is told by the caller.
pub(super) async fn undo(exports: &Registry, config: &Config, signals: &mut Signals) {
    let deadline = Instant::now() + config.shutdown_timeout;
    if let Err(error) = stop::close_unless_signalled(stop::disks(exports), deadline, signals).await {
        tracing::warn!(error = format!("{error:#}"), "not every export was closed after the start failed");
    }
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
    #[cfg_attr(not(feature = "object-log"), expect(unused_variables, reason = "what is left shares less"))]
    fn new(config: &Config, metrics: &Metrics, status: &Arc<Status>) -> anyhow::Result<Self> {
        Ok(Self {
            #[cfg(feature = "object-log")]
            object: object::Disks::new(config, metrics, status)?,
            #[cfg(feature = "rocksdb")]
            rocksdb: rocksdb::Disks::new(config, metrics),
        })
    }

    async fn open(&self, export: &ExportConfig) -> anyhow::Result<Arc<dyn Backend>> {
        match &export.uri {
            ExportUri::Memory { size } => Ok(Arc::new(Memory::new(*size)?)),
            ExportUri::File { path, direct, create_size } => {
                file(path.clone(), *direct, *create_size, export.read_only).await
            }
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

/// On a thread that may block, for a file system may hang.
async fn file(
    path: PathBuf,
    direct: bool,
    create_size: Option<u64>,
    read_only: bool,
) -> anyhow::Result<Arc<dyn Backend>> {
    let options = nbdgate_file::OpenOptions { read_only, direct, create_size };
    let opening = spawn_blocking(move || FileDisk::open(&path, options));
    Ok(Arc::new(opening.await.context("opening an image panicked")??))
}

/// What one export may use of the gateway's budget.
fn share(total: u32) -> Budget {
    Budget::new(total / 4 * 3)
}
