//! The frontend: connections, handshakes, threads, and what this binary is.

use std::time::{Duration, SystemTime};

use metrics::{Counter, Gauge, Histogram};

use super::family::{Family, label_values};
use crate::config::Listen;

const CONNECTIONS: Family = Family::gauge(
    "nbdgate_server_connections",
    &["listener"],
    "connections",
    "Connections that are open, those in the handshake included.",
);
const ACCEPTED: Family = Family::counter(
    "nbdgate_server_connections_total",
    &["listener"],
    "connections",
    "Connections accepted, refused ones not included.",
);
const REFUSED: Family = Family::counter(
    "nbdgate_server_refused_connections_total",
    &["reason"],
    "connections",
    "Connections closed before the handshake.",
);
const HANDSHAKES: Family =
    Family::counter("nbdgate_server_handshakes_total", &["outcome"], "handshakes", "Handshakes that ended.");
const HANDSHAKE_SECONDS: Family = Family::histogram(
    "nbdgate_server_handshake_seconds",
    &[],
    "Time from a connection being accepted to the end of its handshake.",
);
const IO_THREADS: Family =
    Family::gauge("nbdgate_server_io_threads", &["engine"], "threads", "I/O threads by the engine that they run.");
const BUILD: Family = Family::gauge("nbdgate_build_info", &["version"], "boolean", "1, with what this binary is.");
const START: Family =
    Family::gauge("nbdgate_process_start_time_seconds", &[], "seconds since 1970", "When the gateway started.");

pub(super) const FAMILIES: &[Family] =
    &[CONNECTIONS, ACCEPTED, REFUSED, HANDSHAKES, HANDSHAKE_SECONDS, IO_THREADS, BUILD, START];

label_values! {
    /// Why a connection was closed before the handshake, for the label `reason`.
    Refused {
        /// As many connections as allowed are open.
        Connections => "connections",
        /// As many handshakes as allowed are going on.
        Handshakes => "handshakes",
        /// The system could not accept it, or not give it what it needs.
        Accept => "accept",
    }
}

label_values! {
    /// How a handshake ended, for the label `outcome`.
    Handshake {
        /// In the transmission phase.
        Transmission => "transmission",
        /// The client said goodbye (ABORT) or closed the connection.
        Aborted => "aborted",
        /// The client broke the protocol, or the connection broke.
        Failed => "failed",
        /// The client was too slow.
        Timeout => "timeout",
    }
}

/// The handles of the frontend.
#[derive(Debug)]
pub struct ServerMetrics {
    refused: [Counter; Refused::COUNT],
    handshakes: [Counter; Handshake::COUNT],
    handshake_seconds: Histogram,
}

/// The handles of one listener.
#[derive(Debug)]
pub struct ListenerMetrics {
    open: Gauge,
    accepted: Counter,
}

/// An open connection being counted; dropping it counts it as closed.
#[derive(Debug)]
#[must_use = "the connection counts as open until this is dropped"]
pub struct OpenConnection(Gauge);

impl ServerMetrics {
    /// Registers the handles, and says what this binary is and when it started.
    pub fn new() -> Self {
        BUILD.gauge_of(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        START.gauge_of(&[]).set(now.as_secs_f64());
        Self {
            refused: Refused::map(|reason| REFUSED.counter_of(&[reason.as_str()])),
            handshakes: Handshake::map(|outcome| HANDSHAKES.counter_of(&[outcome.as_str()])),
            handshake_seconds: HANDSHAKE_SECONDS.histogram_of(&[]),
        }
    }

    /// Registers the handles of a listener.
    pub fn listener(&self, listen: &Listen) -> ListenerMetrics {
        let listener = listen.to_string();
        ListenerMetrics { open: CONNECTIONS.gauge_of(&[&listener]), accepted: ACCEPTED.counter_of(&[&listener]) }
    }

    /// A connection was closed before the handshake.
    pub fn refused(&self, reason: Refused) {
        self.refused[reason as usize].increment(1);
    }

    /// A handshake ended.
    pub fn handshake_ended(&self, outcome: Handshake, took: Duration) {
        self.handshakes[outcome as usize].increment(1);
        self.handshake_seconds.record(took);
    }

    /// So many I/O threads run this engine.
    pub fn set_io_threads(&self, engine: &'static str, count: u32) {
        IO_THREADS.gauge_of(&[engine]).set(f64::from(count));
    }
}

impl Default for ServerMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl ListenerMetrics {
    /// A connection was accepted.
    pub fn accepted(&self) -> OpenConnection {
        self.accepted.increment(1);
        self.open.increment(1.0);
        OpenConnection(self.open.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Recorder;

    #[test]
    fn connections_are_open_until_their_token_is_dropped() {
        let recorder = Recorder::default();
        metrics::with_local_recorder(&recorder, || {
            let server = ServerMetrics::new();
            let listener = server.listener(&Listen::Unix("/x".into()));
            let first = listener.accepted();
            let _second = listener.accepted();
            drop(first);
            server.refused(Refused::Connections);
            server.handshake_ended(Handshake::Aborted, Duration::from_millis(3));
            server.set_io_threads("epoll", 2);
            let text = recorder.render();
            for line in [
                "nbdgate_server_connections{listener=\"unix:/x\"} 1",
                "nbdgate_server_connections_total{listener=\"unix:/x\"} 2",
                "nbdgate_server_refused_connections_total{reason=\"connections\"} 1",
                "nbdgate_server_handshakes_total{outcome=\"aborted\"} 1",
                "nbdgate_server_handshake_seconds_bucket{le=\"0.005\"} 1",
                "nbdgate_server_io_threads{engine=\"epoll\"} 2",
            ] {
                assert!(text.lines().any(|have| have == line), "{line} is missing in\n{text}");
            }
        });
    }
}
