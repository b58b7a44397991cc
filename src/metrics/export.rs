//! The data path of one export: requests, bytes, times, chunks.

use std::{array, sync::OnceLock, time::Duration};

use metrics::{Counter, Gauge, Histogram};
use nbdgate_api::{Kind, Op};

use super::family::{Family, label_values};
use crate::scheduler::Meters;

const REQUESTS: Family = Family::counter(
    "nbdgate_export_requests_total",
    &["export", "command"],
    "requests",
    "Requests answered, failed ones included.",
);
const ERRORS: Family = Family::counter(
    "nbdgate_export_errors_total",
    &["export", "command", "error"],
    "requests",
    "Requests that failed, by the error that the client was told.",
);
const BYTES: Family = Family::counter(
    "nbdgate_export_bytes_total",
    &["export", "direction"],
    "bytes",
    "Bytes of disk moved by READ and WRITE requests that succeeded, holes included.",
);
const REQUEST_SECONDS: Family = Family::histogram(
    "nbdgate_export_request_seconds",
    &["export", "command"],
    "Time from a request being parsed to the end of its reply being queued.",
);
const BACKEND_SECONDS: Family = Family::histogram(
    "nbdgate_export_backend_seconds",
    &["export", "command"],
    "Time from a piece of a request being submitted to the backend to its end.",
);
const IN_FLIGHT: Family = Family::gauge(
    "nbdgate_export_requests_in_flight",
    &["export"],
    "requests",
    "Requests parsed and not yet answered.",
);
const CHUNKS: Family = Family::counter(
    "nbdgate_export_chunks_total",
    &["export", "kind"],
    "chunks",
    "Structured reply chunks by kind; a simple reply is none of them.",
);
const SERIALISED: Family = Family::counter(
    "nbdgate_export_serialised_writes_total",
    &["export"],
    "requests",
    "WRITE, TRIM and WRITE_ZEROES requests that waited for an overlapping one.",
);
const BUDGET_WAITS: Family = Family::counter(
    "nbdgate_export_budget_waits_total",
    &["export"],
    "waits",
    "Times that a connection stopped reading its socket because a budget was full.",
);
const LATCHED: Family = Family::gauge(
    "nbdgate_export_flush_latched",
    &["export"],
    "boolean",
    "1 after a failed flush: writes and flushes fail until the export is opened again.",
);

pub(super) const FAMILIES: &[Family] =
    &[REQUESTS, ERRORS, BYTES, REQUEST_SECONDS, BACKEND_SECONDS, IN_FLIGHT, CHUNKS, SERIALISED, BUDGET_WAITS, LATCHED];

label_values! {
    /// A command, for the label `command`.
    Command {
        /// READ.
        Read => "read",
        /// WRITE.
        Write => "write",
        /// FLUSH.
        Flush => "flush",
        /// TRIM.
        Trim => "trim",
        /// WRITE_ZEROES.
        WriteZeroes => "write_zeroes",
        /// CACHE.
        Cache => "cache",
        /// BLOCK_STATUS.
        BlockStatus => "block_status",
    }
}

label_values! {
    /// The kind of a structured reply chunk, for the label `kind`.
    Chunk {
        /// OFFSET_DATA.
        Data => "data",
        /// OFFSET_HOLE.
        Hole => "hole",
        /// ERROR and ERROR_OFFSET.
        Error => "error",
        /// NONE.
        None => "none",
        /// BLOCK_STATUS and BLOCK_STATUS_EXT.
        BlockStatus => "block_status",
    }
}

/// The handles of one export. Registered once; the calls of a request cost a few uncontended atomic additions.
#[derive(Debug)]
pub struct ExportMetrics {
    name: String,
    commands: [CommandMetrics; Command::COUNT],
    errors: [[OnceLock<Counter>; ERROR_KINDS]; Command::COUNT],
    bytes_read: Counter,
    bytes_written: Counter,
    in_flight: Gauge,
    chunks: [Counter; Chunk::COUNT],
    serialised: Counter,
    budget_waits: Counter,
    latched: Gauge,
}

#[derive(Debug)]
struct CommandMetrics {
    requests: Counter,
    seconds: Histogram,
    backend_seconds: Histogram,
}

/// Kinds of [`nbdgate_api::Kind`]; [`error_label`] numbers them.
const ERROR_KINDS: usize = 8;

fn error_label(kind: Kind) -> (usize, &'static str) {
    match kind {
        Kind::Permission => (0, "permission"),
        Kind::Io => (1, "io"),
        Kind::NoMemory => (2, "no_memory"),
        Kind::Invalid => (3, "invalid"),
        Kind::NoSpace => (4, "no_space"),
        Kind::Overflow => (5, "overflow"),
        Kind::NotSupported => (6, "not_supported"),
        Kind::Shutdown => (7, "shutdown"),
    }
}

impl Command {
    /// The command that an operation serves.
    pub fn of(op: &Op) -> Self {
        match op {
            Op::Read(_) => Self::Read,
            Op::Write { .. } => Self::Write,
            Op::Flush => Self::Flush,
            Op::Trim { .. } => Self::Trim,
            Op::WriteZeroes { .. } => Self::WriteZeroes,
            Op::BlockStatus { .. } | Op::DirtyStatus { .. } => Self::BlockStatus,
            Op::Cache(_) => Self::Cache,
        }
    }
}

