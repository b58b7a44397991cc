//! Snapshots, clones, rollback, size, removal, changes.

use nbdgate_s3::{
    Location, SnapshotInfo,
    admin::{self, Shrink},
    usage::{UsageOptions, usage},
};

use super::{parse, reading, writing};
use crate::{
    cli::{
        Failure,
        disk::{
            access::{Hold, Key},
            progress::Bar,
            report::{Report, time},
            wait,
        },
    },
    config::Size,
};

/// Takes a snapshot.
pub(in crate::cli::disk) fn snapshot(uri: &str, name: &str, key: &Key, hold: &Hold) -> Result<Report, Failure> {
    let location: Location = parse(uri)?;
    let taken = wait(admin::snapshot(&location, name, &writing(key, hold)?))?;
    Ok(row(&taken))
}

/// All snapshots with what they pin.
pub(in crate::cli::disk) fn snapshots(uri: &str, key: &Key) -> Result<Vec<Report>, Failure> {
    let location: Location = parse(uri)?;
    let options = reading(key)?;
    let snapshots = wait(admin::snapshots(&location, &options))?;
    let usage = wait(usage(&location, &UsageOptions { cells: 0 }, &options))?;
    let rows = snapshots.iter().map(|snapshot| {
        let mut row = row(snapshot);
        if let Some(used) = usage.snapshots.iter().find(|used| used.name == snapshot.name) {
            row.size("allocated", used.allocated);
            row.size("pinned", used.pinned);
            row.size("pinned-alone", used.pinned_alone);
        }
        row
    });
    Ok(rows.collect())
}

fn row(snapshot: &SnapshotInfo) -> Report {
    let mut row = Report::row();
    row.text("name", &snapshot.name);
    row.text("created", &time(snapshot.created_unix_ms));
    row.size("size", snapshot.size);
    row
}

/// Removes a snapshot.
pub(in crate::cli::disk) fn remove_snapshot(uri: &str, name: &str, key: &Key, hold: &Hold) -> Result<(), Failure> {
    let location: Location = parse(uri)?;
    Ok(wait(admin::remove_snapshot(&location, name, &writing(key, hold)?))?)
}

/// Makes a disk out of a snapshot.
pub(in crate::cli::disk) fn clone(uri: &str, snapshot: &str, target: &str, key: &Key) -> Result<Report, Failure> {
    let (source, target): (Location, Location) = (parse(uri)?, parse(target)?);
    let info = wait(admin::clone(&source, snapshot, &target, &reading(key)?))?;
    Ok(super::report(&target.to_string(), &info))
}

/// Goes back to a snapshot.
pub(in crate::cli::disk) fn rollback(uri: &str, snapshot: &str, key: &Key, hold: &Hold) -> Result<Report, Failure> {
    let location: Location = parse(uri)?;
    let rolled_back = wait(admin::rollback(&location, snapshot, &writing(key, hold)?))?;
    let mut report = Report::new(&location.to_string());
    report.text("snapshot", snapshot);
    report.number("discarded-objects", rolled_back.discarded_objects);
    report.size("discarded", rolled_back.discarded_bytes);
    Ok(report)
}

/// Changes the size.
pub(in crate::cli::disk) fn resize(
    uri: &str,
    size: Size,
    shrink: bool,
    key: &Key,
    hold: &Hold,
) -> Result<Report, Failure> {
    let location: Location = parse(uri)?;
    let shrink = if shrink { Shrink::Allow } else { Shrink::Refuse };
    wait(admin::resize(&location, size.bytes(), shrink, &writing(key, hold)?))?;
    let info = wait(nbdgate_s3::info(&location))?;
    Ok(super::report(&location.to_string(), &info))
}

/// Removes a disk.
pub(in crate::cli::disk) fn remove(uri: &str, key: &Key, hold: &Hold) -> Result<Report, Failure> {
    let location: Location = parse(uri)?;
    let bar = Bar::new("removing");
    let removed = wait(admin::remove(&location, &writing(key, hold)?, &bar));
    bar.end();
    let removed = removed?;
    let mut report = Report::new(&location.to_string());
    report.number("objects", removed.objects);
    report.size("freed", removed.bytes);
    Ok(report)
}

/// What changed since a snapshot, a row per range.
pub(in crate::cli::disk) fn diff(uri: &str, from: &str, to: Option<&str>, key: &Key) -> Result<Vec<Report>, Failure> {
    let location: Location = parse(uri)?;
    let diff = wait(admin::diff(&location, from, to, &reading(key)?))?;
    let rows = diff.changed.iter().map(|range| {
        let mut row = Report::row();
        row.number("offset", range.offset());
        row.number("length", range.length());
        row
    });
    Ok(rows.collect())
}
