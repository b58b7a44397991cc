//! The reference ledger of a snapshot (§4.7): which clones hold on to it, in an order that everybody agrees on.
//!
//! Entries are numbered from 1 and put if absent, so of two that want one number exactly one gets it; the other
//! reads again. A clone ADDs itself before it exists and DELs itself after it is gone; SEAL ends the ledger, and is put
//! only while nobody holds on.
//!
//! A clone exists with its first manifest, which is put last. One that was begun and never finished is told by the
//! absence of that manifest, and is ended by putting a DELETED one in its place: whoever comes later loses.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use nbdgate_api::{Error, Kind};

use crate::{
    admin::unix_ms,
    directory,
    format::{
        Descriptor, LedgerEntry, LedgerOp, Manifest, ManifestNo, ObjectName, SnapshotId, VolumeId, manifest::State,
    },
    observer::Cause,
    ownership::chain::Chain,
    store::{Patience, Placed, Store, StoreError},
};

/// Races for a number that are lost before giving up.
const ATTEMPTS: u32 = 64;

/// Entries read at once.
const PARALLEL: usize = 16;

/// The ledger of one snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ledger<'a> {
    pub(crate) store: &'a Arc<Store>,
    /// The snapshot's volume.
    pub(crate) volume: VolumeId,
    pub(crate) snapshot: SnapshotId,
    /// Who writes, for people.
    pub(crate) host: &'a str,
    pub(crate) patience: Patience,
}

/// What a ledger says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holders {
    last: u32,
    /// Clones that hold on, by id.
    pub(crate) clones: BTreeSet<VolumeId>,
    pub(crate) sealed: bool,
}

impl Holders {
    fn apply(&mut self, number: u32, op: LedgerOp) {
        self.last = number;
        match op {
            LedgerOp::Add(clone) => {
                self.clones.insert(clone);
            }
            LedgerOp::Del(clone) => {
                self.clones.remove(&clone);
            }
            LedgerOp::Seal => self.sealed = true,
        }
    }
}

