//! The numbers themselves: counters, gauges and histograms, striped over threads.
//!
//! I/O threads count every request, all of them the same few numbers. One atomic per number would move its cache line
//! between cores at each request, so every thread adds to a stripe, and a scrape adds the stripes up. A stripe is
//! allocated when its first thread comes; until then it costs a pointer. Nothing is buffered, so nothing grows and
//! nothing has to be drained: a number's memory is fixed whether anyone scrapes or not.

use std::{
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use metrics::{CounterFn, GaugeFn, HistogramFn};

/// Most stripes of a number; threads beyond share.
const MAX_STRIPES: usize = 16;
/// Numbers in a cache line.
const SLOTS_PER_LINE: usize = 8;

/// Upper bounds of the buckets in nanoseconds: 1, 2 and 5 of each decade from 2 µs to 50 s.
pub(super) const BUCKETS_NS: [u64; 23] = {
    let mut bounds = [0; 23];
    let (mut index, mut decade) = (0, 1000);
    while index < bounds.len() {
        bounds[index] = decade * [2, 5, 10][index % 3];
        index += 1;
        if index.is_multiple_of(3) {
            decade *= 10;
        }
    }
    bounds
};

/// A cache line of its own for the numbers of one thread.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; SLOTS_PER_LINE]);

/// A row of numbers for each thread, or for each group of threads where there are many.
#[derive(Debug)]
struct Stripes {
    rows: Box<[OnceLock<Box<[Line]>>]>,
    lines: usize,
}

impl Stripes {
    fn new(slots: usize) -> Self {
        static COUNT: OnceLock<usize> = OnceLock::new();
        let count = *COUNT.get_or_init(|| {
            let cores = thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
            cores.next_power_of_two().min(MAX_STRIPES)
        });
        Self { rows: (0..count).map(|_| OnceLock::new()).collect(), lines: slots.div_ceil(SLOTS_PER_LINE) }
    }

    /// Adds to a slot of this thread's row; wraps, so that adding the two's complement subtracts.
    fn add(&self, slot: usize, value: u64) {
        let row = self.rows[thread_number() & (self.rows.len() - 1)]
            .get_or_init(|| (0..self.lines).map(|_| Line::default()).collect());
        row[slot / SLOTS_PER_LINE].0[slot % SLOTS_PER_LINE].fetch_add(value, Relaxed);
    }

    fn sum(&self, slot: usize) -> u64 {
        let rows = self.rows.iter().filter_map(OnceLock::get);
        rows.map(|row| row[slot / SLOTS_PER_LINE].0[slot % SLOTS_PER_LINE].load(Relaxed)).fold(0, u64::wrapping_add)
    }
}

/// Numbers threads in the order in which they first count something.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) });
    NUMBER.with(|number| {
        if number.get() == usize::MAX {
            number.set(NEXT.fetch_add(1, Relaxed));
        }
        number.get()
    })
}

/// Only grows.
#[derive(Debug)]
pub(super) struct StripedCounter {
    stripes: Stripes,
    /// What `absolute` set; a counter is either incremented or set.
    absolute: AtomicU64,
}

impl StripedCounter {
    pub(super) fn new() -> Self {
        Self { stripes: Stripes::new(1), absolute: AtomicU64::new(0) }
    }

    pub(super) fn value(&self) -> u64 {
        self.stripes.sum(0).wrapping_add(self.absolute.load(Relaxed))
    }
}

impl CounterFn for StripedCounter {
    fn increment(&self, value: u64) {
        self.stripes.add(0, value);
    }

    fn absolute(&self, value: u64) {
        self.absolute.fetch_max(value, Relaxed);
    }
}

/// Goes up and down. Whole steps are striped; `set` is for gauges that are only ever set.
#[derive(Debug)]
pub(super) struct StripedGauge {
    steps: Stripes,
    base: AtomicU64,
}

impl StripedGauge {
    pub(super) fn new() -> Self {
        Self { steps: Stripes::new(1), base: AtomicU64::new(0_f64.to_bits()) }
    }

    pub(super) fn value(&self) -> f64 {
        f64::from_bits(self.base.load(Relaxed)) + self.stepped()
    }

    fn stepped(&self) -> f64 {
        self.steps.sum(0).cast_signed() as f64
    }
}

