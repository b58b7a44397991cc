//! Collecting all garbage of a disk that nobody serves.

use std::time::Duration;

use nbdgate_api::Error;

use super::pins::Held;
use crate::{Location, OpenOptions, Progress, open::open_at_rest};

/// What a full pass did and left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Plain bytes moved out of segments with garbage.
    pub moved_bytes: u64,
    /// Objects deleted because no manifest names them any more.
    pub deleted_objects: u64,
    /// Bytes of them.
    pub deleted_bytes: u64,
    /// Objects of earlier writers found that nothing names.
    pub orphans: u64,
    /// Bytes of them.
    pub orphan_bytes: u64,
    /// Orphans deleted; the others are too young, or the store did not delete them.
    pub orphans_deleted: u64,
    /// Orphans younger than `sweep_age`.
    pub orphans_young: u64,
    /// Objects among the disk's data that are not understood, and were left alone.
    pub foreign: u64,
    /// Segments that could not be read, and were left as they are.
    pub unreadable: u64,
    /// Blocks of the disk's own segments in use that no snapshot pins.
    pub stored_blocks: u64,
    /// Those of them that are live.
    pub live_blocks: u64,
    /// Bytes of segments in use that a snapshot pins: they are not collected.
    pub pinned_bytes: u64,
    /// What each snapshot holds back.
    pub held: Vec<Held>,
}

/// Collects, deletes and sweeps in one pass: segments with garbage are emptied until `idle_percent` of the stored
/// blocks are live, everything that is dead is deleted at once (`delete_delay` does not apply), then what nothing names
/// and is older than `sweep_age`. The disk is claimed and closed again, so it must not be open elsewhere.
///
/// # Errors
/// The disk cannot be opened or closed, or a checkpoint cannot be written. Nothing is lost then: what was done stands.
pub async fn gc(location: &Location, options: &OpenOptions, progress: &dyn Progress) -> Result<GcReport, Error> {
    let mut options = options.clone();
    options.read_only = false;
    // Nothing by itself, and nothing later.
    options.tuning.gc.enabled = false;
    options.tuning.gc.delete_delay = Duration::ZERO;
    let disk = open_at_rest(location, options).await?;
    let collected = disk.collect_all(progress).await;
    let closed = disk.shutdown().await;
    let report = collected?;
    closed.map(|()| report)
}
