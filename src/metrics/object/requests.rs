//! Requests to the store: how many, why, how they ended, what they moved; and those sent twice.

use std::{array, sync::OnceLock};

use metrics::{Counter, Histogram};
use nbdgate_s3::{Cause, Method, Outcome, Request};

use crate::metrics::family::Family;

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
const HEDGES: Family = Family::counter(
    "nbdgate_object_hedges_total",
    &["export"],
    "requests",
    "GETs that were sent a second time because their answer was late.",
);
const HEDGES_WON: Family = Family::counter(
    "nbdgate_object_hedges_won_total",
    &["export"],
    "requests",
    "GETs sent a second time of which the second was answered first.",
);

pub(super) const FAMILIES: &[Family] = &[REQUESTS, RETRIES, BYTES, REQUEST_SECONDS, HEDGES, HEDGES_WON];

const METHODS: usize = Method::ALL.len();
const CAUSES: usize = Cause::ALL.len();
const OUTCOMES: usize = Outcome::ALL.len();

/// The handles of the requests for one disk, registered with the first of their kind, because few of the combinations
/// ever happen.
#[derive(Debug)]
pub(super) struct Requests {
    export: String,
    kinds: [[Kind; CAUSES]; METHODS],
    sent: [OnceLock<Counter>; CAUSES],
    received: [OnceLock<Counter>; CAUSES],
    hedges: Counter,
    hedges_won: Counter,
}

/// Requests of one method for one cause.
#[derive(Debug, Default)]
struct Kind {
    ended: [OnceLock<Counter>; OUTCOMES],
    retries: OnceLock<Counter>,
    seconds: OnceLock<Histogram>,
}

impl Requests {
    pub(super) fn new(export: &str) -> Self {
        Self {
            export: export.to_owned(),
            kinds: array::from_fn(|_| array::from_fn(|_| Kind::default())),
            sent: array::from_fn(|_| OnceLock::new()),
            received: array::from_fn(|_| OnceLock::new()),
            hedges: HEDGES.counter_of(&[export]),
            hedges_won: HEDGES_WON.counter_of(&[export]),
        }
    }

    pub(super) fn ended(&self, request: &Request) {
        let Request { method, cause, outcome, .. } = *request;
        let (export, what, why) = (self.export.as_str(), method.as_str(), cause.as_str());
        let handles = &self.kinds[method as usize][cause as usize];
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

    fn bytes(&self, slot: &OnceLock<Counter>, direction: &str, cause: Cause, bytes: u64) {
        if bytes > 0 {
            let register = || BYTES.counter_of(&[self.export.as_str(), direction, cause.as_str()]);
            slot.get_or_init(register).increment(bytes);
        }
    }

    pub(super) fn hedged(&self, won: bool) {
        self.hedges.increment(1);
        self.hedges_won.increment(u64::from(won));
    }
}
