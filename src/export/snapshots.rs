//! Snapshots as exports on demand: a client that asks for `EXPORT@SNAPSHOT` gets that snapshot, read-only.
//!
//! One is opened when it is first asked for, shared by all its connections, and dropped when the last of them leaves.
//! It is asked for only by names that its export may have, so clients cannot make the gateway look for just anything.
//! An export whose own name is asked for is never taken for a snapshot.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

use super::{Export, ExportName};

/// Most snapshots open at once: each holds a map in memory.
const MAX_OPEN: usize = 64;

/// The export of a snapshot, or why there is none.
pub type Opened = Result<Arc<Export>, String>;

/// Opens snapshots of exports.
pub trait SnapshotOpener: Send + Sync {
    /// Whether `base` has that snapshot, as far as can be told without waiting: what cannot is left to
    /// [`open`](Self::open). Those that its backend lists as bitmaps, unless the opener knows better.
    fn has(&self, base: &Export, snapshot: &str) -> bool {
        base.backend().bitmaps().iter().any(|listed| &**listed == snapshot)
    }

    /// Opens `snapshot` of the export `base` under the name `name`. The work is not done by the thread that polls.
    fn open(&self, base: &Export, snapshot: &str, name: ExportName) -> Pin<Box<dyn Future<Output = Opened> + Send>>;
}

/// The snapshots that are open.
pub struct Snapshots {
    opener: Box<dyn SnapshotOpener>,
    open: Mutex<BTreeMap<String, Arc<Slot>>>,
}

/// A snapshot that is open or being opened; who waits for the lock waits for the one who opens.
type Slot = tokio::sync::Mutex<Weak<Export>>;

impl Snapshots {
    /// None is open yet.
    pub fn new(opener: Box<dyn SnapshotOpener>) -> Self {
        Self { opener, open: Mutex::default() }
    }

    /// The snapshot of `base` that `name` is.
    pub(super) async fn get(&self, base: &Export, snapshot: &str, name: &str) -> Opened {
        if !self.opener.has(base, snapshot) {
            return Err(format!("the export {:?} has no snapshot {snapshot:?}", base.name().as_str()));
        }
        let slot = self.slot(name).ok_or_else(|| format!("{MAX_OPEN} snapshots are open already"))?;
        let mut export = slot.lock().await;
        if let Some(export) = export.upgrade() {
            return Ok(export);
        }
        let name: ExportName = name.parse().map_err(|error: super::InvalidName| error.to_string())?;
        let opened = self.opener.open(base, snapshot, name).await?;
        *export = Arc::downgrade(&opened);
        Ok(opened)
    }

    fn slot(&self, name: &str) -> Option<Arc<Slot>> {
        let mut open = self.open.lock();
        // A slot that nobody waits for, and whose export is gone, has no more use.
        open.retain(|_, slot| {
            Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|export| export.strong_count() > 0)
        });
        if open.len() >= MAX_OPEN && !open.contains_key(name) {
            return None;
        }
        Some(open.entry(name.to_owned()).or_default().clone())
    }
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots").field("open", &self.open.lock().len()).finish_non_exhaustive()
    }
}
