//! Names of disks and their descriptors.

use bytes::Bytes;
use nbdgate_api::{Error, Kind};

use crate::{
    Location,
    format::{Descriptor, ObjectName, VolumeId, VolumeName, names},
    observer::Cause,
    store::{Patience, Store, StoreError},
};

/// Where names are kept.
pub(crate) const NAMES: &str = "volumes";

/// A disk that was found by its name.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) volume: VolumeId,
    pub(crate) descriptor: Descriptor,
}

/// Finds a disk by its name.
pub(crate) async fn find(store: &Store, location: &Location, patience: Patience) -> Result<Found, Error> {
    let volume = find_volume(store, location, patience).await?;
    let descriptor = descriptor(store, location, volume, patience).await?;
    Ok(Found { volume, descriptor })
}

/// The volume of a name.
pub(crate) async fn find_volume(store: &Store, location: &Location, patience: Patience) -> Result<VolumeId, Error> {
    let key = location.volume_name().key("");
    let check = |bytes: &Bytes| names::parse_name_object(bytes);
    let volume = match store.get_checked(Cause::Directory, &key, None, patience, check).await {
        Ok(volume) => volume,
        Err(StoreError::NotFound(_)) => return Err(missing(store, location, patience).await),
        Err(error) => return Err(error.tell(&format!("looking for {location}"))),
    };
    volume.map_err(|error| Error::new(Kind::Invalid, foreign(store, &key)).with_source(error))
}

fn foreign(store: &Store, object: &str) -> String {
    format!("{} does not belong to a disk of this format", store.name_of(object))
}

/// The descriptor of a volume, whose presence makes it exist.
pub(crate) async fn descriptor(
    store: &Store,
    location: &Location,
    volume: VolumeId,
    patience: Patience,
) -> Result<Descriptor, Error> {
    let key = ObjectName::Descriptor.key("", volume);
    let check = |bytes: &Bytes| Descriptor::parse_object(volume, bytes);
    let descriptor =
        store.get_checked(Cause::Directory, &key, None, patience, check).await.map_err(|error| match error {
            StoreError::NotFound(_) => {
                let text = format!("{location} is incomplete: its descriptor {} is missing", store.name_of(&key));
                Error::new(Kind::Io, text)
            }
            error => error.tell(&format!("reading {}", store.name_of(&key))),
        })?;
    descriptor.map_err(|error| Error::new(Kind::Io, foreign(store, &key)).with_source(error))
}

/// Takes the name away from `volume`, if it still has it.
pub(crate) async fn forget(
    store: &Store,
    name: &VolumeName,
    volume: VolumeId,
    patience: Patience,
) -> Result<(), Error> {
    let key = name.key("");
    let tried = |error: StoreError| error.tell(&format!("removing the name {}", store.name_of(&key)));
    match store.get(Cause::Directory, &key, None, patience).await {
        Ok(object) if names::parse_name_object(&object).is_ok_and(|named| named == volume) => {
            store.delete(Cause::Directory, &key, patience).await.map_err(tried)
        }
        Ok(_) | Err(StoreError::NotFound(_)) => Ok(()),
        Err(error) => Err(tried(error)),
    }
}

/// Why there is no such disk: no bucket, something else under the prefix, or just no disk of that name.
async fn missing(store: &Store, location: &Location, patience: Patience) -> Error {
    let anything = match store.list(Cause::Directory, "", None, 1, patience).await {
        Ok(anything) => anything,
        Err(error) => return error.tell(&format!("looking for {location}")),
    };
    let names = store.list(Cause::Directory, NAMES, None, 1, patience).await;
    let holds_disks = names.is_ok_and(|names| !names.is_empty());
    let text = match anything.first() {
        Some(other) if !holds_disks => format!(
            "there is no disk {location}, and {} holds something else ({}): check the prefix, or create the disk with \
             `nbdgate disk create`",
            store.label(),
            other.key
        ),
        _ => format!("there is no disk {location}: create it with `nbdgate disk create`"),
    };
    Error::new(Kind::Invalid, text)
}
