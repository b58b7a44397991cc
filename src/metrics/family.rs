//! What a family of metrics is, and how its handles are made: once, before the first request.

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata};

/// A family: a name, its labels, its meaning. Declared beside what it measures.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// `nbdgate_<subsystem>_<noun>_<unit>[_total]`.
    pub name: &'static str,
    /// What its series are.
    pub kind: FamilyKind,
    /// Names of its labels, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// What one is, in the plural.
    pub unit: &'static str,
    /// What it counts; a sentence.
    pub help: &'static str,
}

/// The kinds of Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in buckets.
    Histogram,
}

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

impl Family {
    pub(super) const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        unit: &'static str,
        help: &'static str,
    ) -> Self {
        Self { name, kind: FamilyKind::Counter, labels, unit, help }
    }

    pub(super) const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        unit: &'static str,
        help: &'static str,
    ) -> Self {
        Self { name, kind: FamilyKind::Gauge, labels, unit, help }
    }

    /// Durations, in seconds.
    pub(super) const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: FamilyKind::Histogram, labels, unit: "seconds", help }
    }

    /// Tells the recorder of the family.
    pub(super) fn describe(&self) {
        match self.kind {
            FamilyKind::Counter => metrics::describe_counter!(self.name, self.help),
            FamilyKind::Gauge => metrics::describe_gauge!(self.name, self.help),
            FamilyKind::Histogram => metrics::describe_histogram!(self.name, self.help),
        }
    }

    pub(super) fn counter_of(&self, values: &[&str]) -> Counter {
        assert_eq!(self.kind, FamilyKind::Counter, "{} is not a counter", self.name);
        metrics::with_recorder(|recorder| recorder.register_counter(&self.key(values), &METADATA))
    }

    pub(super) fn gauge_of(&self, values: &[&str]) -> Gauge {
        assert_eq!(self.kind, FamilyKind::Gauge, "{} is not a gauge", self.name);
        metrics::with_recorder(|recorder| recorder.register_gauge(&self.key(values), &METADATA))
    }

    pub(super) fn histogram_of(&self, values: &[&str]) -> Histogram {
        assert_eq!(self.kind, FamilyKind::Histogram, "{} is not a histogram", self.name);
        metrics::with_recorder(|recorder| recorder.register_histogram(&self.key(values), &METADATA))
    }

    fn key(&self, values: &[&str]) -> Key {
        assert_eq!(self.labels.len(), values.len(), "{} has the labels {:?}", self.name, self.labels);
        let labels = self.labels.iter().zip(values);
        Key::from_parts(self.name, labels.map(|(key, value)| Label::new(*key, (*value).to_owned())).collect::<Vec<_>>())
    }
}

/// Declares the values of a label: an enum with every value known.
macro_rules! label_values {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident => $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$value_doc])* $value,)+ }

        impl $name {
            /// Every value, in the order of their discriminants.
            pub const ALL: &'static [Self] = &[$(Self::$value,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The label's text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text,)+ }
            }

            /// One thing for each value, to be indexed by `value as usize`.
            pub(super) fn map<T>(make: impl Fn(Self) -> T) -> [T; Self::COUNT] {
                std::array::from_fn(|index| make(Self::ALL[index]))
            }
        }
    };
}

pub(super) use label_values;
