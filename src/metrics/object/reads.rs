//! The read path of a disk.

use nbdgate_s3::ReadLevels;

use super::EXPORT;
use crate::metrics::measures::Measure;

pub(super) const READS: &[Measure<ReadLevels>] = &[
    Measure::total(
        "nbdgate_object_frame_hits_total",
        EXPORT,
        "frames",
        "Frames of segments that reads found in memory.",
        |levels| levels.frame_hits,
    ),
    Measure::total(
        "nbdgate_object_frame_misses_total",
        EXPORT,
        "frames",
        "Frames of segments that reads had to wait for.",
        |levels| levels.frame_misses,
    ),
    Measure::total("nbdgate_object_read_ahead_bytes_total", EXPORT, "bytes", "Bytes of blocks read ahead.", |levels| {
        levels.ahead_bytes
    }),
    Measure::total(
        "nbdgate_object_read_ahead_used_bytes_total",
        EXPORT,
        "bytes",
        "Bytes read ahead that a read used.",
        |levels| levels.ahead_used_bytes,
    ),
    Measure::total(
        "nbdgate_object_read_ahead_wasted_bytes_total",
        EXPORT,
        "bytes",
        "Bytes read ahead that were let go unused.",
        |levels| levels.ahead_wasted_bytes,
    ),
    Measure::gauge(
        "nbdgate_object_read_memory_bytes",
        EXPORT,
        "bytes",
        "Bytes of indexes, frames and blocks read ahead that are in memory.",
        |levels| levels.memory_bytes as f64,
    ),
    Measure::gauge(
        "nbdgate_object_read_in_flight_bytes",
        EXPORT,
        "bytes",
        "Bytes on their way from the store, read-ahead among them.",
        |levels| levels.in_flight_bytes as f64,
    ),
];
