//! A disk in RocksDB: what it takes, and what holds its writes back.

use serde::Serialize;

use crate::metrics::Reading;

#[derive(Debug, Serialize)]
pub(super) struct RocksDbView {
    allocated_bytes: Option<u64>,
    live_sst_bytes: Option<u64>,
    live_blob_bytes: Option<u64>,
    file_bytes: Option<u64>,
    memtable_bytes: Option<u64>,
    pending_compaction_bytes: Option<u64>,
    /// Written to its log since it was opened.
    log_written_bytes: Option<u64>,
    /// From 0 to 1; above 0 writes are slowed down.
    pressure: Option<f64>,
    writes_stopped: Option<bool>,
    /// For so long RocksDB held writes back, and the backend so that RocksDB need not.
    stall_seconds: Option<f64>,
    paced_seconds: Option<f64>,
    write_amplification: Option<f64>,
    latched: Option<bool>,
}

impl RocksDbView {
    pub(super) fn of(export: &str, reading: &Reading<'_>) -> Self {
        let of = &[("export", export)];
        let bytes = |family| reading.whole(family, of);
        let log = &[("export", export), ("stage", "wal")];
        Self {
            allocated_bytes: bytes("nbdgate_rocksdb_allocated_bytes"),
            live_sst_bytes: bytes("nbdgate_rocksdb_live_sst_bytes"),
            live_blob_bytes: bytes("nbdgate_rocksdb_live_blob_bytes"),
            file_bytes: bytes("nbdgate_rocksdb_file_bytes"),
            memtable_bytes: bytes("nbdgate_rocksdb_memtable_bytes"),
            pending_compaction_bytes: bytes("nbdgate_rocksdb_pending_compaction_bytes"),
            log_written_bytes: reading.count("nbdgate_rocksdb_written_bytes_total", log),
            pressure: reading.level("nbdgate_rocksdb_pressure_ratio", of),
            writes_stopped: reading.holds("nbdgate_rocksdb_writes_stopped", of),
            stall_seconds: reading.seconds("nbdgate_rocksdb_stall_seconds_total", of),
            paced_seconds: reading.seconds("nbdgate_rocksdb_paced_seconds_total", of),
            write_amplification: reading.level("nbdgate_rocksdb_write_amplification_ratio", of),
            latched: reading.holds("nbdgate_rocksdb_latched", of),
        }
    }
}
