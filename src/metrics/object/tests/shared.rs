//! The read cache and the memory of the process.

use nbdgate_s3::{CacheLevels, MemoryLevels};

use super::*;

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
