//! Making the keys of a disk known to the store it is opened through.

use nbdgate_api::{Error, Kind};

use super::{KeySource, unwrap};
use crate::{
    Location, OpenOptions,
    directory::{self, Found},
    format::{Sealing, VolumeId},
    ownership::chain,
    store::{Patience, Store},
};

/// Opens the data keys of a disk, which [`Store::sealing`] knows from then on. Comes before everything that reads more
/// of a disk than its name, and before anything is written: here a wrong key, a missing one, and one that the disk does
/// not have are refused. Sends no request for a disk in clear.
pub(crate) async fn unlock(
    store: &Store,
    found: &Found,
    source: Option<&KeySource>,
    location: &Location,
    patience: Patience,
) -> Result<(), Error> {
    match (found.descriptor.sealed, source) {
        (false, None) => Ok(()),
        (false, Some(source)) => Err(Error::new(
            Kind::Invalid,
            format!(
                "the disk {location} is not encrypted, and {source} was given: leave the key out, or check that this is \
                 the disk you mean"
            ),
        )),
        (true, None) => Err(Error::new(
            Kind::Permission,
            format!("the disk {location} is encrypted: give its passphrase, key file or key command"),
        )),
        (true, Some(source)) => {
            let newest = chain::newest_outline(store, found.volume, patience).await?;
            let keys = unwrap(source, &newest.outline.keys, &format!("the disk {location}")).await?;
            store.unlock(Sealing::with(keys));
            Ok(())
        }
    }
}

/// Finds a disk by its name, and opens its keys.
pub(crate) async fn find_unlocked(
    store: &Store,
    location: &Location,
    options: &OpenOptions,
    patience: Patience,
) -> Result<Found, Error> {
    let found = directory::find(store, location, patience).await?;
    unlock(store, &found, options.key.as_ref(), location, patience).await?;
    Ok(found)
}

/// Opens the keys of a disk whose descriptor may be lost: then its newest manifest tells whether it has any.
pub(crate) async fn unlock_damaged(
    store: &Store,
    volume: VolumeId,
    location: &Location,
    options: &OpenOptions,
    patience: Patience,
) -> Result<(), Error> {
    let Some(source) = options.key.as_ref() else { return Ok(()) };
    let newest = chain::newest_outline(store, volume, patience).await?;
    let keys = unwrap(source, &newest.outline.keys, &format!("the disk {location}")).await?;
    store.unlock(Sealing::with(keys));
    Ok(())
}
