//! Keeps inline writes from stalling an I/O thread twice.
//!
//! A write into the page cache takes microseconds, until the kernel throttles the writer (dirty limits, a full
//! journal) and puts it to sleep for up to 200 ms. That cannot be asked beforehand on file systems without
//! non-blocking writes, so it is noticed: after one slow write, writes of this file leave the I/O threads for
//! [`FACTOR`] times as long as it took. A writer that stays throttled costs a thread at most a twentieth of
//! its time.
//!
//! The clock is the kernel's coarse one, which advances with its timer, every 1 to 10 ms, and costs a fraction of an exact
//! one: each write reads it twice. So a write is measured up to one such step too long or too short.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// An inline write that takes longer has been throttled; below lies what a busy scheduler does to any thread.
const SLOW: Duration = Duration::from_millis(10);
/// How many times as long as the slow write nothing is written inline.
const FACTOR: u32 = 20;

/// When inline writes may be tried again.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    /// Nanoseconds since the machine started; 0 until the first slow write.
    until: AtomicU64,
}

/// A time since the machine started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(Duration);

impl Moment {
    fn now() -> Self {
        let time = clock_gettime(ClockId::MonotonicCoarse);
        Self(Duration::try_from(time).unwrap_or(Duration::ZERO))
    }
}

impl Stall {
    /// The start of an inline write, `None` while it must not be tried.
    pub(crate) fn begin(&self) -> Option<Moment> {
        let now = Moment::now();
        let until = self.until.load(Relaxed);
        (until == 0 || nanos(now.0) >= until).then_some(now)
    }

    /// The end of the write begun at `start`.
    pub(crate) fn end(&self, start: Moment) {
        self.ended(start, Moment::now());
    }

    fn ended(&self, start: Moment, now: Moment) {
        let took = now.0.saturating_sub(start.0);
        if took > SLOW {
            self.until.fetch_max(nanos(now.0 + took * FACTOR), Relaxed);
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_write_keeps_the_next_ones_away_and_a_fast_one_does_not() {
        let stall = Stall::default();
        let start = stall.begin().unwrap();
        stall.ended(start, Moment(start.0 + SLOW));
        assert!(stall.begin().is_some());
        stall.ended(start, Moment(start.0 + Duration::from_mins(1)));
        assert!(stall.begin().is_none());
    }

    #[test]
    fn inline_writes_come_back_after_the_pause() {
        let stall = Stall::default();
        stall.until.store(nanos(Moment::now().0).max(1), Relaxed);
        assert!(stall.begin().is_some());
    }

    #[test]
    fn a_write_slower_than_any_step_of_the_clock_is_noticed() {
        let stall = Stall::default();
        let start = stall.begin().unwrap();
        let slow = std::time::Instant::now();
        while slow.elapsed() < 3 * SLOW {
            std::hint::spin_loop();
        }
        stall.end(start);
        assert!(stall.begin().is_none());
    }
}
