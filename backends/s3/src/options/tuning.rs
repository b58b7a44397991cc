//! Budgets, delays and deadlines.

use std::time::Duration;

use super::{GcRules, ReadRules};

/// Budgets, delays and deadlines of an open disk.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Bytes of writes that may be acknowledged and not yet in the store; full means waiting.
    pub dirty_budget: u64,
    /// The longest time a write waits in memory before its segment is closed.
    pub upload_delay: Duration,
    /// Segments on their way to the store at once: the window W of the protocol.
    pub window: u32,
    /// Segments in flight up to which a FLUSH closes the open one at once instead of sharing the next.
    pub flush_inflight: u32,
    /// Bytes of segment indexes kept in memory.
    pub index_budget: u64,
    /// Bytes of decoded frames kept in memory.
    pub frame_budget: u64,
    /// Bytes of GETs in flight.
    pub get_budget: u64,
    /// After this a READ that the store does not answer fails.
    pub read_deadline: Duration,
    /// After this an open, create or list that the store does not answer fails. While a log is followed and a map is
    /// read it counts for each request anew: a large disk takes as long as it takes.
    pub open_deadline: Duration,
    /// After this `close` gives up on draining.
    pub close_deadline: Duration,
    /// The longest a single request may take, beside a second for each 256 KiB of its body.
    pub attempt_timeout: Duration,
    /// First and longest pause between two attempts; jitter takes up to half of it off.
    pub backoff: (Duration, Duration),
    /// When the map is written to the store.
    pub checkpoint: CheckpointRules,
    /// When and how fast garbage is collected.
    pub gc: GcRules,
    /// How data is read from the store.
    pub reads: ReadRules,
    /// In which time all data of an open disk is read and verified, over and over; zero for never.
    pub scrub: Duration,
    /// Rounds of racing creates in the capability probe, and racers in each.
    pub probe: (u32, u32),
    /// Where nonces and jitter come from: the operating system, unless a simulation wants the same life again.
    /// Two writers with one seed would write one name.
    pub seed: Option<u64>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            dirty_budget: 128 << 20,
            upload_delay: Duration::from_secs(5),
            window: 8,
            flush_inflight: 4,
            index_budget: 64 << 20,
            frame_budget: 32 << 20,
            get_budget: 64 << 20,
            read_deadline: Duration::from_secs(30),
            open_deadline: Duration::from_mins(1),
            close_deadline: Duration::from_mins(1),
            attempt_timeout: Duration::from_secs(15),
            backoff: (Duration::from_millis(100), Duration::from_secs(5)),
            checkpoint: CheckpointRules::default(),
            gc: GcRules::default(),
            reads: ReadRules::default(),
            scrub: Duration::ZERO,
            probe: (3, 8),
            seed: None,
        }
    }
}

/// The rules (b), (c) and (e) of OBJECT-LOG §7; a clean stop always writes a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointRules {
    /// (b) Bytes of log since the last one, if the pack is estimated below `pack_percent` of them.
    pub log_bytes: u64,
    /// (b) See `log_bytes`.
    pub pack_percent: u32,
    /// (c) Segments since the last one.
    pub segments: u32,
    /// (c) Bytes of segment metas since the last one.
    pub meta_bytes: u64,
    /// (e) Time since the last one, if anything was committed in between.
    pub interval: Duration,
}

impl Default for CheckpointRules {
    fn default() -> Self {
        Self {
            log_bytes: 256 << 20,
            pack_percent: 8,
            segments: 4096,
            meta_bytes: 1 << 30,
            interval: Duration::from_mins(15),
        }
    }
}
