//! What an export in an object store costs in a month at the rate so far, at list prices.

use serde::Serialize;

use crate::{
    cost::{Bill, Item, Metered, PriceList, Usage},
    metrics::{Metrics, Reading},
    status::{Shown, clients::now_unix_seconds},
};

/// A rate that was measured for less than this says little of a month, in seconds.
const SHORT: f64 = 3600.0;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Cost {
    currency: &'static str,
    provider: String,
    per_month: f64,
    parts: Vec<CostPart>,
    over_seconds: f64,
    note: Option<String>,
}

/// Bytes in the store that an export is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    /// Of the disk itself.
    pub(super) own_bytes: u64,
    /// Of the disk that it was cloned from, which pays for them.
    pub(super) shared_bytes: u64,
}

/// The storage, or the requests and bytes of one cause.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct CostPart {
    name: String,
    amount: f64,
}

impl Cost {
    /// `None` where nobody is known to ask for money.
    pub(super) fn of(shown: &Shown, export: &str, stored: Stored, metrics: &Metrics) -> Option<Self> {
        let prices = PriceList::built_in().get(shown.provider?)?.clone();
        let metered = metered(&metrics.read(), export)?;
        // A snapshot is stored with its disk, and what it alone holds back is that disk's too.
        let own_bytes = if shown.is_snapshot { 0 } else { stored.own_bytes };
        let bill = Bill::new(&metered.month(own_bytes as f64), &prices);
        let storage = CostPart { name: "storage".to_owned(), amount: bill.storage_cost };
        let causes = bill.lines.iter().map(|line| CostPart { name: line.cause.clone(), amount: line.cost });
        Some(Self {
            currency: "USD",
            provider: format!("{} (list prices of {})", bill.prices.of, bill.prices.as_of),
            per_month: bill.total_cost,
            parts: std::iter::once(storage).chain(causes).collect(),
            over_seconds: metered.seconds,
            note: note(shown, stored, metered.seconds),
        })
    }
}

