//! A bound on bytes per second, shared by parallel work.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Pace {
    /// Bytes per second; `None` for as fast as it goes.
    rate: Option<u64>,
    /// When the bytes that were let through are paid for.
    paid: Mutex<Instant>,
}

impl Pace {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Self { rate: rate.map(|rate| rate.max(1)), paid: Mutex::new(Instant::now()) }
    }

    /// Waits until `bytes` more fit the rate. What was not used while nobody asked is not saved up.
    pub(crate) async fn spend(&self, bytes: u64) {
        let Some(rate) = self.rate else { return };
        let begin = {
            let mut paid = self.paid.lock();
            let begin = (*paid).max(Instant::now());
            *paid = begin
                + Duration::from_nanos(
                    u64::try_from(u128::from(bytes) * 1_000_000_000 / u128::from(rate)).unwrap_or(u64::MAX),
                );
            begin
        };
        tokio::time::sleep_until(begin).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn parallel_work_shares_one_rate() {
        let pace = Pace::new(Some(1000));
        let start = Instant::now();
        futures_util::future::join_all((0..10).map(|_| pace.spend(500))).await;
        pace.spend(0).await;
        assert_eq!(start.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nothing_waits() {
        let start = Instant::now();
        Pace::new(None).spend(u64::MAX).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
