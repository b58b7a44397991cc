//! Disks in the object log.

mod care;
mod history;
mod transfer;

use nbdgate_s3::{
    CreateOptions, DiskInfo, DiskState, JournalOptions, KeySource, Location, OpenOptions, Root,
    usage::{Usage, UsageOptions},
};
use serde_json::json;

pub(super) use self::{
    care::{fsck, gc, probe, rebuild, rekey, scrub},
    history::{clone, diff, remove, remove_snapshot, resize, rollback, snapshot, snapshots},
    transfer::{export, export_qcow2, import, import_qcow2},
};
use super::{
    CreateObject,
    access::{Hold, Key},
    map,
    report::{Report, time},
    there_already, wait,
};
use crate::{
    cli::Failure,
    config::{Size, Span},
};

/// Cells of the picture of a disk.
const CELLS: u32 = 256;

/// Makes an empty disk.
pub(super) fn create(uri: &str, size: Size, object: &CreateObject) -> Result<Report, Failure> {
    let location: Location = parse(uri)?;
    let default = CreateOptions::default();
    let options = CreateOptions {
        size: size.bytes(),
        flush: object.flush.unwrap_or_default().into(),
        lease: object.lease.map_or(default.lease, Span::duration),
        log_root: object.log_store.as_deref().map(parse).transpose()?,
        key: object.key.source()?.map(Into::into),
        ..default
    };
    let info = wait(nbdgate_s3::create(&location, &options))?;
    Ok(report(&location.to_string(), &info))
}

/// A disk that is there and was not deleted, without what it takes.
///
/// # Errors
/// It is none that could have been made as `asked`, or the key does not open it.
pub(super) fn existing(uri: &str, asked: &CreateObject) -> Result<Option<Report>, Failure> {
    let location: Location = parse(uri)?;
    let key: Option<KeySource> = asked.key.source()?.map(Into::into);
    let Ok(mut info) = wait(nbdgate_s3::info(&location)) else { return Ok(None) };
    if info.state == DiskState::Deleted {
        return Ok(None);
    }
    match key {
        Some(_) if !info.encrypted => return Err(there_already(uri, "is not encrypted")),
        Some(key) => info = wait(nbdgate_s3::info_with_key(&location, &key))?,
        None => {}
    }
    if let Some(asked) = asked.flush.map(nbdgate_s3::FlushMode::from)
        && info.flush != Some(asked)
    {
        let found = info.flush.map_or("what only its key tells", waited_for);
        return Err(there_already(uri, &format!("its FLUSH waits for {found}, not for {}", waited_for(asked))));
    }
    Ok(Some(report(&location.to_string(), &info)))
}

fn waited_for(flush: nbdgate_s3::FlushMode) -> &'static str {
    match flush {
        nbdgate_s3::FlushMode::Object => "the bucket",
        nbdgate_s3::FlushMode::Journal => "the journal",
        nbdgate_s3::FlushMode::None => "nothing",
    }
}

/// What is there, and what it takes.
pub(super) fn info(uri: &str, key: &Key) -> Result<Report, Failure> {
    let location: Location = parse(uri)?;
    let info = wait(nbdgate_s3::info(&location))?;
    let mut report = report(&location.to_string(), &info);
    let readable = !matches!(info.state, DiskState::Deleted | DiskState::Damaged(_));
    let options = reading(key)?;
    if readable && (!info.encrypted || options.key.is_some()) {
        let measured = wait(nbdgate_s3::usage::usage(&location, &UsageOptions { cells: CELLS }, &options))?;
        measure(&mut report, &measured);
    }
    Ok(report)
}

/// The disks of a bucket or of a prefix in it.
pub(super) fn list(uri: &str) -> Result<Vec<Report>, Failure> {
    let root: Root = parse(uri)?;
    let disks = wait(nbdgate_s3::list(&root))?;
    Ok(disks.iter().map(|info| report(&format!("{root}/{}", info.name), info)).collect())
}

/// Bytes that a disk takes in its store, without those of a disk that it was cloned from.
pub(super) fn stored_bytes(uri: &str) -> Result<f64, Failure> {
    let location: Location = parse(uri)?;
    let options = OpenOptions::default();
    Ok(wait(nbdgate_s3::usage::usage(&location, &UsageOptions { cells: 0 }, &options))?.own as f64)
}

fn measure(report: &mut Report, usage: &Usage) {
    report.size("allocated", usage.allocated);
    report.size("stored", usage.stored);
    report.size("live", usage.live);
    report.size("garbage", usage.garbage);
    report.size("pinned", usage.pinned);
    report.number("segments", usage.segments);
    report.number("log-segments", usage.log_segments);
    report.size("log", usage.log_bytes);
    report.number("extents", usage.map.extents);
    report.size("map-memory", usage.map.memory);
    report.number("map-packs", usage.map.packs);
    report.number("snapshots", usage.snapshots.len() as u64);
    if !usage.allocation.is_empty() {
        let cell = usage.size.div_ceil(usage.allocation.len() as u64);
        let fractions: Vec<f64> = usage.allocation.iter().map(|cell| f64::from(*cell)).collect();
        let text = format!("\n{}", map::picture(&fractions, cell));
        report.value("allocation", text.trim_end().to_owned(), json!({"bytes-of-a-cell": cell, "cells": fractions}));
    }
}

fn parse<T: std::str::FromStr<Err = nbdgate_s3::Error>>(uri: &str) -> Result<T, Failure> {
    uri.parse().map_err(|error: nbdgate_s3::Error| Failure::Usage(error.into()))
}

/// Options of whoever only looks.
fn reading(key: &Key) -> Result<OpenOptions, Failure> {
    Ok(OpenOptions { key: key.source()?.map(Into::into), ..OpenOptions::default() })
}

/// Options of whoever becomes the writer.
fn writing(key: &Key, hold: &Hold) -> Result<OpenOptions, Failure> {
    let journal = hold.journal.clone();
    Ok(OpenOptions {
        on_unclean: hold.on_unclean.unwrap_or_default().into(),
        steal: hold.steal,
        fencing: hold.fencing.unwrap_or_default().into(),
        journal: journal.map(|path| JournalOptions { path, size: JournalOptions::SIZE }),
        abandon_journal: hold.abandon_journal,
        ..reading(key)?
    })
}

fn report(uri: &str, info: &DiskInfo) -> Report {
    let mut report = Report::new(uri);
    report.size("size", info.size);
    let (state, host, since, problem) = match &info.state {
        DiskState::Closed => ("closed", None, None, None),
        DiskState::Open { host, since_unix_ms } => ("open", Some(host), Some(*since_unix_ms), None),
        DiskState::Deleted => ("deleted", None, None, None),
        DiskState::Damaged(problem) => ("damaged", None, None, Some(problem)),
    };
    report.text("state", state);
    report.text("host", host.map_or("", String::as_str));
    report.text("since", &since.map(time).unwrap_or_default());
    report.text("created", &time(info.created_unix_ms));
    report.text("id", &info.id);
    report.truth("encrypted", info.encrypted);
    report.count("epoch", info.epoch);
    report.count("checkpoint", info.checkpoint);
    report.text("problem", problem.map_or("", String::as_str));
    report
}

#[cfg(test)]
mod tests;
