//! Proving ownership from the manifest chain (OBJECT-LOG §6.6): two small requests.
//!
//! First "there is no manifest behind mine", then "mine is still there". The order matters: numbers behind mine may have
//! come and been collected, but manifests are deleted strictly oldest first, so while mine is there none of them was.
//! A claimant publishes before it fences, so whoever finds nothing behind his own had not lost the disk by then.

use std::{sync::Arc, time::Duration};

use nbdgate_api::{Error, Kind};
use tokio::time::Instant;

use crate::{
    format::{Manifest, ManifestNo, ObjectName, VolumeId, Writer},
    observer::Cause,
    store::{Patience, Store, StoreError},
};

/// Manifests of our own that a publication under way may have put behind the one we know.
const OWN_BEHIND: u32 = 4;

/// What a look at the chain says.
#[derive(Debug)]
pub(crate) enum Proof {
    /// The disk was ours at some time after the look began.
    Holds,
    /// It belongs to another.
    Lost(Error),
    /// Nothing: the store did not answer, or the chain moved meanwhile.
    Unclear,
}

/// Whoever proves.
#[derive(Debug)]
pub(crate) struct Prover<'a> {
    pub(crate) store: &'a Arc<Store>,
    pub(crate) volume: VolumeId,
    pub(crate) writer: Writer,
    /// The longest that one request may take.
    pub(crate) limit: Duration,
}

impl Prover<'_> {
    /// Whether `known`, the newest manifest that this writer has published, still ends the chain.
    pub(crate) async fn prove(&self, known: ManifestNo) -> Proof {
        match self.look(known).await {
            Ok(proof) => proof,
            Err(error) => {
                tracing::debug!(%error, "the ownership of the disk could not be proved");
                Proof::Unclear
            }
        }
    }

    async fn look(&self, known: ManifestNo) -> Result<Proof, StoreError> {
        let mut newest = known;
        for _ in 0..OWN_BEHIND {
            let behind = ManifestNo(newest.0 + 1);
            if !self.exists(behind).await? {
                return if self.exists(newest).await? { Ok(Proof::Holds) } else { self.gone(newest).await };
            }
            if let Some(lost) = self.owner_of(behind).await? {
                return Ok(Proof::Lost(lost));
            }
            newest = behind;
        }
        Ok(Proof::Unclear)
    }

    async fn exists(&self, no: ManifestNo) -> Result<bool, StoreError> {
        self.store.exists(Cause::Lease, &self.key(no), self.limit).await
    }

    /// The loss of the disk, if the manifest `no` is not this writer's.
    async fn owner_of(&self, no: ManifestNo) -> Result<Option<Error>, StoreError> {
        let sealing = self.store.sealing();
        let check = |object: &bytes::Bytes| Manifest::parse_object(self.volume, no, object, &sealing);
        let found = self.store.get_checked(Cause::Lease, &self.key(no), None, self.patience(), check).await?;
        Ok(match found {
            Ok(manifest) if manifest.owner.writer == self.writer => None,
            Ok(manifest) => {
                let name = self.store.name_of(&self.key(no));
                let text = format!("another gateway took the disk over: {} published {name}", manifest.owner.host);
                Some(Error::new(Kind::Shutdown, text))
            }
            // Whoever wrote it, it was not us; but bytes that fail a check are never a reason to stop.
            Err(error) => {
                tracing::warn!(%error, "a manifest behind ours is damaged");
                return Err(StoreError::Unavailable { key: self.key(no), why: error.to_string() });
            }
        })
    }

    /// Our manifest is not there: others came, and collected it.
    async fn gone(&self, no: ManifestNo) -> Result<Proof, StoreError> {
        let directory = format!("v/{}/m", self.volume);
        let behind = self.store.list(Cause::Lease, &directory, Some(&self.key(no)), 1, self.patience()).await?;
        let name = self.store.name_of(&self.key(no));
        Ok(if behind.is_empty() {
            tracing::error!(object = name, "the manifest of this gateway is missing");
            Proof::Unclear
        } else {
            let text = format!("another gateway took the disk over: {name} was collected behind newer ones");
            Proof::Lost(Error::new(Kind::Shutdown, text))
        })
    }

    fn patience(&self) -> Patience {
        Patience::serving(Instant::now() + self.limit)
    }

    fn key(&self, no: ManifestNo) -> String {
        ObjectName::Manifest(no).key("", self.volume)
    }
}
