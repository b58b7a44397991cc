//! What all disks of a process share: the read cache and the memory. Read when someone scrapes.

use std::sync::{Arc, Weak};

use nbdgate_s3::{Cache, CacheLevels, Memory, MemoryLevels};
use parking_lot::Mutex;

use crate::metrics::measures::{Group, Measure};

pub(super) const CACHE: &[Measure<CacheLevels>] = &[
    Measure::gauge("nbdgate_cache_size_bytes", &[], "bytes", "Bytes that the read cache can hold.", |levels| {
        levels.size as f64
    }),
    Measure::gauge("nbdgate_cache_used_bytes", &[], "bytes", "Bytes of the lines in the read cache.", |levels| {
        levels.used as f64
    }),
    Measure::process_total(
        "nbdgate_cache_hits_total",
        &[],
        "lines of 64 KiB",
        "Lines that were asked of the read cache and found.",
        |levels| levels.hits,
    ),
    Measure::process_total(
        "nbdgate_cache_misses_total",
        &[],
        "lines of 64 KiB",
        "Lines that were asked of the read cache and not found.",
        |levels| levels.misses,
    ),
    Measure::process_total(
        "nbdgate_cache_kept_lines_total",
        &[],
        "lines of 64 KiB",
        "Lines written to the read cache.",
        |levels| levels.kept,
    ),
    Measure::process_total(
        "nbdgate_cache_evicted_lines_total",
        &[],
        "lines of 64 KiB",
        "Lines of the read cache that went for others.",
        |levels| levels.evicted,
    ),
    Measure::process_total(
        "nbdgate_cache_damaged_lines_total",
        &[],
        "lines of 64 KiB",
        "Lines of the read cache that were not what was written, and were dropped.",
        |levels| levels.damaged,
    ),
    Measure::process_total(
        "nbdgate_cache_failures_total",
        &[],
        "failures",
        "Reads and writes of the read cache's device that failed.",
        |levels| levels.failures,
    ),
    Measure::process_total(
        "nbdgate_cache_dropped_bytes_total",
        &[],
        "bytes",
        "Bytes that the read cache did not keep because its device was too slow.",
        |levels| levels.dropped_bytes,
    ),
    Measure::gauge(
        "nbdgate_cache_off",
        &[],
        "boolean",
        "1 after the read cache was switched off because its device failed too often.",
        |levels| f64::from(u8::from(levels.off)),
    ),
];

pub(super) const MEMORY: &[Measure<MemoryLevels>] = &[
    Measure::gauge(
        "nbdgate_object_memory_budget_bytes",
        &[],
        "bytes",
        "Memory that the disks of the object log may hold together.",
        |levels| levels.budget as f64,
    ),
    Measure::gauge(
        "nbdgate_object_memory_used_bytes",
        &[],
        "bytes",
        "Memory that the disks of the object log hold together.",
        |levels| levels.used as f64,
    ),
    Measure::gauge(
        "nbdgate_object_memory_disks",
        &[],
        "disks",
        "Open disks of the object log, which share its memory.",
        |levels| f64::from(levels.disks),
    ),
    Measure::gauge(
        "nbdgate_object_memory_waiting_disks",
        &[],
        "disks",
        "Disks of the object log that wait for room in its memory.",
        |levels| f64::from(levels.waiting),
    ),
];

/// What is looked at when someone scrapes. Keeps neither the cache nor the memory alive; of what is gone, the series keep
/// their last values.
#[derive(Debug, Default)]
pub(in crate::metrics) struct SharedMetrics {
    cache: Mutex<Option<Watched<Cache, CacheLevels>>>,
    memory: Mutex<Option<Watched<Memory, MemoryLevels>>>,
}

#[derive(Debug)]
struct Watched<S, L: 'static> {
    source: Weak<S>,
    series: Group<L>,
}

impl SharedMetrics {
    /// Registers the series of the cache.
    pub(in crate::metrics) fn watch_cache(&self, cache: &Arc<Cache>) {
        *self.cache.lock() = Some(Watched { source: Arc::downgrade(cache), series: Group::new(CACHE, &[]) });
    }

    /// Registers the series of the memory.
    pub(in crate::metrics) fn watch_memory(&self, memory: &Arc<Memory>) {
        *self.memory.lock() = Some(Watched { source: Arc::downgrade(memory), series: Group::new(MEMORY, &[]) });
    }

    /// Reads the levels.
    pub(in crate::metrics) fn update(&self) {
        update(&self.cache, Cache::levels);
        update(&self.memory, Memory::levels);
    }
}

fn update<S, L>(watched: &Mutex<Option<Watched<S, L>>>, levels: fn(&S) -> L) {
    let watched = watched.lock();
    let Some(Watched { source, series }) = &*watched else { return };
    if let Some(source) = source.upgrade() {
        series.set(&levels(&source));
    }
}
