//! Opening snapshots of served disks when a client asks for them.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use tokio::runtime::Handle;

use super::{object, share};
use crate::{
    config::{Config, ExportConfig, ExportUri},
    export::{Export, ExportName, Opened, SnapshotOpener, Snapshots},
};

/// The snapshots of the exports of `config` that are disks in the object log; opened on the runtime of the caller.
pub(super) fn on_demand(config: &Config, total: u32) -> Snapshots {
    let exports = config.exports.iter().filter(|export| matches!(export.uri, ExportUri::Object(_)));
    let exports = exports.map(|export| (export.name.clone(), export.clone())).collect();
    Snapshots::new(Box::new(Opener { exports, total, runtime: Handle::current() }))
}

struct Opener {
    exports: BTreeMap<ExportName, ExportConfig>,
    total: u32,
    runtime: Handle,
}

impl SnapshotOpener for Opener {
    fn open(&self, base: &Export, snapshot: &str, name: ExportName) -> Pin<Box<dyn Future<Output = Opened> + Send>> {
        let Some(config) = self.exports.get(base.name()).cloned() else {
            return Box::pin(async { Err("only disks in an object store have snapshots".to_owned()) });
        };
        let (snapshot, total) = (snapshot.to_owned(), self.total);
        let opening = self.runtime.spawn(open(config, snapshot, name, total));
        Box::pin(async move { opening.await.unwrap_or_else(|error| Err(error.to_string())) })
    }
}

async fn open(mut config: ExportConfig, snapshot: String, name: ExportName, total: u32) -> Opened {
    let ExportUri::Object(url) = config.uri.clone() else { unreachable!("only these are in the list") };
    config.read_only = true;
    config.object.snapshot = Some(snapshot);
    config.name = name.clone();
    tracing::info!(export = %name, "opening a snapshot");
    match object(&url, &config).await {
        Ok(backend) => Ok(Arc::new(Export::new(name, config.description, backend, true, share(total)))),
        Err(error) => Err(format!("{error:#}")),
    }
}
