//! The values of series at one time, for who shows them in another form than the text of Prometheus.
//!
//! They are read from the cells that the text is rendered from, so both say the same. Who asks for a family that nobody
//! declared has made a mistake, and panics; of a series that is not there, the answer is `None`.

use parking_lot::MutexGuard;

use super::{
    cells::BUCKETS_NS,
    recorder::{CellKind, Families, Family, LabelValues, Series},
};

/// A look at every series. New series wait until it is dropped.
#[derive(Debug)]
pub struct Reading<'a>(MutexGuard<'a, Families>);

/// Labels and their values, in any order.
type Labels<'a> = &'a [(&'a str, &'a str)];

/// The labels of a series.
#[derive(Clone, Copy, Debug)]
pub struct Of<'a>(&'a LabelValues);

impl<'a> Of<'a> {
    /// The value of a label.
    pub fn get(&self, label: &str) -> Option<&'a str> {
        value(self.0, label)
    }
}

/// A histogram: how many samples are not above each bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets {
    /// Bounds in seconds, the last without one, and cumulative counts.
    pub counts: Vec<(Option<f64>, u64)>,
    /// All samples together, in seconds.
    pub sum_seconds: f64,
}

impl<'a> Reading<'a> {
    pub(super) fn new(families: MutexGuard<'a, Families>) -> Self {
        Self(families)
    }

    /// The counter with exactly these labels.
    pub fn count(&self, family: &str, labels: Labels<'_>) -> Option<u64> {
        self.one(family, labels).map(counted)
    }

    /// The same for a counter of time.
    pub fn seconds(&self, family: &str, labels: Labels<'_>) -> Option<f64> {
        self.count(family, labels).map(|nanoseconds| nanoseconds as f64 / 1e9)
    }

    /// The counters of a family that have these labels among theirs.
    pub fn counts(&self, family: &str, labels: Labels<'_>) -> impl Iterator<Item = (Of<'_>, u64)> {
        self.having(family, labels).map(|(of, series)| (Of(of), counted(series)))
    }

    /// The gauge with exactly these labels.
    pub fn level(&self, family: &str, labels: Labels<'_>) -> Option<f64> {
        self.one(family, labels).map(levelled)
    }

    /// The same for a gauge of whole things; below zero is 0.
    pub fn whole(&self, family: &str, labels: Labels<'_>) -> Option<u64> {
        self.level(family, labels).map(whole)
    }

    /// The gauges of a family.
    pub fn levels(&self, family: &str) -> impl Iterator<Item = (Of<'_>, f64)> {
        self.having(family, &[]).map(|(of, series)| (Of(of), levelled(series)))
    }

    /// All gauges of whole things of a family together.
    pub fn total(&self, family: &str) -> u64 {
        whole(self.having(family, &[]).map(|(_, series)| levelled(series)).sum())
    }

    /// Whether the gauge with exactly these labels is 1.
    pub fn holds(&self, family: &str, labels: Labels<'_>) -> Option<bool> {
        self.level(family, labels).map(|level| level > 0.5)
    }

    /// The gauges of a family that are above 0.
    pub fn raised(&self, family: &str) -> impl Iterator<Item = Of<'_>> {
        self.having(family, &[]).filter(|(_, series)| levelled(series) > 0.0).map(|(of, _)| Of(of))
    }

    /// The histogram with exactly these labels; `None` before its first sample.
    pub fn histogram(&self, family: &str, labels: Labels<'_>) -> Option<Buckets> {
        let CellKind::Histogram(histogram) = &self.one(family, labels)?.cell else {
            panic!("{family} is not a histogram");
        };
        let distribution = histogram.distribution();
        let bounds = BUCKETS_NS.iter().map(|ns| Some(*ns as f64 / 1e9)).chain([None]);
        let mut total = 0;
        let counts = bounds.zip(distribution.counts).map(|(bound, count)| {
            total += count;
            (bound, total)
        });
        let counts: Vec<_> = counts.collect();
        (total > 0).then_some(Buckets { counts, sum_seconds: distribution.sum_seconds })
    }

    fn family(&self, name: &str) -> &Family {
        self.0.get(name).unwrap_or_else(|| panic!("{name} is no family that was declared"))
    }

    fn one(&self, family: &str, labels: Labels<'_>) -> Option<&Series> {
        let mut key: Vec<_> = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        key.sort_unstable();
        self.family(family).series.get(&key)
    }

    fn having(&self, family: &str, labels: Labels<'_>) -> impl Iterator<Item = (&LabelValues, &Series)> {
        let has = move |of: &LabelValues| labels.iter().all(|(key, wanted)| value(of, key) == Some(*wanted));
        self.family(family).series.iter().filter(move |(of, _)| has(of))
    }
}

