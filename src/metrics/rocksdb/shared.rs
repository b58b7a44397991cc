//! What all disks in RocksDB of the process share.

use nbdgate_rocksdb::SharedLevels;

use crate::metrics::measures::Measure;

pub(super) const SHARED: &[Measure<SharedLevels>] = &[
    Measure::gauge(
        "nbdgate_rocksdb_cache_size_bytes",
        &[],
        "bytes",
        "Bytes that the cache of all disks in RocksDB may hold.",
        |levels| levels.cache_size as f64,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_cache_used_bytes",
        &[],
        "bytes",
        "Bytes that the cache of all disks in RocksDB holds: blocks, filters, indexes, blobs.",
        |levels| levels.cache_used as f64,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_cache_pinned_bytes",
        &[],
        "bytes",
        "Bytes of the cache that are in use and cannot go for others.",
        |levels| levels.cache_pinned as f64,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_lent_bytes",
        &[],
        "bytes",
        "Bytes of the cache that replies on their way to clients pin.",
        |levels| levels.lent as f64,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_write_memory_budget_bytes",
        &[],
        "bytes",
        "Memory that the memtables of all disks in RocksDB may hold.",
        |levels| levels.write_memory_budget as f64,
    ),
    Measure::gauge(
        "nbdgate_rocksdb_write_memory_used_bytes",
        &[],
        "bytes",
        "Memory that the memtables of all disks in RocksDB hold.",
        |levels| levels.write_memory_used as f64,
    ),
];
