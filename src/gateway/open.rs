//! From configured exports to open ones.

#[cfg(feature = "object-log")]
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
    scheduler::permits::Budget,
};

/// Opens every export; if one fails, closes the others again. `total` is the budget of the gateway: one export may
/// use up to three quarters of it, so that a stuck one leaves something to the others.
pub(super) async fn exports(config: &Config, total: u32) -> anyhow::Result<Registry> {
    let mut registry = Registry::default();
    for export in &config.exports {
        let opened = backend(export).await.with_context(|| format!("cannot open export {:?}", export.name.as_str()));
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
    let registry = registry.with_snapshots(snapshots::on_demand(config, total));
    Ok(registry)
}

async fn backend(export: &ExportConfig) -> anyhow::Result<Arc<dyn Backend>> {
    match &export.uri {
        ExportUri::Memory { size } => Ok(Arc::new(Memory::new(*size)?)),
        ExportUri::File { path, direct, create_size } => file(path, *direct, *create_size, export.read_only),
        ExportUri::Object(url) => object(url, export).await,
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

#[cfg(feature = "object-log")]
async fn object(url: &str, export: &ExportConfig) -> anyhow::Result<Arc<dyn Backend>> {
    use nbdgate_s3::{Fencing, Location, OnUnclean, OpenOptions};

    use crate::config;

    let location: Location = url.parse()?;
    let options = OpenOptions {
        read_only: export.read_only,
        on_unclean: match export.object.on_unclean {
            config::OnUnclean::Refuse => OnUnclean::Refuse,
            config::OnUnclean::Serve => OnUnclean::Serve,
        },
        steal: export.object.steal,
        snapshot: export.object.snapshot.clone(),
        fencing: match export.object.fencing {
            config::Fencing::Require => Fencing::Require,
            config::Fencing::Advisory => Fencing::Advisory,
        },
        observer: Arc::new(crate::metrics::ObjectMetrics::new(export.name.as_str())),
        ..OpenOptions::default()
    };
    Ok(Arc::new(nbdgate_s3::open(&location, options).await?))
}

#[cfg(not(feature = "object-log"))]
#[expect(clippy::unused_async, reason = "the same shape as with the feature")]
async fn object(url: &str, _export: &ExportConfig) -> anyhow::Result<Arc<dyn Backend>> {
    anyhow::bail!("{url} needs the object log, which this nbdgate was built without")
}
