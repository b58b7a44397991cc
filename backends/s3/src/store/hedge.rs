//! Asking twice when an answer is late: the same GET again, and whichever answers first (OBJECT-LOG §5.4).
//!
//! Late is four times the median time to the first byte, and never before a floor. A request whose first byte has come
//! is not late, however long its body takes. A budget keeps a store that is slow for everyone from getting more work.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Patience, Store, StoreError};
use crate::{ReadRules, observer::Cause};

/// Answers that the median is taken of.
const SAMPLES: usize = 64;

/// So many medians are late.
const LATE: u32 = 4;

/// When the first byte of an answer came.
#[derive(Debug)]
pub(super) struct Heard {
    start: Instant,
    /// Microseconds since the start, plus one; 0 while nothing was heard.
    after: AtomicU64,
}

impl Heard {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), after: AtomicU64::new(0) }
    }

    pub(super) fn now(&self) {
        let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
        // A second attempt does not undo the first.
        let _ = self.after.compare_exchange(0, micros + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn after(&self) -> Option<Duration> {
        self.after.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_micros)
    }
}

/// When and how often to ask twice; one for each disk.
#[derive(Debug)]
pub(crate) struct Hedges {
    percent: u32,
    floor: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last times to the first byte.
    times: Vec<Duration>,
    next: usize,
    sent: u64,
    hedged: u64,
}

impl Hedges {
    pub(crate) fn new(rules: &ReadRules) -> Self {
        Self { percent: rules.hedge_percent, floor: rules.hedge_floor, state: Mutex::default() }
    }

    /// Counts a request; says when it will be late.
    fn begin(&self) -> Option<Duration> {
        if self.percent == 0 {
            return None;
        }
        let mut state = self.state.lock();
        state.sent += 1;
        let mut times = state.times.clone();
        drop(state);
        let middle = times.len() / 2;
        let median = if times.is_empty() { Duration::ZERO } else { *times.select_nth_unstable(middle).1 };
        Some(self.floor.max(median * LATE))
    }

    /// Whether one more request may be sent twice. One may be before there were many.
    fn allow(&self) -> bool {
        let mut state = self.state.lock();
        let allowed = state.hedged * 100 < u64::from(self.percent) * state.sent.max(20);
        state.hedged += u64::from(allowed);
        allowed
    }

    fn note(&self, heard: &Heard) {
        let Some(time) = heard.after() else { return };
        let mut state = self.state.lock();
        let State { times, next, .. } = &mut *state;
        if times.len() < SAMPLES {
            times.push(time);
        } else {
            times[*next] = time;
            *next = (*next + 1) % SAMPLES;
        }
    }
}

impl Store {
    /// As [`get`](Self::get), and asks twice if the answer is late.
    pub(crate) async fn get_hedged(
        &self,
        hedges: &Hedges,
        cause: Cause,
        key: &str,
        range: Range<u64>,
        patience: Patience,
    ) -> Result<Bytes, StoreError> {
        let heard = Heard::new();
        let first = self.get_heard(cause, key, Some(range.clone()), patience, &heard);
        let Some(late) = hedges.begin() else { return first.await };
        tokio::pin!(first);
        let answer = tokio::time::timeout(late, &mut first).await;
        let result = match answer {
            Ok(result) => result,
            Err(_) if heard.after().is_some() || !hedges.allow() => first.await,
            Err(_) => {
                let second = self.get(cause, key, Some(range), patience);
                tokio::pin!(second);
                let (result, second_won) = tokio::select! {
                    biased;
                    result = &mut first => match result {
                        Ok(bytes) => (Ok(bytes), false),
                        Err(_) => (second.await, true),
                    },
                    result = &mut second => match result {
                        Ok(bytes) => (Ok(bytes), true),
                        Err(_) => (first.await, false),
                    },
                };
                self.observer.hedge(second_won && result.is_ok());
                result
            }
        };
        hedges.note(&heard);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hedges(percent: u32) -> Hedges {
        Hedges::new(&ReadRules { hedge_percent: percent, ..ReadRules::default() })
    }

    fn heard(after: Duration) -> Heard {
        let micros = u64::try_from(after.as_micros()).unwrap() + 1;
        Heard { start: Instant::now(), after: AtomicU64::new(micros) }
    }

    #[tokio::test(start_paused = true)]
    async fn late_is_four_medians_and_never_before_the_floor() {
        let hedges = hedges(5);
        assert_eq!(hedges.begin(), Some(Duration::from_millis(100)));
        (0..64).for_each(|_| hedges.note(&heard(Duration::from_millis(10))));
        assert_eq!(hedges.begin(), Some(Duration::from_millis(100)));
        (0..40).for_each(|_| hedges.note(&heard(Duration::from_millis(200))));
        assert_eq!(hedges.begin(), Some(Duration::from_millis(800)));
        assert_eq!(Hedges::new(&ReadRules { hedge_percent: 0, ..ReadRules::default() }).begin(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_budget_is_sent_twice() {
        let hedges = hedges(5);
        let mut doubled = 0;
        for _ in 0..1000 {
            hedges.begin();
            doubled += u32::from(hedges.allow());
        }
        assert_eq!(doubled, 50);
    }
}
