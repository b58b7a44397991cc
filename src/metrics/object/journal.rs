//! The journal of a disk.

use nbdgate_s3::JournalLevels;

use super::{EXPORT, seconds};
use crate::metrics::measures::Measure;

pub(super) const JOURNAL: &[Measure<JournalLevels>] = &[
    Measure::gauge("nbdgate_journal_size_bytes", EXPORT, "bytes", "Bytes of the journal's ring.", |levels| {
        levels.size_bytes as f64
    }),
    Measure::gauge(
        "nbdgate_journal_used_bytes",
        EXPORT,
        "bytes",
        "Bytes of the ring that cannot be written: what the bucket lacks, and what is about to be given back.",
        |levels| levels.used_bytes as f64,
    ),
    Measure::gauge(
        "nbdgate_journal_unsynced_bytes",
        EXPORT,
        "bytes",
        "Bytes that no sync of the journal has covered yet.",
        |levels| levels.unsynced_bytes as f64,
    ),
    Measure::gauge(
        "nbdgate_journal_lag_bytes",
        EXPORT,
        "bytes",
        "Bytes of mutations in the journal that the bucket lacks.",
        |levels| levels.lag_bytes as f64,
    ),
    Measure::gauge(
        "nbdgate_journal_lag_seconds",
        EXPORT,
        "seconds",
        "Age of the oldest mutation that the bucket lacks, 0 if there is none.",
        |levels| seconds(levels.lag_ms),
    ),
    Measure::gauge(
        "nbdgate_journal_memory_bytes",
        EXPORT,
        "bytes",
        "Bytes of data that wait in memory; the rest of what the bucket lacks is only in the journal.",
        |levels| levels.memory_bytes as f64,
    ),
    Measure::gauge(
        "nbdgate_journal_write_delay_seconds",
        EXPORT,
        "seconds",
        "How long each write is held back because the journal fills up, or because the bucket lags.",
        |levels| seconds(levels.delay_ms),
    ),
    Measure::gauge(
        "nbdgate_journal_failed",
        EXPORT,
        "boolean",
        "1 after a write or sync of the journal failed: the disk answers no mutation and no FLUSH any more.",
        |levels| f64::from(u8::from(levels.failed)),
    ),
];
