//! When and how fast garbage is collected (OBJECT-LOG §9).

use std::time::Duration;

/// Watermarks, pace and delays of garbage collection.
#[derive(Clone, Copy, Debug)]
pub struct GcRules {
    /// Collect at all. Without it nothing is ever deleted.
    pub enabled: bool,
    /// Begin when fewer percent of the stored blocks are live.
    pub start_percent: u32,
    /// Stop when so many are live again.
    pub stop_percent: u32,
    /// Where to stop while nothing else uses the disk.
    pub idle_percent: u32,
    /// Stored bytes at which a segment of moved data is closed.
    pub segment_target: u32,
    /// Log segments below this many bytes are merged.
    pub small_segment: u32,
    /// Bytes moved per 100 bytes that clients write.
    pub pace_percent: u32,
    /// Bytes per second moved besides.
    pub idle_rate: u64,
    /// From the manifest that stops naming an object to its deletion: time to notice a mistake.
    pub delete_delay: Duration,
    /// How often objects that nothing names are looked for; zero for never.
    pub sweep_interval: Duration,
    /// The youngest that such an object may be when it is deleted.
    pub sweep_age: Duration,
}

impl Default for GcRules {
    fn default() -> Self {
        Self {
            enabled: true,
            start_percent: 70,
            stop_percent: 75,
            idle_percent: 90,
            segment_target: 32 << 20,
            small_segment: 1 << 20,
            pace_percent: 150,
            idle_rate: 8 << 20,
            delete_delay: Duration::from_mins(10),
            sweep_interval: Duration::from_hours(24),
            sweep_age: Duration::from_hours(24),
        }
    }
}
