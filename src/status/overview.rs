//! /status.json: the gateway, its exports, its clients, as of now.

mod export;
#[cfg(feature = "object-log")]
mod object;
#[cfg(feature = "rocksdb")]
mod rocksdb;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::body::Bytes;
use serde::Serialize;
use tokio::sync::Mutex;

use self::export::ExportView;
use super::{
    Status, Storage,
    clients::{Told, now_unix_seconds},
};
use crate::{
    export::Export,
    metrics::{Asked, Health, Reading},
};

/// How old what is told may be: many viewers cost as much as one.
const MAX_AGE: Duration = Duration::from_millis(500);

/// What was told last, for those who ask again soon.
#[derive(Debug, Default)]
pub(super) struct Latest(Mutex<Option<(Instant, Health, Bytes)>>);

#[derive(Debug, Serialize)]
struct Overview {
    gateway: Gateway,
    exports: Vec<ExportView>,
    clients: Vec<Told>,
}

#[derive(Debug, Serialize)]
struct Gateway {
    version: &'static str,
    state: &'static str,
    /// Unknown while it starts.
    started_unix_seconds: Option<f64>,
    now_unix_seconds: f64,
    io_engine: Option<String>,
    io_threads: u64,
    connections: u64,
    resident_bytes: Option<u64>,
    cpu_seconds: Option<f64>,
}

/// Numbers of all exports, and those of them that are found only by looking at all: looked at once, for there may be thousands
/// of exports.
struct Numbers<'a> {
    reading: &'a Reading<'a>,
    /// By export and command.
    errors: HashMap<(&'a str, &'a str), u64>,
    /// By export.
    #[cfg(feature = "object-log")]
    phases: HashMap<&'a str, &'a str>,
}

impl Latest {
    /// The overview as JSON.
    pub(super) async fn get(&self, status: &Status, asked: &Asked) -> Bytes {
        let mut latest = self.0.lock().await;
        match &*latest {
            Some((at, health, body)) if at.elapsed() < MAX_AGE && *health == asked.health => body.clone(),
            _ => {
                let body = serde_json::to_vec(&Overview::of(status, asked)).expect("numbers and text become JSON");
                let body = Bytes::from(body);
                *latest = Some((Instant::now(), asked.health, body.clone()));
                body
            }
        }
    }
}

impl Overview {
    fn of(status: &Status, asked: &Asked) -> Self {
        // What sorts and copies comes first: new series, as those of a client that comes, wait for the reading to end.
        let (clients, connections) = status.clients.tell();
        let shown: Vec<_> = status.exports().collect();
        let reading = asked.metrics.read();
        let numbers = Numbers::new(&reading);
        let view = |(export, storage): &(Arc<Export>, Storage)| {
            let connections = connections.get(export.name()).copied().unwrap_or_default();
            ExportView::of(export, *storage, connections, &numbers)
        };
        let exports = shown.iter().map(view).collect();
        let gateway = Gateway::of(&reading, asked.health);
        Self { gateway, exports, clients }
    }
}

impl<'a> Numbers<'a> {
    fn new(reading: &'a Reading<'a>) -> Self {
        let mut errors = HashMap::new();
        for (of, count) in reading.counts("nbdgate_export_errors_total", &[]) {
            if let (Some(export), Some(command)) = (of.get("export"), of.get("command")) {
                *errors.entry((export, command)).or_default() += count;
            }
        }
        #[cfg(feature = "object-log")]
        let phases = reading.raised("nbdgate_object_phase");
        Self {
            reading,
            errors,
            #[cfg(feature = "object-log")]
            phases: phases.filter_map(|of| Some((of.get("export")?, of.get("phase")?))).collect(),
        }
    }
}

impl Gateway {
    fn of(reading: &Reading<'_>, health: Health) -> Self {
        const THREADS: &str = "nbdgate_server_io_threads";
        Self {
            version: env!("CARGO_PKG_VERSION"),
            state: match health {
                Health::Starting => "starting",
                Health::Serving => "serving",
                Health::Stopping => "stopping",
            },
            started_unix_seconds: reading.level("nbdgate_process_start_time_seconds", &[]),
            now_unix_seconds: now_unix_seconds(),
            io_engine: reading.raised(THREADS).find_map(|of| of.get("engine")).map(str::to_owned),
            io_threads: reading.total(THREADS),
            connections: reading.total("nbdgate_server_connections"),
            resident_bytes: reading.whole("nbdgate_process_resident_memory_bytes", &[]),
            cpu_seconds: reading.seconds("nbdgate_process_cpu_seconds_total", &[]),
        }
    }
}