fn value<'a>(labels: &'a LabelValues, label: &str) -> Option<&'a str> {
    labels.iter().find(|(key, _)| key == label).map(|(_, value)| value.as_str())
}

fn counted(series: &Series) -> u64 {
    match &series.cell {
        CellKind::Counter(counter) => counter.value(),
        other => panic!("a {} is not a counter", other.type_name()),
    }
}

fn levelled(series: &Series) -> f64 {
    match &series.cell {
        CellKind::Gauge(gauge) => gauge.value(),
        other => panic!("a {} is not a gauge", other.type_name()),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float to integer saturates")]
fn whole(level: f64) -> u64 {
    level as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Recorder;

    fn recorder() -> Recorder {
        let recorder = Recorder::default();
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("a_total", "export" => "x", "error" => "io").increment(2);
            metrics::counter!("a_total", "export" => "x", "error" => "shutdown").increment(3);
            metrics::counter!("a_total", "export" => "y", "error" => "io").increment(9);
            metrics::gauge!("phase", "export" => "x", "phase" => "open").set(1.0);
            metrics::gauge!("phase", "export" => "x", "phase" => "closed").set(0.0);
            metrics::histogram!("d_seconds", "export" => "x").record(0.003);
            let _unused = metrics::histogram!("d_seconds", "export" => "y");
        });
        recorder
    }

    #[test]
    fn series_are_found_by_their_labels_in_any_order() {
        let recorder = recorder();
        let reading = recorder.read();
        assert_eq!(reading.count("a_total", &[("export", "x"), ("error", "io")]), Some(2));
        assert_eq!(reading.count("a_total", &[("error", "io"), ("export", "x")]), Some(2));
        assert_eq!(reading.count("a_total", &[("export", "z"), ("error", "io")]), None);
        let sum = |labels: Labels<'_>| reading.counts("a_total", labels).map(|(_, count)| count).sum::<u64>();
        assert_eq!((sum(&[("export", "x")]), sum(&[])), (5, 14));
        let raised: Vec<_> = reading.raised("phase").map(|of| (of.get("export"), of.get("phase"))).collect();
        assert_eq!(raised, [(Some("x"), Some("open"))]);
        assert_eq!(reading.holds("phase", &[("export", "x"), ("phase", "closed")]), Some(false));
        assert_eq!(reading.total("phase"), 1);
    }

    #[test]
    fn a_histogram_is_cumulative_and_absent_before_its_first_sample() {
        let recorder = recorder();
        let reading = recorder.read();
        let buckets = reading.histogram("d_seconds", &[("export", "x")]).expect("a sample");
        assert!((buckets.sum_seconds - 0.003).abs() < 1e-9);
        let count = |bound| buckets.counts.iter().find(|(le, _)| *le == bound).expect("a bucket").1;
        assert_eq!((count(Some(0.002)), count(Some(0.005)), count(None)), (0, 1, 1));
        assert_eq!(reading.histogram("d_seconds", &[("export", "y")]), None);
    }

    #[test]
    #[should_panic(expected = "no family that was declared")]
    fn a_family_that_nobody_declared_is_a_mistake() {
        let _ = recorder().read().count("b_total", &[]);
    }
}
