//! Snapshots of an open disk: taken and removed while it is written (§8).

use std::{sync::Arc, time::Duration};

use nbdgate_api::{Error, Kind, Piece, Reply, Sink};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Driver, Ownership, checkpoint};
use crate::{
    SnapshotInfo,
    admin::unix_ms,
    engine::Event,
    format::{SnapshotId, manifest::SnapshotEntry},
    ledger::Ledger,
    ownership::chain::NotPublished,
    snapshot::{self, NewSnapshot},
    store::Patience,
};

/// How long a ledger is asked; checkpoints wait meanwhile.
const LEDGER_DEADLINE: Duration = Duration::from_mins(1);

impl Driver {
    /// The snapshots of the disk, oldest first.
    pub(crate) fn snapshots(&self) -> Vec<SnapshotEntry> {
        self.snapshots.lock().clone()
    }

    /// Takes a snapshot that shows at least everything answered so far. What it publishes is in the store when it ends.
    pub(crate) async fn take_snapshot(self: Arc<Self>, name: String) -> Result<SnapshotInfo, Error> {
        snapshot::check_name(&name)?;
        let driver = Arc::clone(&self);
        self.detached(async move {
            driver.cut().await?;
            let mut ownership = driver.ownership.lock().await;
            let ownership = ownership.as_mut().ok_or_else(read_only)?;
            snapshot::check_new(&ownership.chain.manifest, &name)?;
            let id = SnapshotId(Uuid::from_u64_pair(driver.store.random(), driver.store.random()));
            let new = NewSnapshot { id, name, created_ms: unix_ms() };
            let published = checkpoint::publish(&driver, ownership, |next| {
                let root = next.root.expect("a disk with a checkpoint has a root");
                next.snapshots.push(new.entry(root, next.blocks));
            });
            let published = published.await;
            driver.told(ownership, published, "taking a snapshot")?;
            let taken = ownership.chain.manifest.snapshots.last().expect("it was just published");
            tracing::info!(snapshot = taken.name, checkpoint = taken.root.checkpoint.0, "snapshot taken");
            Ok(taken.into())
        })
        .await
    }

    /// Removes a snapshot that has no clones. What only it needed is freed by garbage collection.
    pub(crate) async fn remove_snapshot(self: Arc<Self>, name: String) -> Result<(), Error> {
        let driver = Arc::clone(&self);
        self.detached(async move {
            let mut ownership = driver.ownership.lock().await;
            let ownership = ownership.as_mut().ok_or_else(read_only)?;
            let id = snapshot::find(&ownership.chain.manifest, &name)?.id;
            let (store, volume, host) = (&driver.store, driver.volume, &ownership.chain.manifest.owner.host);
            let patience = Patience::asking(LEDGER_DEADLINE);
            Ledger { store, volume, snapshot: id, host, patience }.seal().await?;
            let next = ownership.chain.manifest.clone();
            let snapshots = next.snapshots.iter().filter(|snapshot| snapshot.id != id).cloned().collect();
            let next = crate::format::Manifest { snapshots, ..next };
            let published = ownership.chain.publish(next, Patience::endless()).await;
            driver.told(ownership, published, "removing a snapshot")?;
            driver.event(Event::BaseGone(name.as_str().into()));
            tracing::info!(snapshot = name, "snapshot removed");
            Ok(())
        })
        .await
    }

    /// Waits until everything answered so far is in the store.
    pub(super) async fn cut(self: &Arc<Self>) -> Result<(), Error> {
        let (tell, told) = oneshot::channel();
        let reply = Reply::new(Arc::new(Told(Mutex::new(Some(tell)))), 0);
        self.event(Event::Cut(reply));
        told.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Runs `work` as a task of the disk, so that a caller who loses interest does not leave a manifest half published.
    pub(super) async fn detached<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (tell, told) = oneshot::channel();
        self.spawn(async move {
            // The caller may have lost interest.
            let _ = tell.send(work.await);
        });
        told.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Draws the conclusions of a publication.
    fn told(
        self: &Arc<Self>,
        ownership: &Ownership,
        published: Result<(), NotPublished>,
        tried: &str,
    ) -> Result<(), Error> {
        match published {
            Ok(()) => {
                self.snapshots.lock().clone_from(&ownership.chain.manifest.snapshots);
                Ok(())
            }
            Err(NotPublished::Lost(error)) => {
                self.event(Event::Lost(error.duplicate()));
                Err(error)
            }
            Err(error @ NotPublished::Failed(_)) => {
                self.event(Event::CheckpointFailed);
                Err(error.into_error(tried))
            }
        }
    }
}

pub(super) fn read_only() -> Error {
    Error::new(Kind::Permission, "the disk is open read-only: snapshots are taken where it is written")
}

fn closed() -> Error {
    Error::new(Kind::Shutdown, "the disk was closed")
}

/// Tells the end of a request that has no pieces.
struct Told(Mutex<Option<oneshot::Sender<Result<(), Error>>>>);

impl Sink for Told {
    fn piece(&self, _tag: u64, _piece: Piece) {}

    fn end(&self, _tag: u64, outcome: Result<(), Error>) {
        if let Some(tell) = self.0.lock().take() {
            // Whoever asked may be gone.
            let _ = tell.send(outcome);
        }
    }
}
