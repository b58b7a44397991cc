//! Making a writable disk out of a snapshot (§8): a handful of small objects, whatever the size.
//!
//! ```text
//!  ADD in the snapshot's ledger ─► descriptor ─► name ─► manifest 1: the clone exists
//! ```
//!
//! The first manifest is the one step that counts. Whoever finds a clone without it may end that clone by putting a
//! DELETED manifest in its place; whichever is put first stands. Until then nothing can be lost, and after a crash
//! nothing blocks: removing the snapshot, or the half-made clone by its name, tidies up.

use std::sync::Arc;

use nbdgate_api::{Error, Kind};
use uuid::Uuid;

use super::{DiskInfo, describe, unix_ms};
use crate::{
    Location, OpenOptions,
    directory::{self, Found},
    format::{
        Descriptor, Epoch, Manifest, Nonce, ObjectName, Parent, VolumeId, Writer,
        manifest::{Owner, SnapshotEntry, State},
        names,
    },
    keys::unlock::find_unlocked,
    ledger::Ledger,
    observer::Cause,
    ownership::{
        chain::{self, Chain},
        claim::supported,
        host::host_name,
    },
    snapshot,
    store::{Patience, Placed, Store, StoreError},
};

/// Makes the disk `target` out of a snapshot of `source`, which somebody may be serving. Both share what the snapshot
/// holds; the snapshot cannot be removed while the clone exists.
///
/// # Errors
/// There is no such snapshot or it is being removed, the name is taken, the two are not in one root, or the store cannot
/// be reached; the text says what to do.
pub async fn clone(source: &Location, name: &str, target: &Location, options: &OpenOptions) -> Result<DiskInfo, Error> {
    if !source.root().is(target.root()) {
        let text = format!(
            "{target} is not beside {source}: a clone shares the objects of its source, so it needs the same root"
        );
        return Err(Error::new(Kind::Invalid, text));
    }
    let store = Store::of(source, &options.tuning, Arc::clone(&options.observer))?;
    let patience = Patience::asking(options.tuning.open_deadline);
    let (parent, ()) =
        tokio::try_join!(find_unlocked(&store, source, options, patience), is_free(&store, target, patience))?;
    let chain = Chain::newest(&store, parent.volume, patience).await?;
    supported(&chain.manifest)?;
    let host = host_name(options.host.as_deref());
    let snapshot = snapshot::find(&chain.manifest, name)?.clone();
    let volume = VolumeId(Uuid::from_u64_pair(store.random(), store.random()));
    let cloning = Cloning { store: &store, parent, chain, snapshot, volume, host, target, patience };
    cloning.run().await
}

struct Cloning<'a> {
    store: &'a Arc<Store>,
    parent: Found,
    chain: Chain,
    snapshot: SnapshotEntry,
    volume: VolumeId,
    host: String,
    target: &'a Location,
    patience: Patience,
}

impl Cloning<'_> {
    async fn run(self) -> Result<DiskInfo, Error> {
        self.ledger().add(self.volume).await?;
        let descriptor = self.descriptor();
        let made = async {
            self.still_there().await?;
            self.place(&ObjectName::Descriptor.key("", self.volume), descriptor.encode(self.volume)).await?;
            let name = names::encode_name_object(self.volume).into_bytes();
            self.place(&self.target.volume_name().key(""), name.into()).await?;
            chain::found(self.store, self.volume, &self.first_manifest(), self.patience.renewed()).await
        };
        if let Err(error) = made.await {
            self.undo().await;
            return Err(error);
        }
        tracing::info!(source = %self.parent.volume, snapshot = self.snapshot.name, clone = %self.volume, "snapshot cloned");
        describe(self.store, Found { volume: self.volume, descriptor }, self.patience.renewed()).await
    }

    fn ledger(&self) -> Ledger<'_> {
        let (volume, snapshot) = (self.parent.volume, self.snapshot.id);
        Ledger { store: self.store, volume, snapshot, host: &self.host, patience: self.patience }
    }

    /// The snapshot may have been removed, and its ledger forgotten, since it was found. From here on it cannot be.
    async fn still_there(&self) -> Result<(), Error> {
        let newest = Chain::newest(self.store, self.parent.volume, self.patience.renewed()).await?.manifest;
        supported(&newest)?;
        if newest.snapshots.iter().any(|snapshot| snapshot.id == self.snapshot.id) {
            return Ok(());
        }
        Err(Error::new(Kind::Invalid, format!("the snapshot {} was removed meanwhile", self.snapshot.name)))
    }

    async fn place(&self, key: &str, object: bytes::Bytes) -> Result<(), Error> {
        match self.store.place(Cause::Directory, key, &object.into(), self.patience.renewed()).await {
            Ok(Placed::Mine) => Ok(()),
            Ok(Placed::Other(_)) => Err(taken(self.target)),
            Err(error) => Err(error.tell(&format!("writing {}", self.store.name_of(key)))),
        }
    }

    fn descriptor(&self) -> Descriptor {
        let mut descriptor = self.parent.descriptor.clone();
        descriptor.name = self.target.volume_name().clone();
        descriptor.created_ms = unix_ms();
        descriptor.parent = Some(self.parent());
        descriptor
    }

    fn parent(&self) -> Parent {
        Parent { volume: self.parent.volume, snapshot: self.snapshot.id }
    }

    /// The parent's manifest with another owner and no history: its keys and its options are the clone's too.
    fn first_manifest(&self) -> Manifest {
        let parent = &self.chain.manifest;
        Manifest {
            prev: [0; 32],
            state: State::Closed,
            owner: Owner {
                writer: Writer { epoch: Epoch(0), nonce: Nonce(self.store.random()) },
                host: self.host.clone(),
                journal: None,
                journal_dirty: false,
            },
            blocks: self.snapshot.blocks,
            root: Some(self.snapshot.root),
            sealed: Vec::new(),
            open: None,
            snapshots: Vec::new(),
            lineage: std::iter::once(self.parent()).chain(parent.lineage.iter().copied()).collect(),
            ..parent.clone()
        }
    }

    /// Takes back what was done of a clone that failed; what cannot be, the removal of the snapshot does.
    async fn undo(&self) {
        let undone = async {
            if crate::ledger::is_ended(self.store, self.volume, self.patience.renewed()).await? {
                directory::forget(self.store, self.target.volume_name(), self.volume, self.patience.renewed()).await?;
                self.ledger().del(self.volume).await?;
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = undone.await {
            tracing::warn!(error = error.chain(), clone = %self.volume, "a failed clone was not tidied up");
        }
    }
}

async fn is_free(store: &Store, target: &Location, patience: Patience) -> Result<(), Error> {
    match store.get(Cause::Directory, &target.volume_name().key(""), None, patience).await {
        Ok(_) => Err(taken(target)),
        Err(StoreError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.tell(&format!("looking for {target}"))),
    }
}

fn taken(target: &Location) -> Error {
    Error::new(Kind::Invalid, format!("there is a disk {target} already"))
}
