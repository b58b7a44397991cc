//! Making the keys of a disk known to the store it is opened through.

use nbdgate_api::{Error, Kind};

use super::{KeySource, unwrap};
use crate::{
    Location,
    directory::Found,
    format::Sealing,
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
