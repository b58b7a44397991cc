//! Asking a store what it can do, without opening a disk.

use std::sync::Arc;

use nbdgate_api::Error;

use crate::{
    Location, OpenOptions, ProbeReport,
    keys::unlock::find_unlocked,
    ownership::chain::Chain,
    probe::{Probe, Probing},
    store::{Patience, Store, StoreError, connect},
};

/// Below it a root without the disk is probed.
const ROOT_PREFIX: &str = "probe";

/// Probes the store of a disk, and that of its log if it has one of its own; of a disk that does not exist (yet), the
/// root. Nothing stays behind unless it is interrupted.
///
/// # Errors
/// The store cannot be reached, refuses the credentials, or loses what was put.
pub async fn probe(location: &Location, options: &OpenOptions) -> Result<ProbeReport, Error> {
    connect::prepare(location.root())?;
    let store = Store::of(location, &options.tuning, Arc::clone(&options.observer))?;
    let patience = Patience::asking(options.tuning.open_deadline);
    let rounds = options.tuning.probe;
    match store.get(crate::Cause::Directory, &location.volume_name().key(""), None, patience).await {
        Ok(_) => {}
        Err(StoreError::NotFound(_)) => {
            let (report, leftovers) =
                Probe { store: &store, prefix: ROOT_PREFIX.to_owned(), rounds, patience }.run().await?;
            leftovers.clean(&store, patience).await;
            options.observer.probed(&report);
            return Ok(report);
        }
        Err(error) => return Err(error.tell(&format!("looking for {location}"))),
    }
    let volume = find_unlocked(&store, location, options, patience).await?.volume;
    // The manifest tells where the log is.
    Chain::newest(&store, volume, patience).await?;
    Probing { store: &store, volume, rounds, patience }.probe().await
}
