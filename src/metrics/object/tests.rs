//! What a disk tells, as Prometheus reads it.

mod levels;
mod shared;
mod standing;

use std::{sync::Arc, time::Duration};

use nbdgate_s3::{Cache, CacheOptions, Capability, Cause, Memory, Method, Outcome};

use super::*;
use crate::metrics::{Metrics, Recorder};

const REQUEST: Request = Request {
    method: Method::Put,
    cause: Cause::Segment,
    outcome: Outcome::Failed,
    sent: 100,
    received: 0,
    duration: Duration::from_millis(40),
    retry: false,
};

const REPORT: ProbeReport = ProbeReport {
    capability: Capability::Safe,
    clock_offset_ms: Some(-1500),
    round_trip: Duration::from_millis(2),
    put: Duration::from_millis(8),
    get: Duration::from_millis(4),
};

/// Calls every method of a disk's observer once, and watches what disks share: for the test of all families.
pub(in crate::metrics) fn tell_everything(metrics: &Metrics) {
    let disk = ObjectMetrics::new("vm");
    disk.request(&Request { retry: true, ..REQUEST });
    disk.collected(&GcLevels::default());
    disk.phase(Phase::Open);
    disk.probed(&REPORT);
    disk.uploads(&UploadLevels::default());
    disk.lease(&LeaseLevels::default());
    disk.levels(&Levels::default());
    disk.journal(&JournalLevels::default());
    disk.reads(&ReadLevels::default());
    disk.hedge(true);
    disk.scrubbed(&ScrubLevels::default());
    metrics.watch_cache(&cache().1);
    metrics.watch_memory(&Memory::new(1));
}

/// An empty cache of a megabyte, in a directory that goes with it.
fn cache() -> (tempfile::TempDir, Arc<Cache>) {
    let directory = tempfile::tempdir().expect("a directory");
    let options = CacheOptions { path: directory.path().join("cache"), size: 1 << 20 };
    let cache = Cache::open(&options).expect("a cache");
    (directory, cache)
}

/// What is rendered after `tell` was called with the metrics of the disk `vm`.
fn told(tell: impl FnOnce(&ObjectMetrics)) -> String {
    let recorder = Recorder::default();
    metrics::with_local_recorder(&recorder, || tell(&ObjectMetrics::new("vm")));
    recorder.render()
}

/// Asserts that every line is there; `NAME VALUE` stands for the series of the disk without other labels.
fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        let line = match line.split_once(' ') {
            Some((name, value)) if !name.contains('{') => format!("nbdgate_{name}{{export=\"vm\"}} {value}"),
            _ => format!("nbdgate_{line}"),
        };
        assert!(text.lines().any(|have| have == line), "{line} is missing in\n{text}");
    }
}

#[test]
fn requests_of_a_disk_are_told_by_method_cause_and_outcome() {
    let text = told(|disk| {
        disk.request(&REQUEST);
        disk.request(&Request { outcome: Outcome::Ok, retry: true, ..REQUEST });
        disk.request(&Request { cause: Cause::Data, method: Method::Get, outcome: Outcome::Cancelled, ..REQUEST });
    });
    let put = "export=\"vm\",method=\"put\",cause=\"segment\"";
    for line in [
        format!("object_requests_total{{{put},outcome=\"failed\"}} 1"),
        format!("object_requests_total{{{put},outcome=\"ok\"}} 1"),
        "object_requests_total{export=\"vm\",method=\"get\",cause=\"read\",outcome=\"cancelled\"} 1".to_owned(),
        format!("object_retries_total{{{put}}} 1"),
        format!("object_request_seconds_count{{{put}}} 2"),
        "object_bytes_total{export=\"vm\",direction=\"up\",cause=\"segment\"} 200".to_owned(),
    ] {
        assert_lines(&text, &[&line]);
    }
    assert!(!text.contains("down"), "nothing was received");
}

#[test]
fn hedges_are_counted_with_those_that_won() {
    let text = told(|disk| [false, true, false].into_iter().for_each(|won| disk.hedge(won)));
    assert_lines(&text, &["object_hedges_total 3", "object_hedges_won_total 1"]);
}

#[test]
fn values_of_labels_are_numbered_in_their_order() {
    assert!(Method::ALL.iter().enumerate().all(|(index, value)| *value as usize == index));
    assert!(Cause::ALL.iter().enumerate().all(|(index, value)| *value as usize == index));
    assert!(Outcome::ALL.iter().enumerate().all(|(index, value)| *value as usize == index));
}

#[test]
fn the_document_tells_of_every_value_in_the_row_of_its_label() {
    let document = include_str!("../../../docs/METRICS.md");
    let row = |label: &str| {
        let row = document.lines().find(|line| line.starts_with(&format!("| `{label}` |")));
        row.unwrap_or_else(|| panic!("docs/METRICS.md does not tell of the label {label}"))
    };
    let values = Method::ALL.iter().map(|value| ("method", value.as_str()));
    let values = values.chain(Cause::ALL.iter().map(|value| ("cause", value.as_str())));
    let values = values.chain(Outcome::ALL.iter().map(|value| ("outcome", value.as_str())));
    for (label, value) in values.chain(Phase::ALL.iter().map(|value| ("phase", value.as_str()))) {
        assert!(row(label).contains(&format!("`{value}`")), "docs/METRICS.md does not tell of {value} at {label}");
    }
}
