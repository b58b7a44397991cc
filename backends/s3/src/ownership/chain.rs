//! The manifest chain: finding its newest member, and publishing the next (§6.2).

use std::sync::Arc;

use bytes::Bytes;
use nbdgate_api::{Error, Kind};

use crate::{
    format::{FormatError, FormatErrorKind, Manifest, ManifestNo, ObjectName, Sealing, VolumeId, manifest::Outline},
    observer::Cause,
    store::{Patience, Placed, Store, StoreError},
};

/// The chain of a volume up to the manifest that this process knows as the newest.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    store: Arc<Store>,
    volume: VolumeId,
    no: ManifestNo,
    hash: [u8; 32],
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
        Ok(Self { store: Arc::clone(store), volume, no, hash: Manifest::hash(&object), manifest, unix_ms })
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

    /// Publishes `next` behind the newest manifest; its `prev` is filled in here. Afterwards it is the newest.
    ///
    /// The list behind the put is what makes it safe to delete old manifests: a number that was deleted can be
    /// taken again by a sleeper, but then newer numbers exist.
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
        let no = ManifestNo(self.no.0 + 1);
        next.prev = self.hash;
        let object = next.encode(self.volume, no, sealing.fresh());
        let key = ObjectName::Manifest(no).key("", self.volume);
        let placed = self.store.place(Cause::Manifest, &key, &object.clone().into(), patience).await;
        if let Placed::Other(found) = placed.map_err(NotPublished::Failed)? {
            return Err(NotPublished::Lost(self.lost(no, &found)));
        }
        let directory = format!("v/{}/m", self.volume);
        let newer = self.store.list(Cause::Manifest, &directory, Some(&key), 1, patience).await;
        if let Some(newer) = newer.map_err(NotPublished::Failed)?.first() {
            let text = format!("another gateway took the disk over: {} is newer", self.store.name_of(&newer.key));
            return Err(NotPublished::Lost(Error::new(Kind::Shutdown, text)));
        }
        self.hash = Manifest::hash(&object);
        (self.no, self.manifest) = (no, next);
        Ok(())
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
    loaded.map_err(|error| error.tell(&tried()))?.map_err(|error| {
        let kind = if error.kind() == FormatErrorKind::Sealed { Kind::Permission } else { Kind::Io };
        Error::new(kind, tried()).with_source(error)
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
