//! A disk: its files, its memtables, how far compaction is behind, and what was counted since it was opened.

use nbdgate_rocksdb::Levels;

use super::EXPORT;
use crate::metrics::measures::{Group, Measure};

const OF_EXPORT: &[&str] = &[EXPORT];

/// Nanoseconds, as the recorder counts seconds.
fn nanoseconds(micros: u64) -> u64 {
    micros.saturating_mul(1000)
}

fn boolean(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

pub(super) const DISK: &[Measure<Levels>] = &[
    Measure::gauge("nbdgate_rocksdb_size_bytes", OF_EXPORT, "bytes", "Size of the disk.", |levels| levels.size as f64),
    Measure::gauge(
        "nbdgate_rocksdb_allocated_bytes",
        OF_EXPORT,
        "bytes",
        "Bytes of the disk's extents that hold data, before compression.",
        |levels| levels.allocated as f64,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_live_sst_bytes",
        OF_EXPORT,
        "bytes",
        "Bytes of the sorted files (SST) that the disk reads from.",
        |levels| levels.live_sst_bytes as f64,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_live_blob_bytes",
        OF_EXPORT,
        "bytes",
        "Bytes of the blob files that the disk reads from, garbage in them included.",
        |levels| levels.live_blob_bytes as f64,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_garbage_blob_bytes",
        OF_EXPORT,
        "bytes",
        "Bytes in blob files that nothing refers to any more.",
        |levels| levels.garbage_blob_bytes as f64,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_file_bytes",
        OF_EXPORT,
        "bytes",
        "Bytes of all sorted files and blob files of the disk, those that are about to go included.",
        |levels| levels.total_file_bytes as f64,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_memtable_bytes",
        OF_EXPORT,
        "bytes",
        "Bytes of the disk's memtables: what was written and is in no sorted file yet.",
        |levels| levels.memtables as f64,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_immutable_memtables",
        OF_EXPORT,
        "memtables",
        "Memtables that are full and wait to be written to a file.",
        |levels| levels.immutable_memtables as f64,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_unmerged_files",
        OF_EXPORT,
        "files",
        "Sorted files that were not merged with others yet (level 0).",
        |levels| levels.level0_files as f64,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_pending_compaction_bytes",
        OF_EXPORT,
        "bytes",
        "Bytes that compaction has to rewrite until the tree has its shape, as RocksDB estimates it.",
        |levels| levels.pending_compaction_bytes as f64,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_running_compactions",
        OF_EXPORT,
        "compactions",
        "Compactions that are under way.",
        |levels| levels.running_compactions as f64,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_running_flushes",
        OF_EXPORT,
        "flushes",
        "Memtables that are being written to a file.",
        |levels| levels.running_flushes as f64,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_delayed_write_bytes_per_second",
        OF_EXPORT,
        "bytes per second",
        "The rate that RocksDB slows writes down to, 0 if it does not.",
        |levels| levels.delayed_write_rate as f64,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_writes_stopped",
        OF_EXPORT,
        "boolean",
        "1 while RocksDB takes no writes.",
        |levels| boolean(levels.write_stopped),
    ),
    Measure::gauge(
        "nbdgate_rocksdb_pressure_ratio",
        OF_EXPORT,
        "ratio",
        "How near RocksDB is to stopping writes, or the disk to taking too much space, 0 to 1; above 0 writes are slowed down.",
        |levels| levels.pressure,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_queued_writes",
        OF_EXPORT,
        "requests",
        "Mutations that wait for the committer.",
        |levels| levels.queued_writes as f64,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_queued_bytes",
        OF_EXPORT,
        "bytes",
        "Bytes of the writes that wait for the committer.",
        |levels| levels.queued_bytes as f64,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_latched",
        OF_EXPORT,
        "boolean",
        "1 after a sync of the log failed: the disk answers no mutation and no FLUSH until it is opened again.",
        |levels| boolean(levels.latched),
    ),
    Measure::gauge(
        "nbdgate_rocksdb_write_amplification_ratio",
        OF_EXPORT,
        "ratio",
        "Bytes written to the device for each byte that clients wrote, since the disk was opened.",
        Levels::write_amplification,
    ),
    Measure::total(
        "nbdgate_rocksdb_background_errors_total",
        OF_EXPORT,
        "errors",
        "Flushes and compactions that failed.",
        |levels| levels.background_errors,
    ),
    Measure::total(
        "nbdgate_rocksdb_memtable_hits_total",
        OF_EXPORT,
        "extents",
        "Extents that reads found in a memtable.",
        |levels| levels.memtable_hits,
    ),
    Measure::total(
        "nbdgate_rocksdb_inline_reads_total",
        OF_EXPORT,
        "requests",
        "Reads that were answered from memory by the I/O thread.",
        |levels| levels.reads_inline,
    ),
    Measure::total(
        "nbdgate_rocksdb_pooled_reads_total",
        OF_EXPORT,
        "requests",
        "Reads that went to the pool of threads that wait for the device.",
        |levels| levels.reads_pooled,
    ),
    Measure::total(
        "nbdgate_rocksdb_batches_total",
        OF_EXPORT,
        "batches",
        "Batches that the committer wrote.",
        |levels| levels.batches,
    ),
    Measure::total(
        "nbdgate_rocksdb_combined_writes_total",
        OF_EXPORT,
        "parts of extents",
        "Parts of extents that were written together with others of the same extent.",
        |levels| levels.combined_writes,
    ),
    Measure::total(
        "nbdgate_rocksdb_wal_syncs_total",
        OF_EXPORT,
        "syncs",
        "Syncs of the log of writes, each for all that waited for one.",
        |levels| levels.wal_syncs,
    ),
    Measure::total(
        "nbdgate_rocksdb_stall_seconds_total",
        OF_EXPORT,
        "seconds",
        "Time for which RocksDB itself held writes back.",
        |levels| nanoseconds(levels.stall_micros),
    ),
    Measure::total(
        "nbdgate_rocksdb_paced_seconds_total",
        OF_EXPORT,
        "seconds",
        "Time for which the backend held writes back so that RocksDB need not.",
        |levels| nanoseconds(levels.paced_micros),
    ),
    Measure::total(
        "nbdgate_rocksdb_compaction_read_bytes_total",
        OF_EXPORT,
        "bytes",
        "Bytes that compaction read.",
        |levels| levels.compaction_read_bytes,
    ),
    Measure::total(
        "nbdgate_rocksdb_blob_written_bytes_total",
        OF_EXPORT,
        "bytes",
        "Bytes written to blob files, which the stages `flush` and `compaction` of the bytes written hold too.",
        |levels| levels.blob_written_bytes,
    ),
    Measure::total(
        "nbdgate_rocksdb_corruptions_total",
        OF_EXPORT,
        "extents",
        "Extents that reads found missing or not as they were written.",
        |levels| levels.corruptions,
    ),
];

/// A value of a label, and what it has of the levels.
type Labelled<T> = (&'static str, fn(&Levels) -> T);

/// The caches, by the label `cache`: of blocks of sorted files, and of values in blob files.
pub(super) const CACHE_KINDS: [Labelled<Lookups>; 2] = [
    ("block", |levels| Lookups { hits: levels.cache_hits, misses: levels.cache_misses }),
    ("blob", |levels| Lookups { hits: levels.blob_cache_hits, misses: levels.blob_cache_misses }),
];

/// Who writes, by the label `stage`: the clients, the log, memtables that become files, compaction. No byte is counted by two
/// of them; what the last two write to blob files is in theirs.
pub(super) const STAGES: [Labelled<u64>; 4] = [
    ("client", |levels| levels.user_bytes),
    ("wal", |levels| levels.wal_bytes),
    ("flush", |levels| levels.flush_bytes),
    ("compaction", |levels| levels.compaction_written_bytes),
];

/// What was asked of one cache.
#[derive(Debug)]
pub(super) struct Lookups {
    hits: u64,
    misses: u64,
}

pub(super) const CACHES: &[Measure<Lookups>] = &[
    Measure::total(
        "nbdgate_rocksdb_cache_hits_total",
        &[EXPORT, "cache"],
        "lookups",
        "Blocks of files, or extents in blob files, that were looked for in the cache and found.",
        |lookups| lookups.hits,
    ),
    Measure::total(
        "nbdgate_rocksdb_cache_misses_total",
        &[EXPORT, "cache"],
        "lookups",
        "Blocks of files, or extents in blob files, that were looked for in the cache and not found; twice for a read that then goes to the device.",
        |lookups| lookups.misses,
    ),
];

/// The bytes that one stage wrote.
pub(super) const WRITTEN: &[Measure<u64>] = &[Measure::total(
    "nbdgate_rocksdb_written_bytes_total",
    &[EXPORT, "stage"],
    "bytes",
    "Bytes written to the disk by its clients, and by each stage of RocksDB to the device.",
    |bytes| *bytes,
)];

/// The series of one disk.
#[derive(Debug)]
pub(super) struct DiskSeries {
    levels: Group<Levels>,
    caches: [Group<Lookups>; CACHE_KINDS.len()],
    written: [Group<u64>; STAGES.len()],
}

impl DiskSeries {
    pub(super) fn new(export: &str) -> Self {
        Self {
            levels: Group::new(DISK, &[export]),
            caches: CACHE_KINDS.map(|(cache, _)| Group::new(CACHES, &[export, cache])),
            written: STAGES.map(|(stage, _)| Group::new(WRITTEN, &[export, stage])),
        }
    }

    pub(super) fn set(&self, levels: &Levels) {
        self.levels.set(levels);
        for ((_, lookups), series) in CACHE_KINDS.iter().zip(&self.caches) {
            series.set(&lookups(levels));
        }
        for ((_, bytes), series) in STAGES.iter().zip(&self.written) {
            series.set(&bytes(levels));
        }
    }
}
