//! Disks in RocksDB.

mod transfer;

use std::path::Path;

use nbdgate_rocksdb::{
    CreateOptions, DiskInfo, NoProgress, SnapshotInfo,
    admin::{self, Shrink},
};

pub(super) use self::transfer::{export, export_qcow2, import, import_qcow2};
use super::{
    CreateRocksDb,
    report::{Report, time},
    there_already,
};
use crate::{cli::Failure, config::Size};

/// Makes an empty disk.
pub(super) fn create(path: &Path, size: Size, asked: &CreateRocksDb) -> Result<Report, Failure> {
    Ok(report(path, &nbdgate_rocksdb::create(path, &creation(size.bytes(), asked)).map_err(failed)?))
}

/// A disk that is there.
///
/// # Errors
/// It is none that could have been made as `asked`.
pub(super) fn existing(path: &Path, asked: &CreateRocksDb) -> Result<Option<Report>, Failure> {
    let Ok(info) = nbdgate_rocksdb::info(path) else { return Ok(None) };
    let wanted = creation(info.size, asked);
    if asked.extent.is_some() && wanted.extent != info.extent {
        let what = format!("its extents have {} bytes, not {}", info.extent, wanted.extent);
        return Err(there_already(&uri(path), &what));
    }
    if asked.compression.is_some() && wanted.compression != info.compression {
        let what = format!("its compression is {}, not {}", info.compression, wanted.compression);
        return Err(there_already(&uri(path), &what));
    }
    Ok(Some(report(path, &info)))
}

/// What is there, and what it takes.
pub(super) fn info(path: &Path) -> Result<Report, Failure> {
    Ok(report(path, &nbdgate_rocksdb::info(path).map_err(failed)?))
}

/// Changes the size.
pub(super) fn resize(path: &Path, size: Size, shrink: bool) -> Result<Report, Failure> {
    let shrink = if shrink { Shrink::Allow } else { Shrink::Refuse };
    Ok(report(path, &admin::resize(path, size.bytes(), shrink).map_err(failed)?))
}

/// Removes a disk.
pub(super) fn remove(path: &Path) -> Result<Report, Failure> {
    let removed = admin::remove(path, &NoProgress).map_err(failed)?;
    let mut report = Report::new(&uri(path));
    report.number("files", removed.files);
    report.size("freed", removed.bytes);
    Ok(report)
}

/// Takes a snapshot.
pub(super) fn snapshot(path: &Path, name: &str) -> Result<Report, Failure> {
    Ok(row(&admin::snapshot(path, name).map_err(failed)?))
}

/// All snapshots with what they pin.
pub(super) fn snapshots(path: &Path) -> Result<Vec<Report>, Failure> {
    let snapshots = admin::snapshots(path).map_err(failed)?;
    Ok(snapshots.iter().map(row).collect())
}

/// Removes a snapshot.
pub(super) fn remove_snapshot(path: &Path, name: &str) -> Result<(), Failure> {
    admin::remove_snapshot(path, name).map(drop).map_err(failed)
}

/// Makes a disk out of a snapshot.
pub(super) fn clone(path: &Path, snapshot: &str, target: &Path) -> Result<Report, Failure> {
    let cloned = admin::clone(path, snapshot, target).map_err(failed)?;
    let mut report = report(target, &cloned.disk);
    report.size("copied", cloned.copied);
    Ok(report)
}

fn creation(size: u64, asked: &CreateRocksDb) -> CreateOptions {
    let default = CreateOptions::default();
    CreateOptions {
        size,
        // What is too large for a number of 32 bits is above the limit, too.
        extent: asked.extent.map_or(default.extent, |extent| u32::try_from(extent.bytes()).unwrap_or(u32::MAX)),
        compression: asked.compression.map_or(default.compression, Into::into),
    }
}

fn report(path: &Path, info: &DiskInfo) -> Report {
    let mut report = Report::new(&uri(path));
    report.size("size", info.size);
    report.text("state", if info.in_use { "open" } else { "closed" });
    report.text("created", &time(info.created_unix_ms));
    report.text("id", &info.uuid.to_string());
    report.size("extent", info.extent.into());
    report.text("compression", &info.compression.to_string());
    report.text("parent", info.parent.as_deref().unwrap_or_default());
    report.size("allocated", info.allocated);
    report.size("stored", info.stored);
    report.count("snapshots", info.snapshots);
    report
}

fn row(snapshot: &SnapshotInfo) -> Report {
    let mut row = Report::row();
    row.text("name", &snapshot.name);
    row.text("created", &time(snapshot.created_unix_ms));
    row.size("size", snapshot.size);
    row.size("allocated", snapshot.allocated);
    row.size("pinned", snapshot.pinned);
    row.size("pinned-alone", snapshot.pinned_alone);
    row
}

fn uri(path: &Path) -> String {
    format!("rocksdb:{}", path.display())
}

fn failed(error: nbdgate_rocksdb::Error) -> Failure {
    Failure::Failed(error.into())
}

#[cfg(test)]
mod tests;