impl GaugeFn for StripedGauge {
    fn increment(&self, value: f64) {
        // Not `fract`, which is a function call on the oldest x86-64.
        #[expect(clippy::cast_possible_truncation, reason = "float to integer saturates")]
        let whole = value as i32;
        #[expect(clippy::float_cmp, reason = "asks whether the conversion lost anything")]
        if f64::from(whole) == value {
            self.steps.add(0, i64::from(whole).cast_unsigned());
        } else {
            let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
            self.base.fetch_update(Relaxed, Relaxed, add).expect("the closure always gives a value");
        }
    }

    fn decrement(&self, value: f64) {
        self.increment(-value);
    }

    fn set(&self, value: f64) {
        self.base.store((value - self.stepped()).to_bits(), Relaxed);
    }
}

/// Counts of durations in [`BUCKETS_NS`], one more for what is longer, and their sum.
#[derive(Debug)]
pub(super) struct StripedHistogram(Stripes);

/// Slot of what is above the last bound, and slot of the sum.
const OVERFLOW: usize = BUCKETS_NS.len();
const SUM: usize = OVERFLOW + 1;

/// A histogram at one time; `counts` are not cumulative.
pub(super) struct Distribution {
    pub(super) counts: [u64; OVERFLOW + 1],
    pub(super) sum_seconds: f64,
}

impl StripedHistogram {
    pub(super) fn new() -> Self {
        Self(Stripes::new(SUM + 1))
    }

    pub(super) fn distribution(&self) -> Distribution {
        let counts = std::array::from_fn(|slot| self.0.sum(slot));
        Distribution { counts, sum_seconds: self.0.sum(SUM) as f64 / 1e9 }
    }
}

impl HistogramFn for StripedHistogram {
    fn record(&self, seconds: f64) {
        self.record_many(seconds, 1);
    }

    fn record_many(&self, seconds: f64, count: usize) {
        // Saturates: below zero and NaN are 0.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float to integer saturates")]
        let ns = (seconds * 1e9 + 0.5) as u64;
        self.0.add(BUCKETS_NS.partition_point(|bound| *bound < ns), count as u64);
        self.0.add(SUM, ns.wrapping_mul(count as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_1_2_5_from_2_microseconds_to_50_seconds() {
        assert_eq!(BUCKETS_NS[..4], [2_000, 5_000, 10_000, 20_000]);
        assert_eq!(BUCKETS_NS[OVERFLOW - 1], 50_000_000_000);
        assert!(BUCKETS_NS.is_sorted());
    }

    #[test]
    fn no_count_is_lost_between_threads() {
        const THREADS: u64 = 5;
        const ROUNDS: u64 = 10_000;
        let (counter, gauge, histogram) = (StripedCounter::new(), StripedGauge::new(), StripedHistogram::new());
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        counter.increment(3);
                        gauge.increment(2.0);
                        gauge.decrement(1.0);
                        histogram.record(1e-3);
                    }
                });
            }
        });
        assert_eq!(counter.value(), THREADS * ROUNDS * 3);
        assert!((gauge.value() - (THREADS * ROUNDS) as f64).abs() < 1e-9);
        let distribution = histogram.distribution();
        assert_eq!(distribution.counts.iter().sum::<u64>(), THREADS * ROUNDS);
        assert!((distribution.sum_seconds - (THREADS * ROUNDS) as f64 * 1e-3).abs() < 1e-6);
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_is_not_below_it() {
        for (seconds, bucket) in [
            (0.0, 0),
            (-1.0, 0),
            (f64::NAN, 0),
            (2e-6, 0),
            (2.001e-6, 1),
            (1e-3, 8),
            (50.0, OVERFLOW - 1),
            (50.1, OVERFLOW),
            (f64::INFINITY, OVERFLOW),
        ] {
            let histogram = StripedHistogram::new();
            histogram.record(seconds);
            assert_eq!(histogram.distribution().counts[bucket], 1, "{seconds}");
        }
    }

    #[test]
    fn a_gauge_can_be_set_stepped_and_go_below_zero() {
        let gauge = StripedGauge::new();
        gauge.decrement(3.0);
        assert!((gauge.value() + 3.0).abs() < 1e-9);
        gauge.set(1.5);
        gauge.increment(0.25);
        gauge.increment(1.0);
        assert!((gauge.value() - 2.75).abs() < 1e-9);
    }
}
