//! The object log of one export: its requests to the store, and how far the store is behind.

use super::family::Family;

const REQUESTS: Family = Family::counter(
    "nbdgate_object_requests_total",
    &["export", "method", "cause", "outcome"],
    "requests",
    "Requests to the object store that ended.",
);
const RETRIES: Family = Family::counter(
    "nbdgate_object_retries_total",
    &["export", "method", "cause"],
    "requests",
    "Requests to the object store that repeat a failed one.",
);
const BYTES: Family = Family::counter(
    "nbdgate_object_bytes_total",
    &["export", "direction", "cause"],
    "bytes",
    "Bytes of object bodies moved to and from the store.",
);
const REQUEST_SECONDS: Family = Family::histogram(
    "nbdgate_object_request_seconds",
    &["export", "method", "cause"],
    "Time from a request to the object store being sent to its end.",
);
const DIRTY: Family = Family::gauge(
    "nbdgate_object_dirty_bytes",
    &["export"],
    "bytes",
    "Bytes of writes that were admitted and are not yet committed to the store.",
);
const UPLOADS: Family = Family::gauge(
    "nbdgate_object_uploads_in_flight",
    &["export"],
    "segments",
    "Segments of the log on their way to the store.",
);
const LAG: Family = Family::gauge(
    "nbdgate_object_commit_lag_seconds",
    &["export"],
    "seconds",
    "Age of the oldest write that is not yet committed to the store, 0 if there is none.",
);
const WAITING: Family = Family::gauge(
    "nbdgate_object_waiting_writes",
    &["export"],
    "requests",
    "Writes that wait for room in the dirty budget.",
);

pub(super) const FAMILIES: &[Family] = &[REQUESTS, RETRIES, BYTES, REQUEST_SECONDS, DIRTY, UPLOADS, LAG, WAITING];

#[cfg(feature = "object-log")]
pub use handles::ObjectMetrics;

#[cfg(feature = "object-log")]
mod handles {
    use std::{array, fmt, sync::OnceLock};

    use metrics::{Counter, Gauge, Histogram};
    use nbdgate_s3::{Cause, Levels, Method, Observer, Outcome, Request};

    use super::{BYTES, DIRTY, LAG, REQUEST_SECONDS, REQUESTS, RETRIES, UPLOADS, WAITING};

    const METHODS: usize = Method::ALL.len();
    const CAUSES: usize = Cause::ALL.len();
    const OUTCOMES: usize = Outcome::ALL.len();

    /// The handles of one disk in the object log. Those of its levels are registered at once; those of its requests
    /// with the first of their kind, because few of the combinations ever happen.
    pub struct ObjectMetrics {
        export: String,
        requests: [[Requests; CAUSES]; METHODS],
        sent: [OnceLock<Counter>; CAUSES],
        received: [OnceLock<Counter>; CAUSES],
        dirty: Gauge,
        uploads: Gauge,
        lag: Gauge,
        waiting: Gauge,
    }

    #[derive(Default)]
    struct Requests {
        ended: [OnceLock<Counter>; OUTCOMES],
        retries: OnceLock<Counter>,
        seconds: OnceLock<Histogram>,
    }

    impl ObjectMetrics {
        /// Registers the handles of the levels.
        pub fn new(export: &str) -> Self {
            let name = &[export];
            Self {
                export: export.to_owned(),
                requests: array::from_fn(|_| array::from_fn(|_| Requests::default())),
                sent: array::from_fn(|_| OnceLock::new()),
                received: array::from_fn(|_| OnceLock::new()),
                dirty: DIRTY.gauge_of(name),
                uploads: UPLOADS.gauge_of(name),
                lag: LAG.gauge_of(name),
                waiting: WAITING.gauge_of(name),
            }
        }

        fn bytes(&self, slot: &OnceLock<Counter>, direction: &str, cause: Cause, bytes: u64) {
            if bytes > 0 {
                let register = || BYTES.counter_of(&[self.export.as_str(), direction, cause.as_str()]);
                slot.get_or_init(register).increment(bytes);
            }
        }
    }

