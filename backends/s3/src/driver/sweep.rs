//! Looking for objects that nothing names: left behind by gateways that died, or by deletions that never came through.
//!
//! Only objects of earlier writers are looked at. Those writers are fenced, so nothing will ever come to name what is not
//! named now, and nothing new is made in their directories but late copies of the same. An object is deleted if the tables
//! of the disk and of all its snapshots do not list it and it is older than `sweep_age` by the store's own clock.
//! A fence is never deleted; whatever is not understood is counted and left alone. If anything that names objects cannot be
//! read, nothing is deleted.
//!
//! A disk that no earlier writer served, or that was swept clean, is not swept again: a disk at rest is silent.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use nbdgate_api::{Error, Kind as ErrorKind};

use super::Driver;
use crate::{
    checkpoint::RootState,
    format::{Kind, Manifest, ObjectName, Prelude, RootLocator, prelude::PRELUDE_LEN},
    map::SegmentEntry,
    observer::Cause,
    recovery::Replay,
    store::{Patience, list::Listed},
};

/// How long one request is tried.
const TRIED: Duration = Duration::from_mins(1);

/// A directory with more objects than this is listed in its 256 parts.
const LIST_MAX: usize = 20_000;

/// The directories of data and map.
const DIRECTORIES: [&str; 3] = ["l", "g", "p"];

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Objects of earlier writers that nothing names.
    pub(crate) orphans: u64,
    /// Bytes of them.
    pub(crate) orphan_bytes: u64,
    /// Those that were deleted.
    pub(crate) deleted: u64,
    /// Those that are too young.
    pub(crate) young: u64,
    /// Objects that are not understood.
    pub(crate) foreign: u64,
}

impl Driver {
    /// Sweeps from time to time, as long as there is a reason.
    pub(crate) fn schedule_sweep(self: &Arc<Self>) {
        // The first writer has no earlier one.
        if !self.gc.enabled || self.gc.sweep_interval.is_zero() || self.writer.epoch.0 <= 1 {
            return;
        }
        let driver = Arc::clone(self);
        self.spawn(async move {
            loop {
                tokio::time::sleep(driver.gc.sweep_interval).await;
                if driver.failure().is_some() {
                    return;
                }
                match driver.sweep().await {
                    Ok(swept) if swept.deleted == swept.orphans => return,
                    Ok(_) => {}
                    Err(error) => tracing::warn!(error = error.chain(), "looking for orphaned objects failed"),
                }
            }
        });
    }

    /// One sweep.
    pub(crate) async fn sweep(&self) -> Result<Swept, Error> {
        let named = self.named().await?;
        let now = self.store_clock().await?;
        let mut swept = Swept::default();
        let mut old = Vec::new();
        for directory in DIRECTORIES {
            for found in self.list_all(directory).await? {
                let Some(name) = self.unnamed(&named, &found, &mut swept) else { continue };
                if !self.is_data(name, &found, &mut swept).await? {
                    continue;
                }
                swept.orphans += 1;
                swept.orphan_bytes += found.size;
                let age = Duration::from_millis(now.saturating_sub(found.unix_ms));
                if age >= self.gc.sweep_age {
                    old.push(found.key);
                } else {
                    swept.young += 1;
                }
            }
        }
        if swept != Swept::default() {
            let Swept { orphans, orphan_bytes, young, foreign, .. } = swept;
            tracing::info!(orphans, orphan_bytes, young, foreign, "objects that nothing names");
        }
        for batch in old.chunks(1000) {
            let left = self.store.delete_all(Cause::Gc, batch, Patience::serving(soon())).await;
            swept.deleted += (batch.len() - left.len()) as u64;
        }
        let mut bin = self.bin.lock();
        bin.deleted_objects += swept.deleted;
        drop(bin);
        self.tell_collected();
        Ok(swept)
    }

    /// Every object of this volume that the head, a snapshot or a deletion to come refers to.
    async fn named(&self) -> Result<HashSet<ObjectName>, Error> {
        let mut named = HashSet::new();
        let manifest = {
            let ownership = self.ownership.lock().await;
            let Some(ownership) = ownership.as_ref() else {
                return Err(Error::new(
                    ErrorKind::NotSupported,
                    "looking for orphaned objects of a disk that is only read",
                ));
            };
            add_packs(&mut named, ownership.checkpoints.root());
            let mut engine = self.engine.lock();
            add_segments(&mut named, engine.committed().segments.iter().map(|(_, entry)| entry));
            ownership.chain.manifest.clone()
        };
        let mut roots: Vec<RootLocator> = Vec::new();
        for snapshot in &manifest.snapshots {
            if !roots.contains(&snapshot.root) {
                roots.push(snapshot.root);
            }
        }
        for root in roots {
            self.add_snapshot(&mut named, &manifest, root).await?;
        }
        Ok(named)
    }

