//! One export: what it is, what its clients do, what its storage says.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Numbers;
#[cfg(feature = "object-log")]
use super::object::ObjectView;
#[cfg(feature = "rocksdb")]
use super::rocksdb::RocksDbView;
use crate::{export::Export, metrics::Command, status::Storage};

#[derive(Debug, Serialize)]
pub(super) struct ExportView {
    name: String,
    storage: Storage,
    size_bytes: u64,
    read_only: bool,
    description: Option<String>,
    connections: u64,
    in_flight: u64,
    flush_latched: bool,
    commands: BTreeMap<&'static str, CommandView>,
    #[cfg(feature = "object-log")]
    object: Option<ObjectView>,
    #[cfg(not(feature = "object-log"))]
    object: (),
    #[cfg(feature = "rocksdb")]
    rocksdb: Option<RocksDbView>,
    #[cfg(not(feature = "rocksdb"))]
    rocksdb: (),
}

/// What was counted of one command since the gateway started.
#[derive(Debug, Serialize)]
struct CommandView {
    requests: u64,
    errors: u64,
    /// Only READ and WRITE move bytes.
    bytes: Option<u64>,
    seconds_sum: f64,
    /// None before the first request.
    buckets: Vec<Bucket>,
}

/// So many requests took at most `le` seconds; `null` is without a bound.
#[derive(Debug, Serialize)]
struct Bucket {
    le: Option<f64>,
    count: u64,
}

impl ExportView {
    pub(super) fn of(export: &Export, storage: Storage, connections: u64, numbers: &Numbers<'_>) -> Self {
        let reading = numbers.reading;
        let (name, info) = (export.name().as_str(), export.info());
        let description = Some(export.description()).filter(|text| !text.is_empty());
        let labels = &[("export", name)];
        Self {
            storage,
            size_bytes: info.size,
            read_only: info.read_only,
            description: description.map(str::to_owned),
            connections,
            in_flight: reading.whole("nbdgate_export_requests_in_flight", labels).unwrap_or_default(),
            flush_latched: reading.holds("nbdgate_export_flush_latched", labels).unwrap_or_default(),
            commands: Command::ALL
                .iter()
                .map(|command| (command.as_str(), CommandView::of(name, *command, numbers)))
                .collect(),
            #[cfg(feature = "object-log")]
            object: (storage == Storage::ObjectLog).then(|| ObjectView::of(name, numbers)),
            #[cfg(not(feature = "object-log"))]
            object: (),
            #[cfg(feature = "rocksdb")]
            rocksdb: (storage == Storage::RocksDb).then(|| RocksDbView::of(name, reading)),
            #[cfg(not(feature = "rocksdb"))]
            rocksdb: (),
            name: name.to_owned(),
        }
    }
}

impl CommandView {
    fn of(export: &str, command: Command, numbers: &Numbers<'_>) -> Self {
        let reading = numbers.reading;
        let labels = &[("export", export), ("command", command.as_str())];
        let moves = matches!(command, Command::Read | Command::Write);
        let bytes =
            || reading.count("nbdgate_export_bytes_total", &[("export", export), ("direction", command.as_str())]);
        let times = reading.histogram("nbdgate_export_request_seconds", labels);
        let (counts, seconds_sum) = times.map(|times| (times.counts, times.sum_seconds)).unwrap_or_default();
        Self {
            requests: reading.count("nbdgate_export_requests_total", labels).unwrap_or_default(),
            errors: numbers.errors.get(&(export, command.as_str())).copied().unwrap_or_default(),
            bytes: if moves { bytes() } else { None },
            seconds_sum,
            buckets: counts.into_iter().map(|(le, count)| Bucket { le, count }).collect(),
        }
    }
}
