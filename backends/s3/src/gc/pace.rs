//! How fast data may be moved: a bucket of bytes that clients' writes and time fill (§9.3).
//!
//! A round of collection begins when nothing is owed, and owes what it moved. So no more is moved than was earned,
//! but for one round.

/// The most that is saved up, so that a long quiet does not allow a long storm.
const MOST: i64 = 256 << 20;

/// With fewer percent live than this, collection lags behind.
const LAGGING: u64 = 50;

/// Bytes moved per 100 written by clients while it lags, if that is more than usual.
const LAG_PERCENT: u64 = 300;

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    percent: u64,
    rate: u64,
    bytes: i64,
    /// Up to when time was credited.
    at_ms: u64,
}

impl Pace {
    /// `percent` bytes moved per 100 written, and `rate` bytes a second besides.
    pub(crate) fn new(percent: u32, rate: u64) -> Self {
        Self { percent: u64::from(percent), rate, bytes: 0, at_ms: 0 }
    }

    /// Clients wrote `bytes`, while `live_percent` of what is stored was live.
    pub(crate) fn earn(&mut self, bytes: u64, live_percent: u64) {
        let percent = if live_percent < LAGGING { self.percent.max(LAG_PERCENT) } else { self.percent };
        self.credit(bytes.saturating_mul(percent) / 100);
    }

    /// `bytes` were moved.
    pub(crate) fn spend(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub_unsigned(bytes);
    }

    /// How many milliseconds to wait before the next round; 0 for none, `None` if only writes can earn it.
    pub(crate) fn wait(&mut self, now_ms: u64) -> Option<u64> {
        let earned = now_ms.saturating_sub(self.at_ms).saturating_mul(self.rate) / 1000;
        if earned > 0 {
            self.credit(earned);
            // What is too little for a byte stays on the clock.
            self.at_ms += earned.saturating_mul(1000) / self.rate;
            if self.bytes == MOST {
                self.at_ms = now_ms;
            }
        }
        if self.bytes >= 0 {
            return Some(0);
        }
        (self.rate > 0).then(|| (self.bytes.unsigned_abs() * 1000).div_ceil(self.rate).max(1))
    }

    fn credit(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add_unsigned(bytes).min(MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_moved_is_earned_by_time_and_by_writes() {
        let mut pace = Pace::new(150, 1000);
        assert_eq!(pace.wait(0), Some(0), "the first round begins at once");
        pace.spend(10_000);
        assert_eq!(pace.wait(0), Some(10_000));
        assert_eq!(pace.wait(4000), Some(6000));
        pace.earn(2000, 70);
        assert_eq!(pace.wait(4000), Some(3000));
        pace.earn(1000, 40);
        assert_eq!(pace.wait(4000), Some(0), "lag makes writes earn twice as much");
    }

    #[test]
    fn without_a_rate_only_writes_earn() {
        let mut pace = Pace::new(100, 0);
        pace.spend(5);
        assert_eq!(pace.wait(1 << 40), None);
        pace.earn(5, 70);
        assert_eq!(pace.wait(1 << 40), Some(0));
    }

    #[test]
    fn a_long_quiet_allows_no_long_storm() {
        let mut pace = Pace::new(150, 1 << 30);
        assert_eq!(pace.wait(1 << 40), Some(0));
        pace.spend(MOST.unsigned_abs() + (1 << 30));
        assert_eq!(pace.wait(1 << 40), Some(1000));
    }

    #[test]
    fn frequent_questions_lose_no_time() {
        let mut pace = Pace::new(150, 3);
        pace.spend(3);
        let first = (1..2000).find(|&now| pace.wait(now) == Some(0));
        assert!(first.is_some_and(|first| (998..=1000).contains(&first)), "{first:?}");
    }
}
