//! Latencies in logarithmic buckets.
//!
//! A value keeps its six leading bits, so a percentile is exact below 64 ns and at most 1/32 too low above.

use std::time::Duration;

/// Leading bits that tell values apart.
const PRECISION_BITS: u32 = 6;
const LINEAR: u64 = 1 << PRECISION_BITS;
/// Buckets of one power of two.
const HALF: u64 = LINEAR / 2;
const BUCKETS: usize = (1 << PRECISION_BITS) + ((64 - PRECISION_BITS as usize) << (PRECISION_BITS - 1));

/// A request that takes longer is slow: by then people and timeouts begin to notice.
pub(crate) const SLOW: Duration = Duration::from_millis(100);

/// Counts of nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Box<[u64]>,
    count: u64,
    sum: u128,
    max: u64,
    slow: u64,
}

impl Histogram {
    /// Nothing recorded.
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS].into(), count: 0, sum: 0, max: 0, slow: 0 }
    }

    /// Records one latency.
    pub(crate) fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanoseconds)] += 1;
        self.count += 1;
        self.sum += u128::from(nanoseconds);
        self.max = self.max.max(nanoseconds);
        self.slow += u64::from(latency > SLOW);
    }

    /// How many were recorded.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The mean in nanoseconds; 0 of nothing.
    pub(crate) fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }

    /// The largest in nanoseconds, exact; 0 of nothing.
    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// How many took longer than [`SLOW`], exact.
    pub(crate) fn slow(&self) -> u64 {
        self.slow
    }

    /// The lower bound of the bucket that holds the `permille`-th thousandth, in nanoseconds; 0 of nothing.
    pub(crate) fn quantile(&self, permille: u64) -> u64 {
        let rank = (self.count * permille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return lower_bound(index as u64);
            }
        }
        0
    }
}

/// The bucket of a value.
fn bucket(value: u64) -> usize {
    let index = if value < LINEAR {
        value
    } else {
        let shift = u64::from(value.ilog2() + 1 - PRECISION_BITS);
        LINEAR + (shift - 1) * HALF + ((value >> shift) - HALF)
    };
    usize::try_from(index).expect("an index is below BUCKETS")
}

/// The least value of a bucket.
fn lower_bound(index: u64) -> u64 {
    if index < LINEAR {
        return index;
    }
    let shift = (index - LINEAR) / HALF + 1;
    ((index - LINEAR) % HALF + HALF) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lands_in_a_bucket_at_most_a_thirty_second_below() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1 << shift) | (1 << shift >> 1), u64::MAX >> (63 - shift)] {
                let index = bucket(value);
                let low = lower_bound(index as u64);
                assert!(index < BUCKETS && low <= value && value - low <= value / 32, "{value} {low}");
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn buckets_follow_each_other_without_gaps() {
        for index in 1..BUCKETS as u64 {
            let low = lower_bound(index);
            assert_eq!(bucket(low) as u64, index);
            assert_eq!(bucket(low - 1) as u64, index - 1);
        }
    }

    #[test]
    fn quantiles_are_ranks() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(500), 0);
        for value in 1..=60 {
            histogram.record(Duration::from_nanos(value));
        }
        assert_eq!((histogram.quantile(0), histogram.quantile(500), histogram.quantile(1000)), (1, 30, 60));
        assert_eq!((histogram.count(), histogram.max()), (60, 60));
        assert!((histogram.mean() - 30.5).abs() < 1e-9);
    }

    #[test]
    fn what_takes_longer_than_slow_is_counted() {
        let mut histogram = Histogram::new();
        for latency in [Duration::ZERO, SLOW, SLOW + Duration::from_nanos(1), 9 * SLOW] {
            histogram.record(latency);
        }
        assert_eq!((histogram.count(), histogram.slow()), (4, 2));
    }
}
