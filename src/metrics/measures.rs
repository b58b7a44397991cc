//! Families whose values stand side by side in one struct, which is told again whenever it moved: a table says what each
//! family is and where its value is, a group holds the handles of one source.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use metrics::{Counter, CounterFn, Gauge};

use super::family::Family;

/// A family, and its value in an `L`.
#[derive(Debug)]
pub(super) struct Measure<L: 'static> {
    pub(super) family: Family,
    value: Value<L>,
}

#[derive(Debug)]
enum Value<L> {
    Gauge(fn(&L) -> f64),
    Counter(Since, fn(&L) -> u64),
}

/// Since when a count counts.
#[derive(Clone, Copy, Debug)]
enum Since {
    /// The source began. Another may come after it under the same labels; the series goes on where it was.
    Source,
    /// The process began.
    #[cfg(any(feature = "object-log", test))]
    Process,
}

impl<L> Measure<L> {
    /// What stands at a value now.
    pub(super) const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        unit: &'static str,
        help: &'static str,
        value: fn(&L) -> f64,
    ) -> Self {
        Self { family: Family::gauge(name, labels, unit, help), value: Value::Gauge(value) }
    }

    /// What was counted since the source began.
    pub(super) const fn total(
        name: &'static str,
        labels: &'static [&'static str],
        unit: &'static str,
        help: &'static str,
        value: fn(&L) -> u64,
    ) -> Self {
        Self { family: Family::counter(name, labels, unit, help), value: Value::Counter(Since::Source, value) }
    }

    /// What was counted since the process began, whichever source tells it.
    #[cfg(any(feature = "object-log", test))]
    pub(super) const fn process_total(
        name: &'static str,
        labels: &'static [&'static str],
        unit: &'static str,
        help: &'static str,
        value: fn(&L) -> u64,
    ) -> Self {
        Self { family: Family::counter(name, labels, unit, help), value: Value::Counter(Since::Process, value) }
    }
}

/// The families of a table.
pub(super) fn families<L>(table: &'static [Measure<L>]) -> impl Iterator<Item = &'static Family> {
    table.iter().map(|measure| &measure.family)
}

/// The handles of a table for one source.
#[derive(Debug)]
pub(super) struct Group<L: 'static>(Box<[Handle<L>]>);

#[derive(Debug)]
enum Handle<L> {
    Gauge(Gauge, fn(&L) -> f64),
    Counter(Counter, fn(&L) -> u64),
}

impl<L> Group<L> {
    /// Registers the handles; all families of a table have the same labels.
    pub(super) fn new(table: &'static [Measure<L>], labels: &[&str]) -> Self {
        let handles = table.iter().map(|Measure { family, value }| match value {
            Value::Gauge(value) => Handle::Gauge(family.gauge_of(labels), *value),
            #[cfg(any(feature = "object-log", test))]
            Value::Counter(Since::Process, value) => Handle::Counter(family.counter_of(labels), *value),
            Value::Counter(Since::Source, value) => {
                let source = SourceCount { series: family.counter_of(labels), told: AtomicU64::new(0) };
                Handle::Counter(Counter::from_arc(Arc::new(source)), *value)
            }
        });
        Self(handles.collect())
    }

    /// Sets every series. May be called by several threads at once; no count goes back.
    pub(super) fn set(&self, levels: &L) {
        for handle in &self.0 {
            match handle {
                Handle::Gauge(gauge, value) => gauge.set(value(levels)),
                Handle::Counter(counter, value) => counter.absolute(value(levels)),
            }
        }
    }
}

/// A counter that one source sets from what it counted itself, for a series that outlives the source.
struct SourceCount {
    series: Counter,
    told: AtomicU64,
}

impl CounterFn for SourceCount {
    fn increment(&self, value: u64) {
        self.told.fetch_add(value, Relaxed);
        self.series.increment(value);
    }

    fn absolute(&self, value: u64) {
        let told = self.told.fetch_max(value, Relaxed);
        self.series.increment(value.saturating_sub(told));
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::metrics::Recorder;

    struct Levels {
        level: u64,
        count: u64,
    }

    const TABLE: &[Measure<Levels>] = &[
        Measure::gauge("level", &["of"], "things", "A level.", |levels| levels.level as f64),
        Measure::total("source_total", &["of"], "things", "A count.", |levels| levels.count),
        Measure::process_total("process_total", &["of"], "things", "A count.", |levels| levels.count),
    ];

    fn line(recorder: &Recorder, name: &str) -> String {
        let text = recorder.render();
        let found = text.lines().find_map(|line| line.strip_prefix(&format!("{name}{{of=\"x\"}} ")).map(str::to_owned));
        found.unwrap_or_else(|| panic!("{name} is missing in\n{text}"))
    }

    #[test]
    fn a_count_goes_on_when_its_source_is_replaced() {
        let recorder = Recorder::default();
        metrics::with_local_recorder(&recorder, || {
            let first = Group::new(TABLE, &["x"]);
            first.set(&Levels { level: 9, count: 7 });
            first.set(&Levels { level: 8, count: 10 });
            // Told late, by another thread.
            first.set(&Levels { level: 5, count: 9 });
            let second = Group::new(TABLE, &["x"]);
            assert_eq!(line(&recorder, "source_total"), "10");
            second.set(&Levels { level: 1, count: 3 });
        });
        assert_eq!(line(&recorder, "level"), "1");
        assert_eq!(line(&recorder, "source_total"), "13");
        assert_eq!(line(&recorder, "process_total"), "10", "the same count told by two is not added up");
    }

    #[test]
    fn a_count_told_by_many_threads_ends_at_the_last() {
        const LAST: u64 = 10_000;
        let recorder = Recorder::default();
        let group = metrics::with_local_recorder(&recorder, || Group::new(TABLE, &["x"]));
        thread::scope(|scope| {
            for part in 0..4 {
                let group = &group;
                scope.spawn(move || {
                    (0..=LAST).skip(part).step_by(4).for_each(|count| group.set(&Levels { level: 0, count }));
                });
            }
        });
        assert_eq!(line(&recorder, "source_total"), LAST.to_string());
        assert_eq!(line(&recorder, "process_total"), LAST.to_string());
    }
}
