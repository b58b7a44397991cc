//! The manifest chain: finding its newest member, and publishing the next (§6.2).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use nbdgate_api::{Error, Kind};

use crate::{
    format::{
        FormatError, FormatErrorKind, Manifest, ManifestNo, ObjectName, Sealing, VolumeId,
        manifest::{Outline, State},
    },
    observer::Cause,
    store::{Patience, Placed, Store, StoreError},
};

/// Publications without a clear outcome that are remembered; far more than anybody tries.
const MAX_UNCLEAR: usize = 16;

/// The chain of a volume up to the manifest that this process knows as the newest.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    store: Arc<Store>,
    volume: VolumeId,
    no: ManifestNo,
    hash: [u8; 32],
    /// `no`, for those who prove ownership meanwhile.
    known: Arc<AtomicU64>,
    /// What was to follow `no` and may be there, or come to be there.
    unclear: Vec<(Bytes, Manifest)>,
    /// The newest manifest.
    pub(crate) manifest: Manifest,
    /// When it was published, by the store's clock; for people.
    pub(crate) unix_ms: u64,
}

/// Why a manifest was not published.
#[derive(Debug)]
pub(crate) enum NotPublished {
    /// Another writer owns the disk.
    Lost(Error),
    /// The store did not take it; it may still come to be there.
    Failed(StoreError),
}

impl NotPublished {
    /// The error of whoever wanted to publish.
    pub(crate) fn into_error(self, tried: &str) -> Error {
        match self {
            Self::Lost(error) => error,
            Self::Failed(error) => error.tell(tried),
        }
    }
}

impl Chain {
    /// The newest manifest of `volume`, which has one if it was created.
    pub(crate) async fn newest(store: &Arc<Store>, volume: VolumeId, patience: Patience) -> Result<Self, Error> {
        let (no, unix_ms) = newest_no(store, volume, patience).await?;
        let (object, manifest) = load(store, volume, no, patience).await?;
        if let Some(root) = &manifest.log_root {
            // A clone keeps its log where its ancestors keep theirs.
            let volumes = std::iter::once(volume).chain(manifest.lineage.iter().map(|parent| parent.volume));
            store.route_log(volumes, root)?;
        }
        Ok(Self {
            store: Arc::clone(store),
            volume,
            no,
            hash: Manifest::hash(&object),
            known: Arc::new(AtomicU64::new(no.0)),
            unclear: Vec::new(),
            manifest,
            unix_ms,
        })
    }

    /// A chain whose newest member, number `no`, hashes to `hash`, sound or not; `manifest` is the newest that is known. For
    /// a rebuild: what is published next follows whatever stands there.
    pub(crate) fn behind(
        store: &Arc<Store>,
        volume: VolumeId,
        (no, hash): (ManifestNo, [u8; 32]),
        manifest: Manifest,
    ) -> Self {
        Self {
            store: Arc::clone(store),
            volume,
            no,
            hash,
            known: Arc::new(AtomicU64::new(no.0)),
            unclear: Vec::new(),
            manifest,
            unix_ms: 0,
        }
    }

    /// The manifest before `no`.
    pub(crate) async fn before(
        &self,
        no: ManifestNo,
        patience: Patience,
    ) -> Result<Option<(ManifestNo, Manifest)>, Error> {
        if no.0 <= 1 {
            return Ok(None);
        }
        let no = ManifestNo(no.0 - 1);
        Ok(Some((no, load(&self.store, self.volume, no, patience).await?.1)))
    }

    /// The number of the newest manifest.
    pub(crate) fn no(&self) -> ManifestNo {
        self.no
    }

