//! Snapshots of disks that nobody serves. A disk that is open takes them itself: [`Disk::snapshot`].

use std::sync::Arc;

use nbdgate_api::Error;

use crate::{
    Disk, Location, OpenOptions, SnapshotInfo,
    keys::unlock::find_unlocked,
    open::open_at_rest,
    ownership::chain::Chain,
    store::{Patience, Store},
};

/// Opens the disk, takes a snapshot, and closes it.
///
/// # Errors
/// As [`open`](crate::open()) and [`Disk::snapshot`].
pub async fn snapshot(location: &Location, name: &str, options: &OpenOptions) -> Result<SnapshotInfo, Error> {
    crate::snapshot::check_name(name)?;
    let disk = open(location, options).await?;
    let taken = disk.snapshot(name).await;
    close(&disk, taken).await
}

/// Opens the disk, removes a snapshot, and closes it.
///
/// # Errors
/// As [`open`](crate::open()) and [`Disk::remove_snapshot`].
pub async fn remove_snapshot(location: &Location, name: &str, options: &OpenOptions) -> Result<(), Error> {
    let disk = open(location, options).await?;
    let removed = disk.remove_snapshot(name).await;
    close(&disk, removed).await
}

/// The snapshots of a disk, oldest first, whoever serves it.
///
/// # Errors
/// There is no such disk, or it cannot be read.
pub async fn snapshots(location: &Location, options: &OpenOptions) -> Result<Vec<SnapshotInfo>, Error> {
    let store = Store::of(location, &options.tuning, Arc::clone(&options.observer))?;
    let patience = Patience::asking(options.tuning.open_deadline);
    let volume = find_unlocked(&store, location, options, patience).await?.volume;
    let chain = Chain::newest(&store, volume, patience).await?;
    Ok(chain.manifest.snapshots.iter().map(SnapshotInfo::from).collect())
}

/// Opens a disk for work on it as a whole. Nothing is collected meanwhile: a rollback gives handles new meanings.
pub(super) async fn open(location: &Location, options: &OpenOptions) -> Result<Disk, Error> {
    let mut options = OpenOptions { read_only: false, snapshot: None, ..options.clone() };
    options.tuning.gc.enabled = false;
    open_at_rest(location, options).await
}

/// Closes the disk; the error of the work counts more than that of closing.
pub(super) async fn close<T>(disk: &Disk, worked: Result<T, Error>) -> Result<T, Error> {
    let closed = disk.shutdown().await;
    let value = worked?;
    closed?;
    Ok(value)
}
