//! From configured exports to open ones.

#[cfg(feature = "object-log")]
mod object;
#[cfg(feature = "object-log")]
mod snapshots;

use std::{path::Path, sync::Arc, time::Instant};

use anyhow::Context;
use nbdgate_api::Backend;
use nbdgate_file::FileDisk;
use nbdgate_memory::Memory;

#[cfg(feature = "object-log")]
use self::object::Disks;
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
    let disks = Disks::new(config, metrics)?;
    for export in &config.exports {
        let opened =
            backend(export, &disks).await.with_context(|| format!("cannot open export {:?}", export.name.as_str()));
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
    #[cfg(feature = "object-log")]
    let registry = registry.with_snapshots(snapshots::on_demand(config, disks, total));
    Ok(registry)
}

async fn backend(export: &ExportConfig, disks: &Disks) -> anyhow::Result<Arc<dyn Backend>> {
    match &export.uri {
        ExportUri::Memory { size } => Ok(Arc::new(Memory::new(*size)?)),
        ExportUri::File { path, direct, create_size } => file(path, *direct, *create_size, export.read_only),
        ExportUri::Object(url) => disks.open(url, export).await,
    }
}

fn file(path: &Path, direct: bool, create_size: Option<u64>, read_only: bool) -> anyhow::Result<Arc<dyn Backend>> {
    let options = nbdgate_file::OpenOptions { read_only, direct, create_size };
    Ok(Arc::new(FileDisk::open(path, options)?))
}

/// What one export may use of the gateway's budget.
fn share(total: u32) -> Budget {
    Budget::new(total / 4 * 3)
}

/// Without the object log there are none.
#[cfg(not(feature = "object-log"))]
struct Disks;

#[cfg(not(feature = "object-log"))]
impl Disks {
    #[expect(clippy::unnecessary_wraps, reason = "the same shape as with the feature")]
    fn new(_config: &Config, _metrics: &Metrics) -> anyhow::Result<Self> {
        Ok(Self)
    }

    #[expect(clippy::unused_async, reason = "the same shape as with the feature")]
    async fn open(&self, url: &str, _export: &ExportConfig) -> anyhow::Result<Arc<dyn Backend>> {
        anyhow::bail!("{url} needs the object log, which this nbdgate was built without")
    }
}
