//! The recorder behind the `metrics` facade: every family and its series, and their text for Prometheus.
//!
//! The exporter crate gives the text format; the numbers are our own [`cells`](super::cells), because the exporter's
//! histograms keep every sample until they are drained, and its counters share a cache line between threads.
//! A counter whose name ends in `_seconds_total` counts nanoseconds and is shown in seconds.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use metrics_exporter_prometheus::{
    LabelSet,
    formatting::{write_help_line, write_metric_line, write_type_line},
};
use parking_lot::Mutex;

use super::{
    cells::{BUCKETS_NS, StripedCounter, StripedGauge, StripedHistogram},
    reading::Reading,
};

/// All the metrics of a process. Cheap to clone; clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    families: Arc<Mutex<Families>>,
}

/// By name.
pub(super) type Families = BTreeMap<String, Family>;

/// Labels with their values, sorted.
pub(super) type LabelValues = Vec<(String, String)>;

#[derive(Debug, Default)]
pub(super) struct Family {
    help: SharedString,
    /// By labels, for output that keeps its order.
    pub(super) series: BTreeMap<LabelValues, Series>,
}

#[derive(Debug)]
pub(super) struct Series {
    labels: LabelSet,
    pub(super) cell: CellKind,
}

#[derive(Clone, Debug)]
pub(super) enum CellKind {
    Counter(Arc<StripedCounter>),
    Gauge(Arc<StripedGauge>),
    Histogram(Arc<StripedHistogram>),
}

impl Recorder {
    /// Everything in the Prometheus text format, families and series in the order of their names.
    pub fn render(&self) -> String {
        let families = self.families.lock();
        let mut text = String::new();
        for (name, family) in &*families {
            let Some(first) = family.series.values().next() else { continue };
            write_help_line(&mut text, name, None, None, &family.help);
            write_type_line(&mut text, name, None, None, first.cell.type_name());
            for series in family.series.values() {
                series.render(&mut text, name);
            }
        }
        text
    }

    /// A look at every series.
    pub fn read(&self) -> Reading<'_> {
        Reading::new(self.families.lock())
    }

    /// Takes the series with a label of this value out of every family whose name begins so. Who holds a handle of one
    /// counts on unseen.
    #[cfg(any(feature = "rocksdb", test))]
    pub(super) fn forget(&self, prefix: &str, label: &str, value: &str) {
        let has_it = |labels: &LabelValues| labels.iter().any(|(key, at)| key == label && at == value);
        let mut families = self.families.lock();
        for (_, family) in families.iter_mut().filter(|(name, _)| name.starts_with(prefix)) {
            family.series.retain(|labels, _| !has_it(labels));
        }
    }

    fn describe(&self, key: &KeyName, description: SharedString) {
        self.families.lock().entry(key.as_str().to_owned()).or_default().help = description;
    }

    /// The cell of `key`, made if it is new.
    fn cell(&self, key: &Key, make: fn() -> CellKind) -> CellKind {
        let mut families = self.families.lock();
        let family = families.entry(key.name().to_owned()).or_default();
        let sorted = |key: &Key| {
            let mut labels: Vec<_> = key.labels().map(|l| (l.key().to_owned(), l.value().to_owned())).collect();
            labels.sort_unstable();
            labels
        };
        let series = family
            .series
            .entry(sorted(key))
            .or_insert_with(|| Series { labels: LabelSet::from_key_and_global(key, &<_>::default()), cell: make() });
        series.cell.clone()
    }
}

