//! What disks in RocksDB tell, as Prometheus reads it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use nbdgate_rocksdb::SharedOptions;

use super::{
    disk::{CACHE_KINDS, STAGES},
    *,
};
use crate::metrics::Metrics;

/// Shows a disk, and what disks share: for the test of all families.
pub(in crate::metrics) fn tell_everything(metrics: &Metrics) {
    metrics::with_local_recorder(metrics.recorder(), || {
        metrics.rocksdb.watch_disk("vm", || Some(Levels::default()));
    });
    let shared = Shared::new(&SharedOptions::default());
    metrics.watch_rocksdb(&shared);
}

/// A disk under the name `vm`, read with these levels.
fn watch(metrics: &Metrics, levels: impl Fn() -> Option<Levels> + Send + Sync + 'static) {
    metrics::with_local_recorder(metrics.recorder(), || metrics.rocksdb.watch_disk("vm", levels));
}

/// Asserts that every line is there; `NAME VALUE` stands for the series of the disk without other labels.
fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        let line = match line.split_once(' ') {
            Some((name, value)) if !name.contains('{') => format!("{PREFIX}{name}{{export=\"vm\"}} {value}"),
            _ => format!("{PREFIX}{line}"),
        };
        assert!(text.lines().any(|have| have == line), "{line} is missing in\n{text}");
    }
}

#[test]
fn every_level_of_a_disk_is_told_in_base_units() {
    let levels = Levels {
        size: 1,
        live_sst_bytes: 2,
        live_blob_bytes: 3,
        garbage_blob_bytes: 4,
        total_file_bytes: 5,
        allocated: 6,
        memtables: 7,
        immutable_memtables: 8,
        level0_files: 9,
        pending_compaction_bytes: 10,
        running_compactions: 11,
        running_flushes: 12,
        delayed_write_rate: 13,
        write_stopped: true,
        background_errors: 14,
        queued_writes: 15,
        queued_bytes: 16,
        pressure: 0.5,
        latched: true,
        cache_hits: 17,
        cache_misses: 18,
        blob_cache_hits: 19,
        blob_cache_misses: 20,
        memtable_hits: 21,
        wal_syncs: 22,
        wal_bytes: 23,
        flush_bytes: 24,
        compaction_read_bytes: 25,
        compaction_written_bytes: 26,
        blob_written_bytes: 27,
        user_bytes: 28,
        stall_micros: 1_500_000,
        paced_micros: 250_000,
        batches: 29,
        combined_writes: 30,
        reads_inline: 31,
        reads_pooled: 32,
        corruptions: 33,
    };
    let amplification = format!("write_amplification_ratio {}", levels.write_amplification());
    let metrics = Metrics::detached();
    watch(&metrics, move || Some(levels));
    let text = metrics.render();
    assert_lines(&text, &["size_bytes 1", "live_sst_bytes 2", "live_blob_bytes 3", "garbage_blob_bytes 4"]);
    assert_lines(&text, &["file_bytes 5", "allocated_bytes 6", "memtable_bytes 7", "immutable_memtables 8"]);
    assert_lines(&text, &["unmerged_files 9", "pending_compaction_bytes 10", "running_compactions 11"]);
    assert_lines(&text, &["running_flushes 12", "delayed_write_bytes_per_second 13", "writes_stopped 1"]);
    assert_lines(&text, &["background_errors_total 14", "queued_writes 15", "queued_bytes 16"]);
    assert_lines(&text, &["pressure_ratio 0.5", "latched 1", "memtable_hits_total 21", "wal_syncs_total 22"]);
    assert_lines(&text, &["compaction_read_bytes_total 25", "stall_seconds_total 1.5", "paced_seconds_total 0.25"]);
    assert_lines(&text, &["batches_total 29", "combined_writes_total 30", "inline_reads_total 31"]);
    assert_lines(
        &text,
        &["pooled_reads_total 32", "corruptions_total 33", "blob_written_bytes_total 27", &amplification],
    );
    for (cache, hits, misses) in [("block", 17, 18), ("blob", 19, 20)] {
        assert_lines(&text, &[&format!("cache_hits_total{{export=\"vm\",cache=\"{cache}\"}} {hits}")]);
        assert_lines(&text, &[&format!("cache_misses_total{{export=\"vm\",cache=\"{cache}\"}} {misses}")]);
    }
    for (stage, bytes) in [("client", 28), ("wal", 23), ("flush", 24), ("compaction", 26)] {
        assert_lines(&text, &[&format!("written_bytes_total{{export=\"vm\",stage=\"{stage}\"}} {bytes}")]);
    }
}

