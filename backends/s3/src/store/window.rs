//! How many uploads a store takes at once: additive increase, multiplicative decrease (OBJECT-LOG §5.6).
//!
//! Pure: it is told the time. Half as many after a refusal for load, one more for every quiet ten seconds.

use std::time::Duration;

use tokio::time::Instant;

/// Uploads at once to a store that never complained.
pub(crate) const MOST: u32 = 128;

/// A store that refuses everything is still asked this often at once.
pub(crate) const FEWEST: u32 = 2;

/// One more after this long without a refusal.
const STEP: Duration = Duration::from_secs(10);

/// Refusals within this time answer requests that were sent before the last halving: they say nothing new.
const ONE_REFUSAL: Duration = Duration::from_secs(1);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Window {
    limit: u32,
    /// When `limit` was last changed, or could have been.
    since: Instant,
    refused: Option<Instant>,
}

impl Window {
    pub(super) fn new(now: Instant) -> Self {
        Self { limit: MOST, since: now, refused: None }
    }

    /// Uploads that may be under way at `now`.
    pub(super) fn limit(&mut self, now: Instant) -> u32 {
        let steps = now.saturating_duration_since(self.since).as_secs() / STEP.as_secs();
        if steps > 0 {
            let steps = u32::try_from(steps).unwrap_or(u32::MAX);
            self.limit = self.limit.saturating_add(steps).min(MOST);
            self.since += STEP * steps;
        }
        self.limit
    }

    /// The store refused a request because of its load.
    pub(super) fn refused(&mut self, now: Instant) {
        let limit = self.limit(now);
        let same = self.refused.is_some_and(|last| now.saturating_duration_since(last) < ONE_REFUSAL);
        if !same {
            self.limit = (limit / 2).max(FEWEST);
            self.refused = Some(now);
        }
        self.since = now;
    }

    /// Whether the store complained within the last step: whoever can wait should.
    pub(super) fn is_throttled(&self, now: Instant) -> bool {
        self.refused.is_some_and(|last| now.saturating_duration_since(last) < STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_refusal_halves_and_ten_quiet_seconds_add_one() {
        let start = Instant::now();
        let mut window = Window::new(start);
        assert_eq!(window.limit(start), MOST);
        window.refused(start);
        assert_eq!(window.limit(start), MOST / 2);
        assert_eq!(window.limit(start + Duration::from_millis(9_999)), MOST / 2);
        assert_eq!(window.limit(start + Duration::from_secs(10)), MOST / 2 + 1);
        assert_eq!(window.limit(start + Duration::from_secs(35)), MOST / 2 + 3);
        assert_eq!(window.limit(start + Duration::from_hours(24)), MOST);
    }

    #[test]
    fn a_burst_of_refusals_is_one() {
        let start = Instant::now();
        let mut window = Window::new(start);
        for millis in 0..50 {
            window.refused(start + Duration::from_millis(millis));
        }
        assert_eq!(window.limit(start + Duration::from_secs(1)), MOST / 2);
        assert!(window.is_throttled(start + Duration::from_secs(5)));
        assert!(!window.is_throttled(start + Duration::from_secs(11)));
    }

    proptest! {
        /// Against a model that counts seconds: bounds, no growth within ten seconds of a refusal, one per step.
        #[test]
        fn it_follows_a_model_of_whole_seconds(events in prop::collection::vec((2_u64..40, any::<bool>()), 1..60)) {
            let start = Instant::now();
            let mut window = Window::new(start);
            let (mut at, mut limit, mut quiet) = (0_u64, MOST, 0_u64);
            for (pause, refused) in events {
                for _ in 0..pause {
                    at += 1;
                    quiet += 1;
                    if quiet == 10 {
                        quiet = 0;
                        limit = (limit + 1).min(MOST);
                    }
                }
                let now = start + Duration::from_secs(at);
                prop_assert_eq!(window.limit(now), limit);
                if refused {
                    window.refused(now);
                    limit = (limit / 2).max(FEWEST);
                    quiet = 0;
                }
                prop_assert_eq!(window.limit(now), limit);
                prop_assert!((FEWEST..=MOST).contains(&limit));
            }
        }
    }
}
