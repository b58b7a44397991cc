//! Disks in the object log.

use std::time::{Duration, SystemTime};

use anyhow::Context;
use nbdgate_s3::{CreateOptions, DiskInfo, DiskState, Location, Root};

use super::report::Report;
use crate::{cli::Failure, config::Size};

/// Makes an empty disk.
pub(super) fn create(uri: &str, size: Size) -> Result<Report, Failure> {
    let location: Location = parse(uri)?;
    let options = CreateOptions { size: size.bytes(), ..CreateOptions::default() };
    let info = block_on(nbdgate_s3::create(&location, &options))?;
    Ok(report(&location.to_string(), &info))
}

/// What is there.
pub(super) fn info(uri: &str) -> Result<Report, Failure> {
    let location: Location = parse(uri)?;
    let info = block_on(nbdgate_s3::info(&location))?;
    Ok(report(&location.to_string(), &info))
}

/// The disks of a bucket or of a prefix in it.
pub(super) fn list(uri: &str) -> Result<Vec<Report>, Failure> {
    let root: Root = parse(uri)?;
    let disks = block_on(nbdgate_s3::list(&root))?;
    Ok(disks.iter().map(|info| report(&format!("{root}/{}", info.name), info)).collect())
}

fn parse<T: std::str::FromStr<Err = nbdgate_s3::Error>>(uri: &str) -> Result<T, Failure> {
    uri.parse().map_err(|error: nbdgate_s3::Error| Failure::Usage(error.into()))
}

/// Waits for the store.
fn block_on<T>(work: impl Future<Output = Result<T, nbdgate_s3::Error>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("cannot start a runtime")?.block_on(work)?)
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
    report.count("epoch", info.epoch);
    report.count("checkpoint", info.checkpoint);
    report.text("problem", problem.map_or("", String::as_str));
    report
}

/// As in 2026-01-31T12:00:00Z; empty for the start of 1970, which stands for not known.
fn time(unix_ms: u64) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms));
    // Years of five digits have no such form, and only a damaged object tells of them.
    let time = time.filter(|_| (1..253_402_300_800_000).contains(&unix_ms));
    time.map(|time| humantime::format_rfc3339_seconds(time).to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_in_a_directory_is_created_told_and_listed() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let root = format!("dir:{}", folder.path().display());
        let uri = format!("{root}/vm1");
        let created = create(&uri, Size::from_bytes(10 << 30)).expect("created");
        assert_eq!(info(&uri).expect("it is there").table(), created.table());
        assert!(created.table().contains("10G (10737418240 bytes)"), "{}", created.table());
        let listed = list(&root).expect("the directory is a bucket");
        assert_eq!(listed.iter().map(Report::table).collect::<Vec<_>>(), [created.table()]);
    }

    #[test]
    fn a_disk_is_created_once_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let uri = format!("dir:{}/vm1", folder.path().display());
        let missing = info(&uri).expect_err("nothing there").to_string();
        assert!(missing.contains("vm1"), "{missing}");
        create(&uri, Size::from_bytes(1 << 20)).expect("created");
        assert!(create(&uri, Size::from_bytes(1 << 20)).is_err(), "the name is taken");
    }

    #[test]
    fn a_wrong_location_is_wrong_usage() {
        for wrong in ["dir:relative/disk", "s3://user:key@bucket/disk", "s3://bucket"] {
            assert!(matches!(info(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn times_are_told_in_utc() {
        assert_eq!(time(1_767_225_600_000), "2026-01-01T00:00:00Z");
        assert_eq!((time(0), time(u64::MAX)), (String::new(), String::new()));
    }
}