impl CellKind {
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Counter(_) => "counter",
            Self::Gauge(_) => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

impl Series {
    fn render(&self, text: &mut String, name: &str) {
        let labels = &self.labels;
        match &self.cell {
            CellKind::Counter(counter) if name.ends_with("_seconds_total") => {
                write_metric_line(text, name, None, labels, NO_LABEL, counter.value() as f64 / 1e9, None);
            }
            CellKind::Counter(counter) => write_metric_line(text, name, None, labels, NO_LABEL, counter.value(), None),
            CellKind::Gauge(gauge) => write_metric_line(text, name, None, labels, NO_LABEL, gauge.value(), None),
            CellKind::Histogram(histogram) => render_histogram(text, name, labels, histogram),
        }
    }
}

const NO_LABEL: Option<(&str, &str)> = None;

/// The lines of a histogram; none before its first sample, or commands that nobody uses would fill the text.
fn render_histogram(text: &mut String, name: &str, labels: &LabelSet, histogram: &StripedHistogram) {
    let distribution = histogram.distribution();
    if distribution.counts.iter().all(|count| *count == 0) {
        return;
    }
    let mut total = 0;
    let mut bound = String::new();
    for (index, count) in distribution.counts.iter().enumerate() {
        total += count;
        bound.clear();
        match BUCKETS_NS.get(index) {
            Some(ns) => write!(bound, "{}", *ns as f64 / 1e9).expect("a string takes any text"),
            None => bound.push_str("+Inf"),
        }
        write_metric_line(text, name, Some("bucket"), labels, Some(("le", &bound)), total, None);
    }
    write_metric_line(text, name, Some("sum"), labels, NO_LABEL, distribution.sum_seconds, None);
    write_metric_line(text, name, Some("count"), labels, NO_LABEL, total, None);
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&key, description);
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&key, description);
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&key, description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match self.cell(key, || CellKind::Counter(Arc::new(StripedCounter::new()))) {
            CellKind::Counter(counter) => Counter::from_arc(counter),
            other => panic!("{} is a {}, not a counter", key.name(), other.type_name()),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match self.cell(key, || CellKind::Gauge(Arc::new(StripedGauge::new()))) {
            CellKind::Gauge(gauge) => Gauge::from_arc(gauge),
            other => panic!("{} is a {}, not a gauge", key.name(), other.type_name()),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        match self.cell(key, || CellKind::Histogram(Arc::new(StripedHistogram::new()))) {
            CellKind::Histogram(histogram) => Histogram::from_arc(histogram),
            other => panic!("{} is a {}, not a histogram", key.name(), other.type_name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_rendered_as_prometheus_reads_it() {
        let recorder = Recorder::default();
        metrics::with_local_recorder(&recorder, || {
            metrics::describe_counter!("b_total", "Things \\ counted.");
            metrics::describe_gauge!("never_registered", "Absent.");
            metrics::counter!("b_total", "export" => "a\"\n\\").increment(2);
            metrics::counter!("b_total", "export" => "a\"\n\\").increment(1);
            metrics::gauge!("a_threads").set(1.5);
            metrics::counter!("c_seconds_total").absolute(1_500_000_000);
            metrics::histogram!("d_seconds").record(0.003);
            metrics::histogram!("d_seconds").record(99.0);
            let _unused = metrics::histogram!("d_seconds", "command" => "trim");
        });
        let text = recorder.render();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..8],
            [
                "# HELP a_threads ",
                "# TYPE a_threads gauge",
                "a_threads 1.5",
                "# HELP b_total Things \\\\ counted.",
                "# TYPE b_total counter",
                "b_total{export=\"a\\\"\\n\\\\\"} 3",
                "# HELP c_seconds_total ",
                "# TYPE c_seconds_total counter",
            ]
        );
        assert!(lines.contains(&"c_seconds_total 1.5"));
        assert!(lines.contains(&"d_seconds_bucket{le=\"0.002\"} 0"));
        assert!(lines.contains(&"d_seconds_bucket{le=\"0.005\"} 1"));
        assert!(lines.contains(&"d_seconds_bucket{le=\"50\"} 1"));
        assert!(lines.contains(&"d_seconds_bucket{le=\"+Inf\"} 2"));
        assert!(lines.contains(&"d_seconds_sum 99.003"));
        assert!(lines.contains(&"d_seconds_count 2"));
        assert!(!text.contains("trim"), "a histogram has no text before its first sample");
        assert!(!text.contains("never_registered"), "a family without series has no text");
    }

    #[test]
    fn what_is_forgotten_leaves_the_text_and_begins_anew() {
        let recorder = Recorder::default();
        let count = |export: &'static str| {
            metrics::with_local_recorder(&recorder, || metrics::counter!("a_b_total", "export" => export).increment(5));
        };
        ["x", "y"].into_iter().for_each(count);
        metrics::with_local_recorder(&recorder, || metrics::gauge!("c", "export" => "x").set(1.0));
        recorder.forget("a_", "export", "x");
        let text = recorder.render();
        assert!(text.contains("a_b_total{export=\"y\"} 5") && text.contains("c{export=\"x\"} 1"), "{text}");
        assert!(!text.contains("a_b_total{export=\"x\"}"), "{text}");
        count("x");
        assert!(recorder.render().contains("a_b_total{export=\"x\"} 5"));
    }
}
