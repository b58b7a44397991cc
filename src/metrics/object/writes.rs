//! The way of writes to the store: what waits, what is on its way, and what the bucket takes.

use nbdgate_s3::{Levels, UploadLevels};

use super::{EXPORT, seconds};
use crate::metrics::measures::Measure;

/// The write path of a disk.
pub(super) const WRITES: &[Measure<Levels>] = &[
    Measure::gauge(
        "nbdgate_object_dirty_bytes",
        EXPORT,
        "bytes",
        "Bytes of writes that were admitted and are not yet committed to the store.",
        |levels| levels.dirty_bytes as f64,
    ),
    Measure::gauge(
        "nbdgate_object_uploads_in_flight",
        EXPORT,
        "segments",
        "Segments of the log on their way to the store.",
        |levels| f64::from(levels.uploads),
    ),
    Measure::gauge(
        "nbdgate_object_commit_lag_seconds",
        EXPORT,
        "seconds",
        "Age of the oldest write that is not yet committed to the store, 0 if there is none.",
        |levels| seconds(levels.commit_lag_ms),
    ),
    Measure::gauge(
        "nbdgate_object_waiting_writes",
        EXPORT,
        "requests",
        "Writes that wait for room in the dirty budget.",
        |levels| f64::from(levels.waiting),
    ),
];

/// The bucket of a disk.
pub(super) const BUCKET: &[Measure<UploadLevels>] = &[
    Measure::gauge(
        "nbdgate_object_bucket_uploads_limit",
        EXPORT,
        "requests",
        "Uploads to the bucket of this disk that may be under way: halved when the store refuses one for its load.",
        |levels| f64::from(levels.limit),
    ),
    Measure::gauge(
        "nbdgate_object_bucket_uploads_in_flight",
        EXPORT,
        "requests",
        "Uploads to the bucket of this disk that are under way, those of other disks included.",
        |levels| f64::from(levels.uploads),
    ),
    Measure::gauge(
        "nbdgate_object_bucket_upload_bytes",
        EXPORT,
        "bytes",
        "Bytes of the uploads to the bucket of this disk that are under way.",
        |levels| levels.bytes as f64,
    ),
    Measure::gauge(
        "nbdgate_object_bucket_waiting_uploads",
        EXPORT,
        "requests",
        "Uploads to the bucket of this disk that wait for their turn.",
        |levels| f64::from(levels.waiting),
    ),
    Measure::process_total(
        "nbdgate_object_bucket_refusals_total",
        EXPORT,
        "requests",
        "Requests that the bucket of this disk refused for its load (503, 429), those for other disks included.",
        |levels| levels.refusals,
    ),
];
