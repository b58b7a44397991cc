//! Which volume a location is, also where its name or descriptor is lost.

use std::sync::Arc;

use bytes::Bytes;
use nbdgate_api::{Error, Kind};

use super::not_ours;
use crate::{
    Location,
    directory::NAMES,
    format::{Descriptor, FormatError, ObjectName, VolumeId, manifest::State, names},
    observer::Cause,
    ownership::chain::Chain,
    store::{Patience, Store, StoreError},
};

/// What stands at a key that must hold one of ours.
#[derive(Debug)]
pub(crate) enum Standing<T> {
    Sound(T),
    Missing,
    Damaged(FormatError),
}

/// A volume, and in what state the objects are that name it.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) volume: VolumeId,
    pub(crate) name: Standing<()>,
    pub(crate) descriptor: Standing<Descriptor>,
}

/// Finds the volume of `location`: by its name, else by the descriptors of all volumes of the root.
///
/// # Errors
/// There is no such disk, more than one might be it, or the store does not answer.
pub(crate) async fn identify(store: &Arc<Store>, location: &Location, patience: Patience) -> Result<Identity, Error> {
    let key = location.volume_name().key("");
    let named = standing(store, &key, patience, |bytes| names::parse_name_object(bytes)).await?;
    let (volume, name) = match named {
        Standing::Sound(volume) => (volume, Standing::Sound(())),
        Standing::Missing => (search(store, location, patience).await?, Standing::Missing),
        Standing::Damaged(error) => (search(store, location, patience).await?, Standing::Damaged(error)),
    };
    let descriptor = descriptor(store, volume, patience).await?;
    Ok(Identity { volume, name, descriptor })
}

async fn descriptor(store: &Store, volume: VolumeId, patience: Patience) -> Result<Standing<Descriptor>, Error> {
    let key = ObjectName::Descriptor.key("", volume);
    standing(store, &key, patience, |bytes| Descriptor::parse_object(volume, bytes)).await
}

async fn standing<T>(
    store: &Store,
    key: &str,
    patience: Patience,
    parse: impl Fn(&Bytes) -> Result<T, FormatError>,
) -> Result<Standing<T>, Error> {
    match store.get_checked(Cause::Scrub, key, None, patience.renewed(), parse).await {
        Ok(Ok(value)) => Ok(Standing::Sound(value)),
        Ok(Err(error)) => not_ours(&error, &store.name_of(key)).map_or(Ok(Standing::Damaged(error)), Err),
        Err(StoreError::NotFound(_)) => Ok(Standing::Missing),
        Err(error) => Err(error.tell(&format!("reading {}", store.name_of(key)))),
    }
}

/// The one volume whose descriptor says this name and that was not deleted.
async fn search(store: &Arc<Store>, location: &Location, patience: Patience) -> Result<VolumeId, Error> {
    let mut found = Vec::new();
    for volume in volumes(store, patience).await? {
        let Standing::Sound(descriptor) = descriptor(store, volume, patience).await? else { continue };
        if descriptor.name != *location.volume_name() {
            continue;
        }
        let deleted = Chain::newest(store, volume, patience.renewed()).await;
        if !deleted.is_ok_and(|chain| chain.manifest.state == State::Deleted) {
            found.push(volume);
        }
    }
    match found[..] {
        [volume] => Ok(volume),
        [] => Err(Error::new(Kind::Invalid, format!("there is no disk {location}, and no volume that says it is"))),
        _ => {
            let list: Vec<String> = found.iter().map(ToString::to_string).collect();
            let text = format!(
                "{NAMES}/{} is lost, and several volumes say that it is theirs ({}): put the right uuid and a newline there",
                location.name(),
                list.join(", ")
            );
            Err(Error::new(Kind::Invalid, text))
        }
    }
}

/// All volumes of a root that have a well-formed id.
async fn volumes(store: &Store, patience: Patience) -> Result<Vec<VolumeId>, Error> {
    let folders = store.folders(Cause::Scrub, "v", patience.renewed()).await;
    let folders = folders.map_err(|error| error.tell("looking for the volumes of a root"))?;
    Ok(folders.iter().filter_map(|name| uuid::Uuid::try_parse(name).ok()).map(VolumeId).collect())
}
