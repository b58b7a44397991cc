//! What a disk tells, as Prometheus reads it.

use std::{sync::Arc, time::Duration};

use nbdgate_s3::{Cache, CacheLevels, CacheOptions, Capability, Cause, Memory, MemoryLevels, Method, Outcome};

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
fn the_way_of_writes_is_told_in_base_units() {
    let text = told(|disk| {
        disk.levels(&Levels { dirty_bytes: 7, uploads: 2, commit_lag_ms: 1500, waiting: 3 });
        disk.uploads(&UploadLevels { limit: 16, uploads: 5, bytes: 77, waiting: 9, refusals: 11 });
    });
    let writes = ["object_dirty_bytes 7", "object_uploads_in_flight 2", "object_waiting_writes 3"];
    assert_lines(&text, &writes);
    assert_lines(&text, &["object_commit_lag_seconds 1.5", "object_bucket_uploads_limit 16"]);
    assert_lines(&text, &["object_bucket_uploads_in_flight 5", "object_bucket_upload_bytes 77"]);
    assert_lines(&text, &["object_bucket_waiting_uploads 9", "object_bucket_refusals_total 11"]);
}

#[test]
fn refusals_of_a_bucket_are_not_counted_again_when_a_disk_is_opened_again() {
    let text = told(|disk| {
        disk.uploads(&UploadLevels { refusals: 11, ..UploadLevels::default() });
        ObjectMetrics::new("vm").uploads(&UploadLevels { refusals: 12, ..UploadLevels::default() });
    });
    assert_lines(&text, &["object_bucket_refusals_total 12"]);
}

#[test]
fn one_phase_holds_at_a_time() {
    let text = told(|disk| [Phase::Claiming, Phase::Open, Phase::Stalled].into_iter().for_each(|at| disk.phase(at)));
    assert_lines(&text, &["object_phase{export=\"vm\",phase=\"stalled\"} 1"]);
    let held = text.lines().filter(|line| line.starts_with("nbdgate_object_phase{"));
    let (ones, zeros): (Vec<_>, Vec<_>) = held.partition(|line| line.ends_with(" 1"));
    assert_eq!((ones.len(), zeros.len()), (1, Phase::ALL.len() - 1), "{text}");
}

#[test]
fn the_lease_is_held_from_open_until_it_is_lost_or_the_disk_is_gone() {
    let lost = LeaseLevels { held: false, waiting: 4 };
    assert_lines(&told(|disk| disk.phase(Phase::Recovering)), &["object_lease_held 0"]);
    let text = told(|disk| disk.phase(Phase::Open));
    assert_lines(&text, &["object_lease_held 1", "object_lease_waiting_reads 0"]);
    let text = told(|disk| {
        disk.phase(Phase::Open);
        disk.lease(&lost);
        disk.phase(Phase::Stalled);
    });
    assert_lines(&text, &["object_lease_held 0", "object_lease_waiting_reads 4"]);
    let text = told(|disk| {
        disk.phase(Phase::Open);
        disk.lease(&lost);
        disk.lease(&LeaseLevels { held: true, waiting: 0 });
    });
    assert_lines(&text, &["object_lease_held 1", "object_lease_waiting_reads 0"]);
    for end in [Phase::Closed, Phase::Fenced, Phase::Failed] {
        let text = told(|disk| {
            disk.phase(Phase::Open);
            disk.phase(end);
        });
        assert_lines(&text, &["object_lease_held 0"]);
    }
}

#[test]
fn a_probe_is_told_when_there_was_one() {
    assert!(!told(|_| ()).contains("probe"), "nothing was probed");
    let text = told(|disk| disk.probed(&REPORT));
    assert_lines(&text, &["object_probe_safe 1", "object_clock_offset_seconds -1.5"]);
    assert_lines(&text, &["object_probe_round_trip_seconds 0.002", "object_probe_put_seconds 0.008"]);
    assert_lines(&text, &["object_probe_get_seconds 0.004"]);
    let advisory = ProbeReport { capability: Capability::Advisory, clock_offset_ms: None, ..REPORT };
    let text = told(|disk| disk.probed(&advisory));
    assert_lines(&text, &["object_probe_safe 0"]);
    assert!(!text.contains("clock_offset"), "the store told no time");
}

#[test]
fn a_journal_is_told_when_there_is_one() {
    assert!(!told(|_| ()).contains("journal"), "a disk without one");
    let levels = JournalLevels {
        size_bytes: 1000,
        used_bytes: 900,
        unsynced_bytes: 80,
        lag_bytes: 70,
        lag_ms: 2500,
        memory_bytes: 60,
        delay_ms: 20,
        failed: true,
    };
    let text = told(|disk| disk.journal(&levels));
    assert_lines(&text, &["journal_size_bytes 1000", "journal_used_bytes 900", "journal_unsynced_bytes 80"]);
    assert_lines(&text, &["journal_lag_bytes 70", "journal_lag_seconds 2.5", "journal_memory_bytes 60"]);
    assert_lines(&text, &["journal_write_delay_seconds 0.02", "journal_failed 1"]);
}

