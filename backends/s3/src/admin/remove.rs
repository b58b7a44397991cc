//! Removing a disk with all its objects.
//!
//! ```text
//!  no clones? ─► claim, fence ─► SEAL the ledgers ─► DELETED ─► DEL in the parent's ledger
//!    ─► data, packs, ledgers ─► older manifests ─► name ─► descriptor
//! ```
//!
//! The name goes when nothing else is left to find, so a removal that was cut short is finished by asking for it again.
//! The DELETED manifest stays for good, some 300 bytes: without it a gateway that slept through all this could publish a
//! number that was forgotten and believe that the disk is its own.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use nbdgate_api::{Error, Kind};

use crate::{
    Location, OpenOptions, Progress,
    directory::{self, Found},
    format::{Manifest, ObjectName, VolumeId, manifest::State},
    keys::unlock::unlock,
    ledger::{self, Ledger},
    observer::Cause,
    ownership::{chain::Chain, claim::Claimant, host::host_name, journal::Given},
    store::{Patience, Store},
};

/// Names asked for at once.
const PAGE: usize = 10_000;

/// Objects deleted at once.
const PARALLEL: usize = 32;

/// Everything of a volume but its manifests and its descriptor.
const DATA: [&str; 5] = ["l", "g", "p", "snap", "probe"];

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Objects deleted.
    pub objects: u64,
    /// Their length in bytes.
    pub bytes: u64,
}

/// Removes a disk and its snapshots. A removal that was cut short goes on where it ended.
///
/// # Errors
/// A snapshot of it has clones (the text names them), another host holds it, or the store cannot be reached.
pub async fn remove(location: &Location, options: &OpenOptions, progress: &dyn Progress) -> Result<Removed, Error> {
    let store = Store::of(location, &options.tuning, Arc::clone(&options.observer))?;
    let patience = Patience::asking(options.tuning.open_deadline);
    let found = directory::find(&store, location, patience).await?;
    check_key(location, &found, options)?;
    unlock(&store, &found, options.key.as_ref(), location, patience).await?;
    let volume = found.volume;
    let host = host_name(options.host.as_deref());
    let mut removal = Removal { store: &store, volume, host: &host, patience, progress, removed: Removed::default() };
    if !ledger::is_ended(&store, volume, patience).await? {
        removal.end(options).await?;
    }
    let chain = Chain::newest(&store, volume, patience.renewed()).await?;
    removal.leave_parent(&chain.manifest).await?;
    removal.delete_objects(&chain).await?;
    directory::forget(&store, location.volume_name(), volume, patience.renewed()).await?;
    removal.delete(vec![(ObjectName::Descriptor.key("", volume), 0)]).await?;
    tracing::info!(%location, objects = removal.removed.objects, bytes = removal.removed.bytes, "disk removed");
    Ok(removal.removed)
}

/// What snapshots and clones a disk has is in the sealed part of its manifest, and removing one that has clones loses
/// theirs: so it takes the key.
fn check_key(location: &Location, found: &Found, options: &OpenOptions) -> Result<(), Error> {
    if !found.descriptor.sealed || options.key.is_some() {
        return Ok(());
    }
    let text = format!(
        "the disk {location} is encrypted, and removing it needs the key: without, nobody can tell whether clones use its          data. If the key is lost and there are no clones, delete the objects {} and v/{}/ with a tool of the store",
        location.volume_name().key(""),
        found.volume
    );
    Err(Error::new(Kind::Permission, text))
}

struct Removal<'a> {
    store: &'a Arc<Store>,
    volume: VolumeId,
    host: &'a str,
    patience: Patience,
    progress: &'a dyn Progress,
    removed: Removed,
}