/// What is to be known of a bill.
fn note(shown: &Shown, stored: Stored, seconds: f64) -> Option<String> {
    let young = seconds < SHORT;
    let young = young.then(|| "counted for less than an hour: what starting cost weighs more than it will".to_owned());
    let elsewhere = match stored.shared_bytes {
        _ if shown.is_snapshot => Some("its storage is part of its disk's".to_owned()),
        0 => None,
        shared => Some(format!("shared with the disk it was cloned from: {shared} bytes")),
    };
    let notes: Vec<_> = young.into_iter().chain(elsewhere).collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// The counters of an export, as `nbdgate disk cost` reads them from the text.
fn metered(reading: &Reading<'_>, export: &str) -> Option<Metered> {
    let mut counted = Usage::default();
    let of = &[("export", export)];
    for (labels, count) in reading.counts("nbdgate_object_requests_total", of) {
        let (cause, count) = (labels.get("cause")?, count as f64);
        let item = match labels.get("method")? {
            "put" | "list" => Item { puts: count, ..Item::default() },
            "get" => Item { gets: count, ..Item::default() },
            _ => Item { deletes: count, ..Item::default() },
        };
        counted.add(cause, &item);
    }
    for (labels, bytes) in reading.counts("nbdgate_object_bytes_total", of) {
        let (cause, bytes) = (labels.get("cause")?, bytes as f64);
        let item = match labels.get("direction")? {
            "up" => Item { sent: bytes, ..Item::default() },
            _ => Item { received: bytes, ..Item::default() },
        };
        counted.add(cause, &item);
    }
    let start = reading.level("nbdgate_process_start_time_seconds", &[])?;
    let seconds = (now_unix_seconds() - start).max(1.0);
    (!counted.causes.is_empty()).then_some(Metered { seconds, counted })
}

#[cfg(all(test, feature = "object-log"))]
mod tests {
    use std::{sync::Weak, time::Duration};

    use nbdgate_s3::{Cause, Method, Observer, Outcome, Request};

    use super::*;
    use crate::{
        metrics::{ObjectMetrics, ServerMetrics},
        status::Storage,
    };

    fn shown(provider: Option<&'static str>) -> Shown {
        let (export, storage, directory) = (Weak::new(), Storage::ObjectLog, None);
        Shown { export, storage, directory, is_snapshot: false, served_snapshots: Vec::new(), provider }
    }

    /// A gateway that has just started, and put twice for `vm`.
    fn metrics() -> Metrics {
        let metrics = Metrics::detached();
        metrics::with_local_recorder(metrics.recorder(), || {
            let _started = ServerMetrics::new();
            let request = |method, cause| Request {
                method,
                cause,
                outcome: Outcome::Ok,
                sent: 1 << 20,
                received: 100,
                duration: Duration::from_millis(3),
                retry: false,
            };
            let of = |export: &str| ObjectMetrics::new(export);
            of("vm").request(&request(Method::Put, Cause::Segment));
            of("vm").request(&request(Method::Put, Cause::Segment));
            of("vm").request(&request(Method::Get, Cause::Data));
            of("other").request(&request(Method::Put, Cause::Segment));
        });
        metrics
    }

    #[test]
    fn the_page_prices_what_the_command_reads_from_the_text() {
        let metrics = metrics();
        let read = metered(&metrics.read(), "vm").expect("counters");
        let parsed = Metered::parse(&metrics.render(), "vm", now_unix_seconds()).expect("counters");
        let used = |metered: &Metered| {
            let causes = metered.counted.causes.iter().filter(|(_, item)| **item != Item::default());
            causes.map(|(cause, item)| (cause.clone(), *item)).collect::<Vec<_>>()
        };
        assert_eq!(used(&read), used(&parsed));
        assert_eq!((read.counted.causes["segment"].puts, read.counted.total().gets), (2.0, 1.0));
    }

    fn own(own_bytes: u64) -> Stored {
        Stored { own_bytes, shared_bytes: 0 }
    }

    #[test]
    fn a_bill_has_its_parts_and_says_when_it_is_young() {
        let metrics = metrics();
        let cost = Cost::of(&shown(Some("aws")), "vm", own(100 << 30), &metrics).expect("a bill");
        let sum: f64 = cost.parts.iter().map(|part| part.amount).sum();
        assert!((sum - cost.per_month).abs() < 1e-6 && cost.per_month > 0.0, "{cost:?}");
        assert!((cost.parts[0].amount - 2.3).abs() < 1e-6, "100 GiB of storage: {cost:?}");
        assert!(cost.note.is_some_and(|note| note.contains("an hour")) && cost.over_seconds >= 1.0);
        assert_eq!(Cost::of(&shown(None), "vm", own(1 << 30), &metrics), None, "nobody asks for money");
        assert_eq!(Cost::of(&shown(Some("aws")), "file", own(0), &metrics), None, "nothing was counted");
    }

    #[test]
    fn what_belongs_to_another_disk_is_not_priced() {
        let metrics = metrics();
        let stored = Stored { own_bytes: 100 << 30, shared_bytes: 900 << 30 };
        let clone = Cost::of(&shown(Some("aws")), "vm", stored, &metrics).expect("a bill");
        assert!((clone.parts[0].amount - 2.3).abs() < 1e-6, "100 GiB of its own: {clone:?}");
        let shared = format!("shared with the disk it was cloned from: {} bytes", stored.shared_bytes);
        assert!(clone.note.is_some_and(|note| note.ends_with(&shared)));
        let snapshot = Shown { is_snapshot: true, ..shown(Some("aws")) };
        let snapshot = Cost::of(&snapshot, "vm", stored, &metrics).expect("a bill");
        assert!(snapshot.parts[0].amount.abs() < 1e-9 && snapshot.per_month > 0.0, "{snapshot:?}");
        assert_eq!(note(&shown(None), own(1), SHORT), None);
    }
}