#[test]
fn reads_go_on_counting_when_a_disk_is_opened_again() {
    let levels = ReadLevels {
        frame_hits: 10,
        frame_misses: 20,
        ahead_bytes: 300,
        ahead_used_bytes: 200,
        ahead_wasted_bytes: 50,
        memory_bytes: 9,
        in_flight_bytes: 8,
    };
    let text = told(|disk| {
        disk.reads(&levels);
        ObjectMetrics::new("vm").reads(&ReadLevels { frame_hits: 1, ..levels });
    });
    assert_lines(&text, &["object_frame_hits_total 11", "object_frame_misses_total 40"]);
    assert_lines(&text, &["object_read_ahead_bytes_total 600", "object_read_ahead_used_bytes_total 400"]);
    assert_lines(&text, &["object_read_ahead_wasted_bytes_total 100", "object_read_memory_bytes 9"]);
    assert_lines(&text, &["object_read_in_flight_bytes 8"]);
}

#[test]
fn hedges_are_counted_with_those_that_won() {
    let text = told(|disk| [false, true, false].into_iter().for_each(|won| disk.hedge(won)));
    assert_lines(&text, &["object_hedges_total 3", "object_hedges_won_total 1"]);
}

#[test]
fn garbage_is_told_in_full() {
    let levels = GcLevels {
        stored_blocks: 100,
        live_blocks: 60,
        behind_bytes: 4096,
        pinned_bytes: 5,
        waiting_bytes: 6,
        deferred_bytes: 7,
        deferred_objects: 8,
        moved_bytes: 9,
        deleted_objects: 10,
        deleted_bytes: 11,
        unreadable: 12,
    };
    let text = told(|disk| disk.collected(&levels));
    assert_lines(&text, &["object_gc_stored_blocks 100", "object_gc_live_blocks 60", "object_gc_behind_bytes 4096"]);
    assert_lines(&text, &["object_gc_pinned_bytes 5", "object_gc_waiting_bytes 6", "object_gc_deferred_bytes 7"]);
    assert_lines(&text, &["object_gc_deferred_objects 8", "object_gc_moved_bytes_total 9"]);
    assert_lines(&text, &["object_gc_deleted_objects_total 10", "object_gc_deleted_bytes_total 11"]);
    assert_lines(&text, &["object_gc_unreadable_segments_total 12"]);
}

#[test]
fn scrubbing_is_told_when_it_goes_on_and_damage_is_of_its_round() {
    assert!(!told(|_| ()).contains("scrub"), "a disk that is not scrubbed");
    let levels = ScrubLevels { rounds: 0, done_bytes: 50, total_bytes: 100, damaged_segments: 2, damaged_bytes: 8192 };
    let text = told(|disk| disk.scrubbed(&levels));
    assert_lines(&text, &["object_scrub_rounds_total 0", "object_scrub_round_bytes 100"]);
    assert_lines(&text, &["object_scrub_verified_bytes 50", "object_scrub_damaged_segments 2"]);
    assert_lines(&text, &["object_scrub_damaged_bytes 8192"]);
    let text = told(|disk| {
        disk.scrubbed(&levels);
        disk.scrubbed(&ScrubLevels { rounds: 1, total_bytes: 100, ..ScrubLevels::default() });
    });
    assert_lines(&text, &["object_scrub_rounds_total 1", "object_scrub_damaged_segments 0"]);
}

#[test]
fn the_cache_and_the_memory_are_read_at_each_scrape_and_not_kept_alive() {
    let metrics = Metrics::detached();
    let line = |name: &str| -> f64 {
        let text = metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("nbdgate_{name} ")).map(str::to_owned));
        value.unwrap_or_else(|| panic!("{name} is missing in\n{text}")).parse().expect("a number")
    };
    assert!(!metrics.render().contains("nbdgate_cache_"), "there is none");
    let (_directory, cache) = cache();
    let memory = Memory::new(4096);
    metrics.watch_cache(&cache);
    metrics.watch_memory(&memory);
    assert!((line("cache_size_bytes") - cache.levels().size as f64).abs() < 0.5 && line("cache_size_bytes") > 0.0);
    assert!(line("cache_used_bytes").abs() < 0.5 && line("cache_off").abs() < 0.5);
    assert!((line("object_memory_budget_bytes") - 4096.0).abs() < 0.5 && line("object_memory_disks").abs() < 0.5);
    let (cache, memory) = (Arc::try_unwrap(cache).is_ok(), Arc::try_unwrap(memory).is_ok());
    assert!(cache && memory, "nobody else holds them");
    assert!(line("cache_size_bytes") > 0.0, "the last value stays");
}

#[test]
fn every_level_of_the_cache_and_of_the_memory_is_told() {
    let cache = CacheLevels {
        size: 1,
        used: 2,
        hits: 3,
        misses: 4,
        kept: 5,
        evicted: 6,
        damaged: 7,
        failures: 8,
        dropped_bytes: 9,
        off: true,
    };
    let memory = MemoryLevels { budget: 10, used: 11, disks: 12, waiting: 13 };
    let recorder = Recorder::default();
    metrics::with_local_recorder(&recorder, || {
        Group::new(CACHE, &[]).set(&cache);
        Group::new(MEMORY, &[]).set(&memory);
    });
    let text = recorder.render();
    for line in [
        "cache_size_bytes 1",
        "cache_used_bytes 2",
        "cache_hits_total 3",
        "cache_misses_total 4",
        "cache_kept_lines_total 5",
        "cache_evicted_lines_total 6",
        "cache_damaged_lines_total 7",
        "cache_failures_total 8",
        "cache_dropped_bytes_total 9",
        "cache_off 1",
        "object_memory_budget_bytes 10",
        "object_memory_used_bytes 11",
        "object_memory_disks 12",
        "object_memory_waiting_disks 13",
    ] {
        let line = format!("nbdgate_{line}");
        assert!(text.lines().any(|have| have == line), "{line} is missing in\n{text}");
    }
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
