//! The process itself, read from /proc when someone scrapes.

use std::fs;

use metrics::{Counter, Gauge};
use rustix::param;

use super::family::Family;

const CPU: Family = Family::counter(
    "nbdgate_process_cpu_seconds_total",
    &[],
    "seconds",
    "User and system CPU time of the gateway, all threads.",
);
const RESIDENT: Family =
    Family::gauge("nbdgate_process_resident_memory_bytes", &[], "bytes", "Memory of the gateway that is in RAM.");
const DESCRIPTORS: Family =
    Family::gauge("nbdgate_process_open_fds", &[], "file descriptors", "File descriptors that are open.");

pub(super) const FAMILIES: &[Family] = &[CPU, RESIDENT, DESCRIPTORS];

/// The handles of the process. What /proc does not tell keeps its last value.
#[derive(Debug)]
pub(super) struct ProcessMetrics {
    cpu: Counter,
    resident: Gauge,
    descriptors: Gauge,
}

impl ProcessMetrics {
    pub(super) fn new() -> Self {
        Self { cpu: CPU.counter_of(&[]), resident: RESIDENT.gauge_of(&[]), descriptors: DESCRIPTORS.gauge_of(&[]) }
    }

    /// Reads /proc/self.
    pub(super) fn update(&self) {
        let resident = fs::read_to_string("/proc/self/statm").ok().and_then(|text| resident_pages(&text));
        if let Some(pages) = resident {
            self.resident.set(pages as f64 * param::page_size() as f64);
        }
        let ticks = fs::read_to_string("/proc/self/stat").ok().and_then(|text| cpu_ticks(&text));
        if let Some(ticks) = ticks {
            self.cpu.absolute(ticks.saturating_mul(1_000_000_000 / param::clock_ticks_per_second().max(1)));
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // The directory being read is one of them.
            self.descriptors.set(entries.count().saturating_sub(1) as f64);
        }
    }
}

/// The second field of statm.
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The fields utime and stime of stat, the 14th and 15th. The second, the name of the program, may hold spaces and
/// parentheses; the last parenthesis ends it.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Recorder;

    #[test]
    fn proc_files_are_read_where_the_kernel_puts_the_fields() {
        assert_eq!(resident_pages("9000 1234 500 20 0 300 0\n"), Some(1234));
        let stat = "77 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20 0 4 0 100 200 300";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!((resident_pages(""), cpu_ticks("77 (a")), (None, None));
    }

    #[test]
    fn the_process_has_memory_and_descriptors() {
        let recorder = Recorder::default();
        metrics::with_local_recorder(&recorder, ProcessMetrics::new).update();
        let text = recorder.render();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).expect("present");
            line.parse().expect("a number")
        };
        assert!(value("nbdgate_process_resident_memory_bytes") > 100_000.0);
        assert!(value("nbdgate_process_open_fds") >= 3.0);
    }
}