impl Removal<'_> {
    /// Takes the disk from everybody and publishes DELETED.
    async fn end(&self, options: &OpenOptions) -> Result<(), Error> {
        let newest = Chain::newest(self.store, self.volume, self.patience.renewed()).await?;
        for ledger in self.ledgers(&newest.manifest) {
            ledger.check_free().await?;
        }
        let claimant = Claimant {
            store: self.store,
            volume: self.volume,
            host: self.host,
            on_unclean: options.on_unclean,
            steal: options.steal,
            // What a journal holds goes with the disk, if that is what was asked for.
            journal: Given { journal: None, abandon: options.abandon_journal, at_rest: true },
            patience: self.patience.renewed(),
        };
        let mut chain = claimant.claim(claimant.look().await?).await?.chain;
        for ledger in self.ledgers(&chain.manifest) {
            ledger.seal().await?;
        }
        let next = Manifest { state: State::Deleted, ..chain.manifest.clone() };
        chain.publish(next, self.patience.renewed()).await.map_err(|error| error.into_error("removing the disk"))
    }

    fn ledgers(&self, manifest: &Manifest) -> Vec<Ledger<'_>> {
        let ledger = |snapshot| self.ledger(self.volume, snapshot);
        manifest.snapshots.iter().map(|snapshot| ledger(snapshot.id)).collect()
    }

    fn ledger(&self, volume: VolumeId, snapshot: crate::format::SnapshotId) -> Ledger<'_> {
        Ledger { store: self.store, volume, snapshot, host: self.host, patience: self.patience.renewed() }
    }

    /// A clone lets go of the snapshot that it was made from.
    async fn leave_parent(&self, manifest: &Manifest) -> Result<(), Error> {
        let Some(parent) = manifest.lineage.first() else { return Ok(()) };
        self.ledger(parent.volume, parent.snapshot).del(self.volume).await
    }

    async fn delete_objects(&mut self, chain: &Chain) -> Result<(), Error> {
        for directory in DATA {
            self.clear(&format!("v/{}/{directory}", self.volume), None).await?;
        }
        let newest = ObjectName::Manifest(chain.no()).key("", self.volume);
        self.clear(&format!("v/{}/m", self.volume), Some(&newest)).await
    }

    /// Deletes everything below `directory` but `spared`. Lists from the start each time: what is deleted is not listed
    /// again, and stores that do not list in order are no different.
    async fn clear(&mut self, directory: &str, spared: Option<&str>) -> Result<(), Error> {
        loop {
            let listed = self.store.list(Cause::Gc, directory, None, PAGE, self.patience.renewed()).await;
            let listed = listed.map_err(|error| error.tell("listing the objects of the disk"))?;
            let found = listed.into_iter().filter(|object| Some(object.key.as_str()) != spared);
            let found: Vec<(String, u64)> = found.map(|object| (object.key, object.size)).collect();
            if found.is_empty() {
                return Ok(());
            }
            self.progress.total(self.removed.bytes + found.iter().map(|(_, size)| size).sum::<u64>());
            self.delete(found).await?;
        }
    }

    async fn delete(&mut self, objects: Vec<(String, u64)>) -> Result<(), Error> {
        let (store, patience, progress) = (self.store, self.patience, self.progress);
        let deletes = stream::iter(objects).map(|(key, size)| async move {
            let deleted = store.delete(Cause::Gc, &key, patience.renewed()).await;
            deleted.map_err(|error| error.tell(&format!("deleting {}", store.name_of(&key))))?;
            progress.advance(size);
            Ok::<u64, Error>(size)
        });
        let mut deletes = deletes.buffer_unordered(PARALLEL);
        while let Some(size) = deletes.try_next().await? {
            self.removed.objects += 1;
            self.removed.bytes += size;
        }
        Ok(())
    }
}

impl Ledger<'_> {
    /// Refuses while a clone holds on, and ends none but those that were never finished.
    async fn check_free(&self) -> Result<(), Error> {
        let mut clones = self.read().await?.clones;
        for clone in clones.clone() {
            if ledger::is_ended(self.store, clone, self.patience).await? {
                clones.remove(&clone);
            }
        }
        if clones.is_empty() { Ok(()) } else { Err(self.held_by(&clones).await) }
    }
}
