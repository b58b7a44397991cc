//! Whether a store answers: a disk whose store fails everything for a while is stalled (OBJECT-LOG §6.1, §14).
//!
//! Any answer ends it, also "there is no such object". Told once when it begins and once when it ends.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A store that has answered nothing for so long is down.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(10);

/// One request that failed says nothing of the store.
const FAILURES: u32 = 2;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Since the last answer.
    failures: u32,
    failing_since: Option<Instant>,
    last_answer: Option<Instant>,
    stalled: bool,
}

impl Health {
    /// The store answered at `now`. How long it was down, if it was.
    pub(super) fn answered(&self, now: Instant) -> Option<Duration> {
        let mut state = self.0.lock();
        let since = state.failing_since.take();
        let stalled = std::mem::take(&mut state.stalled);
        state.failures = 0;
        state.last_answer = Some(now);
        since.filter(|_| stalled).map(|since| now.saturating_duration_since(since))
    }

    /// A request begun at `start` failed at `now`. `true` if with this one the store counts as down.
    pub(super) fn failed(&self, start: Instant, now: Instant) -> bool {
        let mut state = self.0.lock();
        state.failures += 1;
        // What was begun before the last answer has failed since then at the most.
        let start = state.last_answer.map_or(start, |answer| start.max(answer));
        let since = *state.failing_since.get_or_insert(start);
        let down = now.saturating_duration_since(since) >= STALLED_AFTER && state.failures >= FAILURES;
        down && !std::mem::replace(&mut state.stalled, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_down_after_ten_seconds_without_an_answer_and_up_with_the_first() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let health = Health::default();
        assert!(!health.failed(at(0), at(500)));
        assert!(!health.failed(at(600), at(9_999)));
        assert!(health.failed(at(9_999), at(10_000)), "told once");
        assert!(!health.failed(at(10_000), at(20_000)), "and not again");
        assert_eq!(health.answered(at(30_000)), Some(Duration::from_secs(30)));
        assert_eq!(health.answered(at(30_001)), None);
    }

    #[test]
    fn one_hung_request_is_no_stall() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let health = Health::default();
        assert!(!health.failed(at(0), at(15)), "a single one says nothing");
        assert_eq!(health.answered(at(16)), None);
        // Two more that were begun long ago, but the store has answered since.
        assert!(!health.failed(at(1), at(17)));
        assert!(!health.failed(at(1), at(25)));
        assert!(health.failed(at(1), at(26)));
    }
}