impl Ledger<'_> {
    /// Reads all of it.
    pub(crate) async fn read(&self) -> Result<Holders, Error> {
        let directory = format!("v/{}/snap/{}", self.volume, self.snapshot);
        let listed = self.store.list(Cause::Directory, &directory, None, usize::MAX, self.patience).await;
        let listed = listed.map_err(|error| error.tell("listing the clones of a snapshot"))?;
        let below = format!("v/{}/", self.volume);
        let mut numbers: Vec<u32> = listed
            .iter()
            .filter_map(|found| match ObjectName::parse(found.key.strip_prefix(&below)?) {
                Some(ObjectName::Ledger { number, .. }) => Some(number),
                _ => None,
            })
            .collect();
        numbers.sort_unstable();
        if (1..).zip(&numbers).any(|(expected, number)| expected != *number) {
            let text =
                format!("{} lacks an entry: which clones there are is not known", self.store.name_of(&directory));
            return Err(Error::new(Kind::Io, text));
        }
        let entries = stream::iter(numbers).map(|number| async move { Ok((number, self.entry(number).await?)) });
        let mut holders = Holders::default();
        let mut entries = entries.buffered(PARALLEL);
        while let Some((number, op)) = entries.try_next().await? {
            holders.apply(number, op);
        }
        Ok::<_, Error>(holders)
    }

    async fn entry(&self, number: u32) -> Result<LedgerOp, Error> {
        let key = ObjectName::Ledger { snapshot: self.snapshot, number }.key("", self.volume);
        let tried = || format!("reading {}", self.store.name_of(&key));
        let check = |bytes: &Bytes| LedgerEntry::parse_object(self.volume, self.snapshot, number, bytes);
        let read = self.store.get_checked(Cause::Directory, &key, None, self.patience, check).await;
        let entry = read.map_err(|error| error.tell(&tried()))?;
        Ok(entry.map_err(|error| Error::new(Kind::Io, tried()).with_source(error))?.op)
    }

    /// A clone holds on from here on.
    pub(crate) async fn add(&self, clone: VolumeId) -> Result<(), Error> {
        if self.append(LedgerOp::Add(clone), |holders| !holders.sealed).await?.is_some() {
            let text = "the snapshot is being removed: it cannot be cloned any more";
            return Err(Error::new(Kind::Invalid, text));
        }
        Ok(())
    }

    /// A clone is gone; nothing to do if it never held on.
    pub(crate) async fn del(&self, clone: VolumeId) -> Result<(), Error> {
        self.append(LedgerOp::Del(clone), |holders| holders.clones.contains(&clone)).await.map(|_| ())
    }

    /// Ends the ledger; refused while a clone holds on.
    pub(crate) async fn seal(&self) -> Result<(), Error> {
        self.release_unfinished().await?;
        match self.append(LedgerOp::Seal, |holders| holders.clones.is_empty() && !holders.sealed).await? {
            Some(holders) if !holders.clones.is_empty() => Err(self.held_by(&holders.clones).await),
            Some(_) | None => Ok(()),
        }
    }

    /// Puts `op` behind the last entry, if `allowed` says so of what stands before it; otherwise gives that back.
    async fn append(&self, op: LedgerOp, allowed: impl Fn(&Holders) -> bool) -> Result<Option<Holders>, Error> {
        for _ in 0..ATTEMPTS {
            let holders = self.read().await?;
            if !allowed(&holders) {
                return Ok(Some(holders));
            }
            let number = holders.last.checked_add(1).ok_or_else(|| Error::new(Kind::Io, "a ledger is full"))?;
            let key = ObjectName::Ledger { snapshot: self.snapshot, number }.key("", self.volume);
            let entry = LedgerEntry { op, host: self.host.to_owned(), unix_ms: unix_ms() };
            let object = entry.encode(self.volume, number);
            match self.store.place(Cause::Directory, &key, &object.into(), self.patience.renewed()).await {
                Ok(Placed::Mine) => return Ok(None),
                Ok(Placed::Other(_)) => {}
                Err(error) => return Err(error.tell(&format!("writing {}", self.store.name_of(&key)))),
            }
        }
        Err(Error::new(Kind::Io, "too many clones of one snapshot are made or removed at once: try again"))
    }

    /// Lets go for clones that are no disks: begun and never finished, or deleted.
    async fn release_unfinished(&self) -> Result<(), Error> {
        for clone in self.read().await?.clones {
            if is_ended(self.store, clone, self.patience).await? {
                if let Some(found) = descriptor(self.store, clone, self.patience).await? {
                    directory::forget(self.store, &found.name, clone, self.patience).await?;
                }
                self.del(clone).await?;
            }
        }
        Ok(())
    }

    /// The refusal to remove a snapshot, with the names of its clones.
    pub(crate) async fn held_by(&self, clones: &BTreeSet<VolumeId>) -> Error {
        let mut names = Vec::new();
        for &clone in clones.iter().take(16) {
            let descriptor = descriptor(self.store, clone, self.patience).await.ok().flatten();
            names.push(descriptor.map_or_else(|| clone.to_string(), |found| found.name.as_str().to_owned()));
        }
        let more = if clones.len() > names.len() { ", ..." } else { "" };
        let text = format!("the snapshot has clones ({}{more}): remove them first", names.join(", "));
        Error::new(Kind::Invalid, text)
    }
}

/// Makes sure that a volume without a manifest never gets one. `false` if it has one.
async fn bury(store: &Arc<Store>, volume: VolumeId, patience: Patience) -> Result<bool, Error> {
    let tried = |error: StoreError| error.tell("looking for the manifest of a clone");
    let directory = format!("v/{volume}/m");
    if !store.list(Cause::Manifest, &directory, None, 1, patience).await.map_err(tried)?.is_empty() {
        return Ok(false);
    }
    let key = ObjectName::Manifest(ManifestNo(1)).key("", volume);
    let object = Manifest::tombstone().encode(volume, ManifestNo(1), None);
    let placed = store.place(Cause::Manifest, &key, &object.into(), patience.renewed()).await;
    match placed.map_err(|error| error.tell("ending a clone that was never finished"))? {
        Placed::Mine => Ok(true),
        Placed::Other(_) => Ok(false),
    }
}

/// Whether a volume is deleted, or was begun and never finished; then it cannot become a disk any more.
pub(crate) async fn is_ended(store: &Arc<Store>, volume: VolumeId, patience: Patience) -> Result<bool, Error> {
    if bury(store, volume, patience).await? {
        return Ok(true);
    }
    Ok(Chain::newest(store, volume, patience).await?.manifest.state == State::Deleted)
}

/// The descriptor of a volume, if it has one.
async fn descriptor(store: &Store, volume: VolumeId, patience: Patience) -> Result<Option<Descriptor>, Error> {
    let key = ObjectName::Descriptor.key("", volume);
    let tried = || format!("reading {}", store.name_of(&key));
    let check = |bytes: &Bytes| Descriptor::parse_object(volume, bytes);
    match store.get_checked(Cause::Directory, &key, None, patience, check).await {
        Ok(parsed) => Ok(Some(parsed.map_err(|error| Error::new(Kind::Io, tried()).with_source(error))?)),
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.tell(&tried())),
    }
}