impl ExportMetrics {
    /// Registers the handles. Series of errors appear with the first error.
    pub fn new(export: &str) -> Self {
        let latched = LATCHED.gauge_of(&[export]);
        latched.set(0.0);
        Self {
            name: export.to_owned(),
            commands: Command::map(|command| CommandMetrics {
                requests: REQUESTS.counter_of(&[export, command.as_str()]),
                seconds: REQUEST_SECONDS.histogram_of(&[export, command.as_str()]),
                backend_seconds: BACKEND_SECONDS.histogram_of(&[export, command.as_str()]),
            }),
            errors: array::from_fn(|_| array::from_fn(|_| OnceLock::new())),
            bytes_read: BYTES.counter_of(&[export, "read"]),
            bytes_written: BYTES.counter_of(&[export, "write"]),
            in_flight: IN_FLIGHT.gauge_of(&[export]),
            chunks: Chunk::map(|chunk| CHUNKS.counter_of(&[export, chunk.as_str()])),
            serialised: SERIALISED.counter_of(&[export]),
            budget_waits: BUDGET_WAITS.counter_of(&[export]),
            latched,
        }
    }

    /// Requests were parsed. For each, exactly one of the three ends follows.
    pub fn requests_started(&self, count: u32) {
        self.in_flight.increment(count);
    }

    /// Requests of one kind that took the same time were answered well, with so many bytes of disk read or written by
    /// all of them. The caller reads the clock and gathers requests, which costs less than counting each.
    pub fn requests_ended(&self, command: Command, took: Duration, count: u32, bytes: u64) {
        self.in_flight.decrement(count);
        let metrics = &self.commands[command as usize];
        metrics.requests.increment(u64::from(count));
        metrics.seconds.record_many(took, count as usize);
        match command {
            Command::Read => self.bytes_read.increment(bytes),
            Command::Write => self.bytes_written.increment(bytes),
            _ => {}
        }
    }

    /// A request was answered with an error.
    pub fn request_failed(&self, command: Command, took: Duration, kind: Kind) {
        self.in_flight.decrement(1.0);
        let metrics = &self.commands[command as usize];
        metrics.requests.increment(1);
        metrics.seconds.record(took);
        self.error(command, kind).increment(1);
    }

    /// A request was given up without an answer: its connection is gone.
    pub fn request_abandoned(&self) {
        self.in_flight.decrement(1.0);
    }

    /// Pieces of requests came back from the backend, after the same time.
    pub fn pieces_ended(&self, command: Command, took: Duration, count: u32) {
        self.commands[command as usize].backend_seconds.record_many(took, count as usize);
    }

    /// Structured reply chunks were queued.
    pub fn chunks(&self, kind: Chunk, count: u64) {
        self.chunks[kind as usize].increment(count);
    }

    /// What the export's scheduler counts by itself.
    pub fn meters(&self) -> Meters {
        Meters { overlaps: self.serialised.clone(), latched: self.latched.clone() }
    }

    /// A connection stops reading because a budget is full.
    pub fn budget_waited(&self) {
        self.budget_waits.increment(1);
    }

    #[cold]
    fn error(&self, command: Command, kind: Kind) -> &Counter {
        let (index, error) = error_label(kind);
        self.errors[command as usize][index].get_or_init(|| ERRORS.counter_of(&[&self.name, command.as_str(), error]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Recorder;

    fn export() -> (Recorder, ExportMetrics) {
        let recorder = Recorder::default();
        let metrics = metrics::with_local_recorder(&recorder, || ExportMetrics::new("vm1"));
        (recorder, metrics)
    }

    #[test]
    fn requests_are_counted_once_with_their_bytes() {
        let (recorder, metrics) = export();
        metrics.requests_started(3);
        metrics.requests_ended(Command::Read, Duration::from_micros(70), 2, 8192);
        let text = recorder.render();
        for line in [
            "nbdgate_export_requests_in_flight{export=\"vm1\"} 1",
            "nbdgate_export_requests_total{export=\"vm1\",command=\"read\"} 2",
            "nbdgate_export_requests_total{export=\"vm1\",command=\"write\"} 0",
            "nbdgate_export_bytes_total{export=\"vm1\",direction=\"read\"} 8192",
            "nbdgate_export_request_seconds_count{export=\"vm1\",command=\"read\"} 2",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_failed_request_counts_its_error_and_no_bytes() {
        let (recorder, metrics) = export();
        metrics.requests_started(1);
        metrics::with_local_recorder(&recorder, || {
            metrics.request_failed(Command::Write, Duration::ZERO, Kind::NoSpace);
        });
        let text = recorder.render();
        let error = "nbdgate_export_errors_total{export=\"vm1\",command=\"write\",error=\"no_space\"} 1";
        assert!(text.lines().any(|line| line == error), "{text}");
        assert!(text.contains("nbdgate_export_bytes_total{export=\"vm1\",direction=\"write\"} 0"), "{text}");
    }

    #[test]
    fn an_abandoned_request_leaves_nothing_in_flight() {
        let (recorder, metrics) = export();
        metrics.requests_started(1);
        metrics.request_abandoned();
        let text = recorder.render();
        assert!(text.contains("nbdgate_export_requests_in_flight{export=\"vm1\"} 0"), "{text}");
        assert!(text.contains("nbdgate_export_requests_total{export=\"vm1\",command=\"read\"} 0"), "{text}");
    }
}
