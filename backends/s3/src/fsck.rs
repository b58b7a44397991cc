//! Checking a disk from its objects alone: read-only, never claims, never guesses.
//!
//! ```text
//! name, descriptor ─► manifest chain ─► head and snapshots: checkpoint, logs, segments (frames) ─► fences, orphans
//! ```
//!
//! Each picture of the disk (its head, every snapshot) is held in memory one after the other, with 24 bytes for each run
//! of the segments that are looked at together. A disk may be in use: what changed meanwhile is looked at again.

mod chain;
mod inventory;
mod pictures;
pub mod report;

use std::sync::Arc;

use nbdgate_api::Error;

use self::report::Findings;
pub use self::report::{FsckReport, Picture, Problem, ProblemKind, Severity};
use crate::{
    Location, OpenOptions, Progress,
    format::{Object, ObjectName, VolumeId},
    inspect::{
        Inspect,
        identity::{Identity, Standing, identify},
        store_for,
    },
    keys::unlock::unlock_damaged,
    observer::Cause,
    store::{Patience, Store},
};

pub use crate::inspect::affected::Affected;

/// How often a disk is looked at that changes meanwhile.
const PASSES: u32 = 3;

/// What is checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct FsckOptions {
    /// Read and verify all data, not only what describes it.
    pub data: bool,
}

/// Checks a disk.
///
/// # Errors
/// There is no such disk, it was deleted, or the store does not answer. Whatever is wrong with the disk is in the report.
pub async fn fsck(
    location: &Location,
    fsck: &FsckOptions,
    progress: &dyn Progress,
    options: &OpenOptions,
) -> Result<FsckReport, Error> {
    let store = store_for(location, options, Cause::Scrub)?;
    let patience = Patience::asking(options.tuning.open_deadline);
    let identity = identify(&store, location, patience).await?;
    unlock_damaged(&store, identity.volume, location, options, patience).await?;
    let inspect = Inspect { store, volume: identity.volume, patience };
    let mut pass = 1;
    loop {
        let mut findings = Findings::default();
        names(&inspect.store, location, &identity, &mut findings);
        let newest = look(&inspect, *fsck, progress, &mut findings).await?;
        let moved = chain::newest(&inspect).await? != newest;
        if findings.is_clean() || !moved || pass == PASSES {
            return Ok(findings.into_report(moved));
        }
        pass += 1;
    }
}

fn names(store: &Arc<Store>, location: &Location, identity: &Identity, findings: &mut Findings) {
    let key = location.volume_name().key("");
    let volume = identity.volume;
    match &identity.name {
        Standing::Sound(()) => {}
        Standing::Missing => {
            findings.add(ProblemKind::NameMissing, key, format!("it must hold {volume} and a newline"));
        }
        Standing::Damaged(error) => {
            findings.add(ProblemKind::NameDamaged, key, format!("{error}; it must hold {volume} and a newline"));
        }
    }
    let key = Object { volume, name: ObjectName::Descriptor }.key();
    match &identity.descriptor {
        Standing::Sound(_) => {}
        Standing::Missing => findings.add(ProblemKind::DescriptorMissing, key, "the object is missing".to_owned()),
        Standing::Damaged(error) => findings.add(ProblemKind::DescriptorDamaged, key, error.what().to_owned()),
    }
    tracing::debug!(root = store.label(), %volume, "checking a disk");
}

/// One pass; the number of the newest manifest it saw.
async fn look(
    inspect: &Inspect,
    fsck: FsckOptions,
    progress: &dyn Progress,
    findings: &mut Findings,
) -> Result<u64, Error> {
    let chain = chain::check(inspect, findings).await?;
    let named = match &chain.manifest {
        Some(manifest) => pictures::check(inspect, manifest, fsck, progress, findings).await?,
        None => pictures::Named::default(),
    };
    inventory::check(inspect, &chain, &named, findings).await?;
    Ok(chain.newest)
}

/// The key of an object of the volume.
fn key(volume: VolumeId, name: ObjectName) -> String {
    Object { volume, name }.key()
}
