//! Keeps inline writes from stalling an I/O thread twice.
//!
//! A write into the page cache takes microseconds, until the kernel throttles the writer (dirty limits, a full
//! journal) and puts it to sleep for up to 200 ms. That cannot be asked beforehand on file systems without
//! non-blocking writes, so it is noticed: after one slow write, writes of this file leave the I/O threads for
//! [`FACTOR`] times as long as it took. A writer that stays throttled costs a thread at most a twentieth of
//! its time.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// An inline write that takes longer has been throttled; below lies what a busy scheduler does to any thread.
const SLOW: Duration = Duration::from_millis(10);
/// How many times as long as the slow write nothing is written inline.
const FACTOR: u32 = 20;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// When inline writes may be tried again.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    /// Nanoseconds since `START`.
    until: AtomicU64,
}

impl Stall {
    /// The start of an inline write, `None` while it must not be tried.
    pub(crate) fn begin(&self) -> Option<Instant> {
        let now = Instant::now();
        let until = self.until.load(Relaxed);
        (until == 0 || nanos(now) >= until).then_some(now)
    }

    /// The end of the write begun at `start`.
    pub(crate) fn end(&self, start: Instant) {
        self.ended(start, Instant::now());
    }

    fn ended(&self, start: Instant, now: Instant) {
        let took = now - start;
        if took > SLOW {
            self.until.fetch_max(nanos(now + took * FACTOR), Relaxed);
        }
    }
}

fn nanos(at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(*START).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_write_keeps_the_next_ones_away_and_a_fast_one_does_not() {
        let stall = Stall::default();
        let start = stall.begin().unwrap();
        stall.end(start);
        assert!(stall.begin().is_some());
        stall.ended(start, start + Duration::from_mins(1));
        assert!(stall.begin().is_none());
    }

    #[test]
    fn inline_writes_come_back_after_the_pause() {
        let stall = Stall::default();
        stall.until.store(nanos(Instant::now()).max(1), Relaxed);
        assert!(stall.begin().is_some());
    }
}
