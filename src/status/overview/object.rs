//! A disk in the object log: where it stands, how far the bucket is behind, how much garbage there is.

use serde::Serialize;

use super::Numbers;

#[derive(Debug, Serialize)]
pub(super) struct ObjectView {
    phase: Option<String>,
    lease_held: Option<bool>,
    commit_lag_seconds: Option<f64>,
    dirty_bytes: Option<u64>,
    /// Of a disk that has one.
    journal: Option<Journal>,
    gc: Garbage,
}

#[derive(Debug, Serialize)]
struct Journal {
    lag_bytes: Option<u64>,
    lag_seconds: Option<f64>,
    used_bytes: Option<u64>,
    size_bytes: u64,
    write_delay_seconds: Option<f64>,
    failed: Option<bool>,
}

#[derive(Debug, Serialize)]
struct Garbage {
    live_blocks: Option<u64>,
    stored_blocks: Option<u64>,
    behind_bytes: Option<u64>,
    waiting_bytes: Option<u64>,
    pinned_bytes: Option<u64>,
}

impl ObjectView {
    pub(super) fn of(export: &str, numbers: &Numbers<'_>) -> Self {
        let reading = numbers.reading;
        let of = &[("export", export)];
        Self {
            phase: numbers.phases.get(export).map(|phase| (*phase).to_owned()),
            lease_held: reading.holds("nbdgate_object_lease_held", of),
            commit_lag_seconds: reading.level("nbdgate_object_commit_lag_seconds", of),
            dirty_bytes: reading.whole("nbdgate_object_dirty_bytes", of),
            journal: reading.whole("nbdgate_journal_size_bytes", of).map(|size_bytes| Journal {
                lag_bytes: reading.whole("nbdgate_journal_lag_bytes", of),
                lag_seconds: reading.level("nbdgate_journal_lag_seconds", of),
                used_bytes: reading.whole("nbdgate_journal_used_bytes", of),
                size_bytes,
                write_delay_seconds: reading.level("nbdgate_journal_write_delay_seconds", of),
                failed: reading.holds("nbdgate_journal_failed", of),
            }),
            gc: Garbage {
                live_blocks: reading.whole("nbdgate_object_gc_live_blocks", of),
                stored_blocks: reading.whole("nbdgate_object_gc_stored_blocks", of),
                behind_bytes: reading.whole("nbdgate_object_gc_behind_bytes", of),
                waiting_bytes: reading.whole("nbdgate_object_gc_waiting_bytes", of),
                pinned_bytes: reading.whole("nbdgate_object_gc_pinned_bytes", of),
            },
        }
    }
}
