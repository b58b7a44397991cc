//! What a disk does by itself: garbage collection and scrubbing.

use nbdgate_s3::{GcLevels, ScrubLevels};

use super::EXPORT;
use crate::metrics::measures::Measure;

/// Garbage collection.
pub(super) const GARBAGE: &[Measure<GcLevels>] = &[
    Measure::gauge(
        "nbdgate_object_gc_stored_blocks",
        EXPORT,
        "blocks of 4 KiB",
        "Blocks of the disk's own segments that are in use and pinned by no snapshot.",
        |levels| levels.stored_blocks as f64,
    ),
    Measure::gauge(
        "nbdgate_object_gc_live_blocks",
        EXPORT,
        "blocks of 4 KiB",
        "Stored blocks that are live; the rest is garbage.",
        |levels| levels.live_blocks as f64,
    ),
    Measure::gauge(
        "nbdgate_object_gc_behind_bytes",
        EXPORT,
        "bytes",
        "Bytes of stored blocks by which collection is behind its first mark, 0 if it is not.",
        |levels| levels.behind_bytes as f64,
    ),
    Measure::gauge(
        "nbdgate_object_gc_pinned_bytes",
        EXPORT,
        "bytes",
        "Bytes of segments in use that a snapshot pins; they are not collected.",
        |levels| levels.pinned_bytes as f64,
    ),
    Measure::gauge(
        "nbdgate_object_gc_waiting_bytes",
        EXPORT,
        "bytes",
        "Bytes of dead objects that wait for their time to be deleted.",
        |levels| levels.waiting_bytes as f64,
    ),
    Measure::gauge(
        "nbdgate_object_gc_deferred_bytes",
        EXPORT,
        "bytes",
        "Bytes of dead objects that snapshots need.",
        |levels| levels.deferred_bytes as f64,
    ),
    Measure::gauge(
        "nbdgate_object_gc_deferred_objects",
        EXPORT,
        "objects",
        "Dead objects that snapshots need.",
        |levels| levels.deferred_objects as f64,
    ),
    Measure::total(
        "nbdgate_object_gc_moved_bytes_total",
        EXPORT,
        "bytes",
        "Bytes of live blocks, before compression, that collection moved.",
        |levels| levels.moved_bytes,
    ),
    Measure::total(
        "nbdgate_object_gc_deleted_objects_total",
        EXPORT,
        "objects",
        "Dead objects that were deleted.",
        |levels| levels.deleted_objects,
    ),
    Measure::total(
        "nbdgate_object_gc_deleted_bytes_total",
        EXPORT,
        "bytes",
        "Bytes of the dead objects that were deleted.",
        |levels| levels.deleted_bytes,
    ),
    Measure::total(
        "nbdgate_object_gc_unreadable_segments_total",
        EXPORT,
        "segments",
        "Segments that collection could not read and left as they are; tried again later, and counted again.",
        |levels| levels.unreadable,
    ),
];

/// Scrubbing.
pub(super) const SCRUB: &[Measure<ScrubLevels>] = &[
    Measure::total(
        "nbdgate_object_scrub_rounds_total",
        EXPORT,
        "rounds",
        "Rounds of scrubbing over all segments that are complete.",
        |levels| levels.rounds,
    ),
    Measure::gauge(
        "nbdgate_object_scrub_round_bytes",
        EXPORT,
        "bytes",
        "Bytes that this round of scrubbing verifies.",
        |levels| levels.total_bytes as f64,
    ),
    Measure::gauge(
        "nbdgate_object_scrub_verified_bytes",
        EXPORT,
        "bytes",
        "Bytes that this round of scrubbing has verified.",
        |levels| levels.done_bytes as f64,
    ),
    Measure::gauge(
        "nbdgate_object_scrub_damaged_segments",
        EXPORT,
        "segments",
        "Segments with data that cannot be read, as far as this round of scrubbing found.",
        |levels| levels.damaged_segments as f64,
    ),
    Measure::gauge(
        "nbdgate_object_scrub_damaged_bytes",
        EXPORT,
        "bytes",
        "Bytes of the disk that cannot be read because of the damaged segments of this round.",
        |levels| levels.damaged_bytes as f64,
    ),
];
