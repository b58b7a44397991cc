//! Changing what opens an encrypted disk, and what seals it: one manifest each, no object is written again.

use std::sync::Arc;

use nbdgate_api::{Error, Kind};

use crate::{
    KeySource, Location, OpenOptions, directory,
    format::{
        Manifest, Sealing,
        manifest::{State, WrappedKey},
        seal::DataKeys,
    },
    keys::{unlock, wrap},
    ownership::chain::Chain,
    store::{Patience, Store},
};

/// Wraps the data keys of a closed disk anew: from now on `new` opens it, and what `options.key` names does not. A
/// passphrase that is to be the same at another cost is a new key as well.
///
/// Whoever kept a copy of an old manifest and the old key can still unwrap the data keys: a key that was stolen calls for
/// [`rotate`] besides. Clones keep the key that the disk had when they were made.
///
/// # Errors
/// The disk is not encrypted, is open, or `options.key` does not open it; nothing was written then.
pub async fn rekey(location: &Location, new: &KeySource, options: &OpenOptions) -> Result<(), Error> {
    let disk = Closed::find(location, options).await?;
    let wrapped = wrap(new, &disk.keys).await?;
    disk.publish(wrapped, "re-keying", location).await
}

/// Gives a closed disk a new data key, which seals every object from now on, and returns its id. Old objects stay
/// readable under theirs, until garbage collection moves what is live in them.
///
/// # Errors
/// As [`rekey`].
pub async fn rotate(location: &Location, options: &OpenOptions) -> Result<u32, Error> {
    let mut disk = Closed::find(location, options).await?;
    let Some(keys) = disk.keys.rotated() else {
        return Err(Error::new(
            Kind::NotSupported,
            format!("the disk {location} has used up the ids of its data keys"),
        ));
    };
    let source = options.key.as_ref().expect("an encrypted disk was opened with its key");
    let (wrapped, id) = (wrap(source, &keys).await?, keys.current().id());
    disk.keys = keys;
    disk.publish(wrapped, "rotating the data key", location).await?;
    Ok(id)
}

/// An encrypted disk that nobody serves.
struct Closed {
    chain: Chain,
    keys: DataKeys,
    patience: Patience,
}

impl Closed {
    async fn find(location: &Location, options: &OpenOptions) -> Result<Self, Error> {
        let store = Store::of(location, &options.tuning, Arc::clone(&options.observer))?;
        let patience = Patience::asking(options.tuning.open_deadline);
        let found = directory::find(&store, location, patience).await?;
        unlock(&store, &found, options.key.as_ref(), location, patience).await?;
        let Some(keys) = store.sealing().keys().cloned() else {
            let text = format!("the disk {location} is not encrypted: copy it to one that is");
            return Err(Error::new(Kind::Invalid, text));
        };
        let chain = Chain::newest(&store, found.volume, patience).await?;
        match chain.manifest.state {
            State::Closed => Ok(Self { chain, keys, patience }),
            State::Deleted => Err(Error::new(Kind::Invalid, format!("the disk {location} was deleted"))),
            State::Open | State::Claim => {
                let host = &chain.manifest.owner.host;
                let text = format!("the disk {location} is open on {host}, or was not closed: close it first");
                Err(Error::new(Kind::Permission, text))
            }
        }
    }

    /// A gateway that opens the disk at the same moment wants the same number: one of the two has it.
    async fn publish(mut self, keys: Vec<WrappedKey>, tried: &str, location: &Location) -> Result<(), Error> {
        let next = Manifest { keys, ..self.chain.manifest.clone() };
        let published = self.chain.publish_sealed(next, &Sealing::with(self.keys), self.patience).await;
        published.map_err(|error| error.into_error(&format!("{tried} of {location}")))
    }
}
