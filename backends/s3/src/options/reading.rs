//! How data is read from the store (OBJECT-LOG §5.4).

use std::time::Duration;

/// Read-ahead, joined requests and hedging.
#[derive(Clone, Copy, Debug)]
pub struct ReadRules {
    /// The longest read-ahead of one stream, in bytes; zero for none.
    pub readahead: u64,
    /// Bytes of read-ahead in flight.
    pub readahead_budget: u64,
    /// Ranges of one object that lie closer than this are read with one request.
    pub join_gap: u64,
    /// The longest range of one request.
    pub get_max: u64,
    /// So many percent of the requests may be sent twice because the first answer is late; zero for none.
    pub hedge_percent: u32,
    /// An answer is never late before this.
    pub hedge_floor: Duration,
    /// How long after an attach the reads are recorded, for the next attach to read them ahead; zero for never.
    pub profile: Duration,
}

impl Default for ReadRules {
    fn default() -> Self {
        Self {
            readahead: 16 << 20,
            readahead_budget: 32 << 20,
            join_gap: 128 << 10,
            get_max: 4 << 20,
            hedge_percent: 5,
            hedge_floor: Duration::from_millis(100),
            profile: Duration::from_mins(1),
        }
    }
}