    impl Observer for ObjectMetrics {
        fn request(&self, request: &Request) {
            let Request { method, cause, outcome, .. } = *request;
            let (export, what, why) = (self.export.as_str(), method.as_str(), cause.as_str());
            let handles = &self.requests[method as usize][cause as usize];
            let ended = || REQUESTS.counter_of(&[export, what, why, outcome.as_str()]);
            handles.ended[outcome as usize].get_or_init(ended).increment(1);
            let seconds = || REQUEST_SECONDS.histogram_of(&[export, what, why]);
            handles.seconds.get_or_init(seconds).record(request.duration);
            if request.retry {
                handles.retries.get_or_init(|| RETRIES.counter_of(&[export, what, why])).increment(1);
            }
            self.bytes(&self.sent[cause as usize], "up", cause, request.sent);
            self.bytes(&self.received[cause as usize], "down", cause, request.received);
        }

        fn levels(&self, levels: &Levels) {
            self.dirty.set(levels.dirty_bytes as f64);
            self.uploads.set(levels.uploads);
            self.lag.set(levels.commit_lag_ms as f64 / 1000.0);
            self.waiting.set(levels.waiting);
        }
    }

    impl fmt::Debug for ObjectMetrics {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("ObjectMetrics").field("export", &self.export).finish_non_exhaustive()
        }
    }

    #[cfg(test)]
    mod tests {
        use std::time::Duration;

        use super::*;
        use crate::metrics::Recorder;

        #[test]
        fn requests_and_levels_of_a_disk_are_told() {
            let recorder = Recorder::default();
            metrics::with_local_recorder(&recorder, || {
                let metrics = ObjectMetrics::new("vm");
                let request = Request {
                    method: Method::Put,
                    cause: Cause::Segment,
                    outcome: Outcome::Failed,
                    sent: 100,
                    received: 0,
                    duration: Duration::from_millis(40),
                    retry: false,
                };
                metrics.request(&request);
                metrics.request(&Request { outcome: Outcome::Ok, retry: true, ..request });
                metrics.levels(&Levels { dirty_bytes: 7, uploads: 2, commit_lag_ms: 1500, waiting: 3 });
            });
            let text = recorder.render();
            let put = "export=\"vm\",method=\"put\",cause=\"segment\"";
            for line in [
                format!("nbdgate_object_requests_total{{{put},outcome=\"failed\"}} 1"),
                format!("nbdgate_object_requests_total{{{put},outcome=\"ok\"}} 1"),
                format!("nbdgate_object_retries_total{{{put}}} 1"),
                format!("nbdgate_object_request_seconds_count{{{put}}} 2"),
                "nbdgate_object_bytes_total{export=\"vm\",direction=\"up\",cause=\"segment\"} 200".to_owned(),
                "nbdgate_object_dirty_bytes{export=\"vm\"} 7".to_owned(),
                "nbdgate_object_uploads_in_flight{export=\"vm\"} 2".to_owned(),
                "nbdgate_object_commit_lag_seconds{export=\"vm\"} 1.5".to_owned(),
                "nbdgate_object_waiting_writes{export=\"vm\"} 3".to_owned(),
            ] {
                assert!(text.lines().any(|have| have == line), "{line} is missing in\n{text}");
            }
            assert!(!text.contains("down"), "nothing was received");
        }

        #[test]
        fn values_of_labels_are_numbered_in_their_order() {
            assert!(Method::ALL.iter().enumerate().all(|(index, value)| *value as usize == index));
            assert!(Cause::ALL.iter().enumerate().all(|(index, value)| *value as usize == index));
            assert!(Outcome::ALL.iter().enumerate().all(|(index, value)| *value as usize == index));
        }

        #[test]
        fn the_document_tells_of_every_value() {
            let document = include_str!("../../docs/METRICS.md");
            let values = Method::ALL.iter().map(|value| value.as_str());
            let values = values.chain(Cause::ALL.iter().map(|value| value.as_str()));
            for value in values.chain(Outcome::ALL.iter().map(|value| value.as_str())) {
                assert!(document.contains(&format!("`{value}`")), "docs/METRICS.md does not tell of {value}");
            }
        }
    }
}
