//! The status page: what the gateway does, for people who would rather look than read.
//!
//! ```text
//!  page in a browser ──► site: resources, headers
//!                          ├── overview: exports, clients          from the cells of /metrics, at most twice a second
//!                          └── detail: one export, looked into     at most once in ten seconds, shared by all who look
//! ```
//!
//! Read-only, and off unless asked for. Nothing is counted here: what changes with requests is read from the cells that
//! /metrics is rendered from, and a list of clients is kept, which costs a connection one entry. Looking never holds an I/O
//! thread, and what one part does not tell in time is `null`.
//!
//! Absent: any way to change something, and history; the page keeps what it has seen.

mod clients;
mod detail;
mod overview;
mod site;

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock, Weak},
};

#[cfg(feature = "object-log")]
use parking_lot::Mutex;

pub use self::clients::{Clients, Listed, Style};
use crate::{export::Export, metrics::Site};

/// What the page shows of a gateway. Shared by what fills it and what serves it.
#[derive(Debug, Default)]
pub struct Status {
    clients: Clients,
    /// Once all of them are open.
    exports: OnceLock<Vec<Shown>>,
    overview: overview::Latest,
    details: detail::Details,
    /// By export.
    #[cfg(feature = "object-log")]
    object_disks: Mutex<std::collections::HashMap<String, Weak<nbdgate_s3::Disk>>>,
}

/// An export on the page. It is not kept alive.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The export.
    pub export: Weak<Export>,
    /// Where its bytes are.
    pub storage: Storage,
    /// The directory of a disk in RocksDB.
    pub directory: Option<PathBuf>,
    /// It is a snapshot of a disk.
    pub is_snapshot: bool,
    /// The snapshots of its disk that are exports of their own.
    pub served_snapshots: Vec<String>,
    /// Whose list prices its requests and bytes have.
    pub provider: Option<&'static str>,
}

/// Where the bytes of an export are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// In memory.
    Memory,
    /// In a file or block device.
    File,
    /// In an object store.
    ObjectLog,
    /// In RocksDB.
    #[serde(rename = "rocksdb")]
    RocksDb,
}

impl Status {
    /// The list of clients, to be kept by who serves them.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Shows these exports from now on; only the first call counts.
    pub fn show(&self, exports: Vec<Shown>) {
        let _shown_already = self.exports.set(exports);
    }

    /// Looks into this disk too, when an export of this name is looked into. It is not kept alive.
    #[cfg(feature = "object-log")]
    pub fn watch_object_disk(&self, export: &str, disk: &Arc<nbdgate_s3::Disk>) {
        let mut disks = self.object_disks.lock();
        disks.retain(|_, disk| disk.strong_count() > 0);
        disks.insert(export.to_owned(), Arc::downgrade(disk));
    }

    /// The disk behind an export, if it is in the object log.
    #[cfg(feature = "object-log")]
    fn object_disk(&self, export: &str) -> Option<Weak<nbdgate_s3::Disk>> {
        self.object_disks.lock().get(export).cloned()
    }

    /// The export of a name on the page.
    fn shown(&self, name: &str) -> Option<&Shown> {
        let mut shown = self.exports.get()?.iter();
        shown.find(|shown| shown.export.upgrade().is_some_and(|export| export.name().as_str() == name))
    }

    /// What serves the page.
    pub fn site(self: &Arc<Self>) -> Site {
        let status = Arc::clone(self);
        Site::new(move |asked| {
            let status = Arc::clone(&status);
            Box::pin(async move { site::answer(&status, &asked).await })
        })
    }

    /// Those that are still there.
    fn exports(&self) -> impl Iterator<Item = (Arc<Export>, Storage)> {
        let shown = self.exports.get().into_iter().flatten();
        shown.filter_map(|shown| Some((shown.export.upgrade()?, shown.storage)))
    }
}

#[cfg(test)]
mod tests;