    /// The number of the newest manifest, as it grows.
    pub(crate) fn known(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.known)
    }

    /// Publishes `next` behind the newest manifest; its `prev` is filled in here. Afterwards it is the newest.
    ///
    /// The list behind the put is what makes it safe to delete old manifests: a number that was deleted can be
    /// taken again by a sleeper, but then newer numbers exist.
    ///
    /// After [`NotPublished::Failed`] the manifest may stand all the same; then the next one is published behind it. One
    /// that says CLOSED is published also if somebody has claimed the disk behind it since: that is what it is for.
    pub(crate) async fn publish(&mut self, next: Manifest, patience: Patience) -> Result<(), NotPublished> {
        let sealing = self.store.sealing();
        self.publish_sealed(next, &sealing, patience).await
    }

    /// The same under other keys than the disk has had: those that `next` names.
    pub(crate) async fn publish_sealed(
        &mut self,
        mut next: Manifest,
        sealing: &Sealing,
        patience: Patience,
    ) -> Result<(), NotPublished> {
        let (no, object) = self.put(&mut next, sealing, patience).await?;
        let key = ObjectName::Manifest(no).key("", self.volume);
        let directory = format!("v/{}/m", self.volume);
        let newer = match self.store.list(Cause::Manifest, &directory, Some(&key), 1, patience).await {
            Ok(newer) => newer,
            Err(error) => return Err(self.failed(object, next, error)),
        };
        if let Some(newer) = newer.first() {
            let handed_over = next.state == State::Closed && self.is_followed(no, &object, patience).await;
            if !handed_over {
                let text = format!("another gateway took the disk over: {} is newer", self.store.name_of(&newer.key));
                return Err(NotPublished::Lost(Error::new(Kind::Shutdown, text)));
            }
            tracing::info!(manifest = key, "the disk was claimed as soon as it was closed");
        }
        self.is_now(no, &object, next);
        Ok(())
    }

    /// Puts `next` behind the newest manifest, and behind one of ours that turns out to stand there.
    async fn put(
        &mut self,
        next: &mut Manifest,
        sealing: &Sealing,
        patience: Patience,
    ) -> Result<(ManifestNo, Bytes), NotPublished> {
        loop {
            let no = ManifestNo(self.no.0 + 1);
            next.prev = self.hash;
            let object = next.encode(self.volume, no, sealing.fresh());
            let key = ObjectName::Manifest(no).key("", self.volume);
            let found = match self.store.place(Cause::Manifest, &key, &object.clone().into(), patience).await {
                Ok(Placed::Mine) => return Ok((no, object)),
                Ok(Placed::Other(found)) => found,
                Err(error) => return Err(self.failed(object, next.clone(), error)),
            };
            // Each turn ends or moves one number on, and forgets what was unclear about the number before.
            let Some(at) = self.unclear.iter().position(|(object, _)| object.starts_with(&found)) else {
                return Err(NotPublished::Lost(self.lost(no, &found)));
            };
            let (object, ours) = self.unclear.swap_remove(at);
            tracing::warn!(manifest = key, "a manifest of unclear outcome was published after all");
            self.is_now(no, &object, ours);
        }
    }

    fn failed(&mut self, object: Bytes, next: Manifest, error: StoreError) -> NotPublished {
        if self.unclear.len() == MAX_UNCLEAR {
            self.unclear.remove(0);
        }
        self.unclear.push((object, next));
        NotPublished::Failed(error)
    }

    fn is_now(&mut self, no: ManifestNo, object: &[u8], manifest: Manifest) {
        self.hash = Manifest::hash(object);
        (self.no, self.manifest) = (no, manifest);
        self.unclear.clear();
        self.known.store(no.0, Ordering::Release);
    }

    /// Whether the manifest behind `no` was built on `object`.
    async fn is_followed(&self, no: ManifestNo, object: &[u8], patience: Patience) -> bool {
        let behind = ManifestNo(no.0 + 1);
        let key = ObjectName::Manifest(behind).key("", self.volume);
        let sealing = self.store.sealing();
        let check = |found: &Bytes| Manifest::parse_object(self.volume, behind, found, &sealing);
        let found = self.store.get_checked(Cause::Manifest, &key, None, patience, check).await;
        found.is_ok_and(|parsed| parsed.is_ok_and(|theirs| theirs.prev == Manifest::hash(object)))
    }

    fn lost(&self, no: ManifestNo, found: &Bytes) -> Error {
        let name = self.store.name_of(&ObjectName::Manifest(no).key("", self.volume));
        match Outline::parse_object(self.volume, no, found) {
            Ok(theirs) => {
                let text = format!("another gateway took the disk over: {} published {name}", theirs.owner.host);
                Error::new(Kind::Shutdown, text)
            }
            Err(error) => Error::new(Kind::Io, format!("{name} is not a manifest of this disk")).with_source(error),
        }
    }
}