#[test]
fn a_disk_that_is_closed_leaves_the_scrape_and_begins_anew_when_it_is_opened_again() {
    let metrics = Metrics::detached();
    let open = Arc::new(AtomicBool::new(true));
    let is_open = Arc::clone(&open);
    let levels = |wal_syncs| Levels { wal_syncs, ..Levels::default() };
    watch(&metrics, move || is_open.load(Relaxed).then(|| levels(7)));
    metrics::with_local_recorder(metrics.recorder(), || {
        metrics.rocksdb.watch_disk("other", move || Some(levels(1)));
    });
    assert_lines(&metrics.render(), &["wal_syncs_total 7"]);
    open.store(false, Relaxed);
    let text = metrics.render();
    assert!(!text.contains("export=\"vm\""), "{text}");
    assert_lines(&text, &["wal_syncs_total{export=\"other\"} 1"]);
    watch(&metrics, move || Some(levels(3)));
    assert_lines(&metrics.render(), &["wal_syncs_total 3"]);
}

#[test]
fn a_disk_that_is_opened_again_between_two_scrapes_is_shown() {
    let metrics = Metrics::detached();
    watch(&metrics, || None);
    watch(&metrics, || Some(Levels { size: 5, ..Levels::default() }));
    assert_lines(&metrics.render(), &["size_bytes 5"]);
    assert_lines(&metrics.render(), &["size_bytes 5"]);
}

#[test]
fn every_scrape_reads_anew_and_no_count_is_told_twice() {
    let metrics = Metrics::detached();
    let syncs = Arc::new(AtomicU64::new(4));
    let counted = Arc::clone(&syncs);
    watch(&metrics, move || Some(Levels { wal_syncs: counted.load(Relaxed), ..Levels::default() }));
    assert_lines(&metrics.render(), &["wal_syncs_total 4"]);
    syncs.store(9, Relaxed);
    assert_lines(&metrics.render(), &["wal_syncs_total 9"]);
}

#[test]
fn what_disks_share_is_told_and_not_kept_alive() {
    let levels = SharedLevels {
        cache_size: 1,
        cache_used: 2,
        cache_pinned: 3,
        write_memory_budget: 4,
        write_memory_used: 5,
        lent: 6,
    };
    let recorder = Recorder::default();
    metrics::with_local_recorder(&recorder, || Group::new(SHARED, &[]).set(&levels));
    let text = recorder.render();
    for line in [
        "cache_size_bytes 1",
        "cache_used_bytes 2",
        "cache_pinned_bytes 3",
        "write_memory_budget_bytes 4",
        "write_memory_used_bytes 5",
        "lent_bytes 6",
    ] {
        let line = format!("{PREFIX}{line}");
        assert!(text.lines().any(|have| have == line), "{line} is missing in\n{text}");
    }
    let metrics = Metrics::detached();
    let shared = Shared::new(&SharedOptions { cache: 64 << 20, write_memory: 32 << 20 });
    metrics.watch_rocksdb(&shared);
    assert!(metrics.render().contains(&format!("{PREFIX}write_memory_budget_bytes {}", 32 << 20)));
    assert!(Arc::try_unwrap(shared).is_ok(), "nobody else holds it");
}

#[test]
fn the_document_tells_of_every_value_in_the_row_of_its_label() {
    let document = include_str!("../../../docs/METRICS.md");
    let caches = CACHE_KINDS.iter().map(|(value, _)| ("cache", value));
    for (label, value) in caches.chain(STAGES.iter().map(|(value, _)| ("stage", value))) {
        let row = document.lines().find(|line| line.starts_with(&format!("| `{label}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/METRICS.md does not tell of the label {label}"));
        assert!(row.contains(&format!("`{value}`")), "docs/METRICS.md does not tell of {value} at {label}");
    }
}