    async fn add_snapshot(
        &self,
        named: &mut HashSet<ObjectName>,
        manifest: &Manifest,
        root: RootLocator,
    ) -> Result<(), Error> {
        let replay = Replay { store: &self.store, volume: self.volume, patience: Patience::asking(TRIED) };
        let (root, segments) = replay.tables(manifest, root).await?;
        add_packs(named, &root);
        add_segments(named, segments.iter().map(|(_, entry)| entry));
        Ok(())
    }

    /// The name of a listed object that belongs to an earlier writer and is not named.
    fn unnamed(&self, named: &HashSet<ObjectName>, found: &Listed, swept: &mut Swept) -> Option<ObjectName> {
        let parsed = found.key.strip_prefix(&format!("v/{}/", self.volume)).and_then(ObjectName::parse);
        let Some((name, writer)) = parsed.and_then(|name| Some((name, name.writer()?))) else {
            swept.foreign += 1;
            return None;
        };
        (writer.epoch < self.writer.epoch && !named.contains(&name)).then_some(name)
    }

    /// Whether an object is a segment or a pack, and no fence.
    async fn is_data(&self, name: ObjectName, found: &Listed, swept: &mut Swept) -> Result<bool, Error> {
        if !matches!(name, ObjectName::Log { .. }) {
            return Ok(true);
        }
        let range = Some(0..PRELUDE_LEN as u64);
        let check = |bytes: &Bytes| Prelude::parse(&name.expected(self.volume), bytes);
        let read = self.store.get_checked(Cause::Gc, &found.key, range, Patience::asking(TRIED), check).await;
        match read {
            Ok(Ok(prelude)) => Ok(prelude.place.kind != Kind::Fence),
            Ok(Err(_)) => {
                swept.foreign += 1;
                Ok(false)
            }
            Err(crate::store::StoreError::NotFound(_)) => Ok(false),
            Err(error) => Err(error.tell(&format!("reading {}", self.store.name_of(&found.key)))),
        }
    }

    async fn list_all(&self, directory: &str) -> Result<Vec<Listed>, Error> {
        let whole = format!("v/{}/{directory}", self.volume);
        let all = self.list(&whole, LIST_MAX).await?;
        if all.len() < LIST_MAX {
            return Ok(all);
        }
        let mut all = Vec::new();
        for part in 0..=0xff_u8 {
            all.extend(self.list(&format!("{whole}/{part:02x}"), usize::MAX).await?);
        }
        Ok(all)
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<Listed>, Error> {
        let listed = self.store.list(Cause::Gc, prefix, None, limit, Patience::asking(TRIED)).await;
        listed.map_err(|error| error.tell(&format!("listing {}", self.store.name_of(prefix))))
    }

    /// What the store's clock shows, in milliseconds since 1970: when it says that a new object was made.
    async fn store_clock(&self) -> Result<u64, Error> {
        let directory = format!("v/{}/probe", self.volume);
        let key = format!("{directory}/clock-{:016x}", self.store.random());
        let tried = |error: crate::store::StoreError| error.tell("asking for the store's clock");
        let mark = Bytes::from_static(b"clock").into();
        self.store.place(Cause::Gc, &key, &mark, Patience::asking(TRIED)).await.map_err(tried)?;
        let listed = self.list(&directory, usize::MAX).await?;
        // Also those of sweeps that did not come so far.
        for mark in listed.iter().filter(|found| found.key.contains("/clock-")) {
            self.store.delete(Cause::Gc, &mark.key, Patience::asking(TRIED)).await.map_err(tried)?;
        }
        let shown = listed.iter().find(|found| found.key == key).map(|found| found.unix_ms);
        shown.ok_or_else(|| Error::new(ErrorKind::Io, "the store does not list what was just put"))
    }
}

fn soon() -> tokio::time::Instant {
    tokio::time::Instant::now() + TRIED
}

/// Also what is dead: it is deleted in its time.
fn add_packs(named: &mut HashSet<ObjectName>, root: &RootState) {
    let own = root.packs().filter(|(_, pack)| pack.owner == 0);
    named.extend(own.map(|(_, pack)| ObjectName::Pack { writer: pack.writer, number: pack.number }));
}

fn add_segments<'a>(named: &mut HashSet<ObjectName>, segments: impl Iterator<Item = &'a SegmentEntry>) {
    named.extend(segments.filter(|entry| entry.name.owner == 0).map(|entry| entry.name.object()));
}