async fn load(store: &Store, volume: VolumeId, no: ManifestNo, patience: Patience) -> Result<(Bytes, Manifest), Error> {
    let key = ObjectName::Manifest(no).key("", volume);
    let tried = || format!("reading the manifest {}", store.name_of(&key));
    let sealing = store.sealing();
    let check =
        |object: &Bytes| Ok((object.clone(), sound(Manifest::parse_object(volume, no, object, &sealing)?, &sealing)?));
    let loaded = store.get_checked(Cause::Manifest, &key, None, patience, check).await;
    let damaged = || format!("{} (`disk fsck` tells more, `disk rebuild` puts a new one behind it)", tried());
    loaded.map_err(|error| error.tell(&tried()))?.map_err(|error| match error.kind() {
        FormatErrorKind::Sealed => Error::new(Kind::Permission, tried()).with_source(error),
        _ => Error::new(Kind::Io, damaged()).with_source(error),
    })
}

/// A disk has keys exactly if its objects are sealed.
fn sound(manifest: Manifest, sealing: &Sealing) -> Result<Manifest, FormatError> {
    if manifest.keys.is_empty() != sealing.is_sealed() {
        return Ok(manifest);
    }
    Err(FormatError::corrupt("manifest names keys and is in clear, or is sealed and names none"))
}

/// What the newest manifest says without its key.
pub(crate) async fn newest_outline(store: &Store, volume: VolumeId, patience: Patience) -> Result<Outlined, Error> {
    let (no, unix_ms) = newest_no(store, volume, patience).await?;
    let key = ObjectName::Manifest(no).key("", volume);
    let tried = || format!("reading the manifest {}", store.name_of(&key));
    let check = |object: &Bytes| Outline::parse_object(volume, no, object);
    let loaded = store.get_checked(Cause::Manifest, &key, None, patience, check).await;
    let loaded = loaded.map_err(|error| error.tell(&tried()))?;
    let outline = loaded.map_err(|error| Error::new(Kind::Io, tried()).with_source(error))?;
    Ok(Outlined { outline, unix_ms })
}

/// A manifest as it is seen without its key.
#[derive(Clone, Debug)]
pub(crate) struct Outlined {
    pub(crate) outline: Outline,
    /// When it was published, by the store's clock; for people.
    pub(crate) unix_ms: u64,
}

/// The number of the newest manifest, and when it was published.
async fn newest_no(store: &Store, volume: VolumeId, patience: Patience) -> Result<(ManifestNo, u64), Error> {
    let directory = format!("v/{volume}/m");
    let listed = store
        .list(Cause::Manifest, &directory, None, usize::MAX, patience)
        .await
        .map_err(|error| error.tell("looking for the newest manifest"))?;
    let numbered = |key: &str| match ObjectName::parse(key.strip_prefix(&format!("v/{volume}/"))?) {
        Some(ObjectName::Manifest(no)) => Some(no),
        _ => None,
    };
    let newest = listed.iter().filter_map(|found| Some((numbered(&found.key)?, found.unix_ms))).max();
    newest.ok_or_else(|| {
        let name = store.name_of(&directory);
        Error::new(Kind::Io, format!("the disk is incomplete: there is no manifest under {name}"))
    })
}

/// Publishes the first manifest of a new volume.
pub(crate) async fn found(store: &Store, volume: VolumeId, first: &Manifest, patience: Patience) -> Result<(), Error> {
    let key = ObjectName::Manifest(ManifestNo(1)).key("", volume);
    let object = first.encode(volume, ManifestNo(1), store.sealing().fresh());
    let tried = || format!("publishing {}", store.name_of(&key));
    match store.place(Cause::Manifest, &key, &object.into(), patience).await.map_err(|error| error.tell(&tried()))? {
        Placed::Mine => Ok(()),
        Placed::Other(_) => Err(Error::new(Kind::Io, format!("{}: it is there already", tried()))),
    }
}

#[cfg(test)]
mod tests;
