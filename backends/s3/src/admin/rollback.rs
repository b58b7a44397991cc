//! Going back to a snapshot.

use nbdgate_api::Error;

use super::snapshots::{close, open};
use crate::{Location, OpenOptions};

/// What a rollback gave up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RolledBack {
    /// Objects that held data of the disk and that the snapshot does not know.
    pub discarded_objects: u64,
    /// Their length in bytes; what later snapshots need of it stays.
    pub discarded_bytes: u64,
}

/// Makes the disk what it was at a snapshot, size included. What came later is gone unless another snapshot shows it. All
/// snapshots stay. Nobody may have the disk open: it is claimed, and closed afterwards.
///
/// # Errors
/// As [`open`](crate::open()); there is no such snapshot. The disk is then what it was.
pub async fn rollback(location: &Location, snapshot: &str, options: &OpenOptions) -> Result<RolledBack, Error> {
    let disk = open(location, options).await?;
    let discarded = disk.roll_back(snapshot).await;
    let discarded = close(&disk, discarded).await?;
    tracing::info!(%location, snapshot, objects = discarded.segments, bytes = discarded.bytes, "disk rolled back");
    Ok(RolledBack { discarded_objects: discarded.segments, discarded_bytes: discarded.bytes })
}
