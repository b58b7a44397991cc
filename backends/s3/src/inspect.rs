//! Looking at a disk without claiming it: what fsck, rebuild, scrub and usage share.
//!
//! Nothing here writes to the store, and nothing here trusts it: what cannot be read becomes a finding of the caller,
//! and only a store that does not answer is an error.

pub(crate) mod affected;
pub(crate) mod follow;
pub(crate) mod identity;
pub(crate) mod inventory;
pub(crate) mod manifests;
pub(crate) mod pace;
pub(crate) mod slots;
pub(crate) mod sweep;
pub(crate) mod verify;
pub(crate) mod view;

use std::sync::Arc;

use nbdgate_api::{Error, Kind};

use crate::{
    Location, OpenOptions,
    format::{FormatError, FormatErrorKind, VolumeId},
    head::Heads,
    observer::{Attributed, Cause},
    recovery::Replay,
    store::{Patience, Store},
};

/// A way to the objects of one volume.
#[derive(Clone, Debug)]
pub(crate) struct Inspect {
    pub(crate) store: Arc<Store>,
    pub(crate) volume: VolumeId,
    pub(crate) patience: Patience,
}

impl Inspect {
    pub(crate) fn replay(&self) -> Replay<'_> {
        Replay { store: &self.store, volume: self.volume, patience: self.patience }
    }

    pub(crate) fn heads(&self) -> Heads<'_> {
        Heads { store: &self.store, cause: Cause::Scrub, patience: self.patience }
    }
}

/// What a later version wrote, or what is encrypted, is not damage: this version must leave it alone.
pub(crate) fn not_ours(error: &FormatError, object: &str) -> Option<Error> {
    matches!(error.kind(), FormatErrorKind::FutureVersion | FormatErrorKind::Sealed).then(|| {
        Error::new(Kind::NotSupported, format!("{object} cannot be checked by this version")).with_source(error.clone())
    })
}

/// A store whose requests all count as `cause`.
pub(crate) fn store_for(location: &Location, options: &OpenOptions, cause: Cause) -> Result<Arc<Store>, Error> {
    Store::of(location, &options.tuning, Arc::new(Attributed { to: Arc::clone(&options.observer), cause }))
}
