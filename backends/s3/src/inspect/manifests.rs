//! Single manifests, with what their bytes hash to.

use nbdgate_api::Error;

use super::{Inspect, not_ours};
use crate::{
    format::{FormatError, Manifest, ManifestNo, ObjectName},
    observer::Cause,
    store::StoreError,
};

/// What stands at a number of the chain.
#[derive(Debug)]
pub(crate) enum Member {
    Sound(Box<Manifest>, [u8; 32]),
    Damaged(FormatError, [u8; 32]),
    Missing,
}

impl Inspect {
    /// Reads one manifest; once more if it is bad. From then on the log is looked for in the store that it names.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn manifest(&self, no: ManifestNo) -> Result<Member, Error> {
        let key = ObjectName::Manifest(no).key("", self.volume);
        let mut bad = None;
        for _ in 0..2 {
            let bytes = match self.store.get(Cause::Scrub, &key, None, self.patience.renewed()).await {
                Ok(bytes) => bytes,
                Err(StoreError::NotFound(_)) => return Ok(Member::Missing),
                Err(error) => return Err(error.tell(&format!("reading {}", self.store.name_of(&key)))),
            };
            let hash = Manifest::hash(&bytes);
            match Manifest::parse_object(self.volume, no, &bytes, &self.store.sealing()) {
                Ok(manifest) => {
                    if let Some(root) = &manifest.log_root {
                        let ancestors = manifest.lineage.iter().map(|parent| parent.volume);
                        self.store.route_log(std::iter::once(self.volume).chain(ancestors), root)?;
                    }
                    return Ok(Member::Sound(Box::new(manifest), hash));
                }
                Err(error) => match not_ours(&error, &self.store.name_of(&key)) {
                    Some(error) => return Err(error),
                    None => bad = Some((error, hash)),
                },
            }
        }
        Ok(bad.map_or(Member::Missing, |(error, hash)| Member::Damaged(error, hash)))
    }
}
