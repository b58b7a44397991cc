//! One request: its time limit and its account.

use std::{future::Future, time::Duration};

use tokio::time::Instant;

use super::{Store, StoreError, side::Side};
use crate::observer::{Cause, Method, Outcome, Request};

/// What a request is, for its account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label {
    pub(super) method: Method,
    pub(super) cause: Cause,
    /// It repeats one that failed.
    pub(super) retry: bool,
    /// Body bytes sent.
    pub(super) sent: u64,
}

impl Label {
    pub(super) fn new(method: Method, cause: Cause, attempt: u32) -> Self {
        Self { method, cause, retry: attempt > 0, sent: 0 }
    }
}

/// The result of one put-if-absent. Only `Ok` says something certain (OBJECT-LOG §6.5).
#[derive(Debug)]
pub(super) enum Created {
    /// The object is ours.
    Ok,
    /// An object is there, perhaps ours; also a 409 while another request is under way.
    Exists,
    /// The outcome is unknown.
    Unclear(StoreError),
}

impl Store {
    /// Runs one request within `limit`, tells the observer, and draws from it what it says of the store.
    pub(super) async fn attempt<T>(
        &self,
        key: &str,
        label: Label,
        limit: Duration,
        received: impl Fn(&T) -> u64,
        request: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<T, Failed> {
        let account = Account { store: self, label, start: Instant::now(), ended: false };
        let result = match tokio::time::timeout(limit, request).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(object_store::Error::AlreadyExists { .. })) => Err(Failed::Exists),
            Ok(Err(error)) => Err(Failed::Other(StoreError::sort(self.name_of(key), error))),
            Err(_) => Err(Failed::Other(StoreError::Unavailable {
                key: self.name_of(key),
                why: format!("no answer within {} ms", limit.as_millis()),
            })),
        };
        let outcome = match &result {
            Ok(_) => Outcome::Ok,
            Err(Failed::Exists) => Outcome::Exists,
            Err(Failed::Other(StoreError::NotFound(_) | StoreError::NoBucket { .. })) => Outcome::NotFound,
            Err(Failed::Other(StoreError::Denied { .. })) => Outcome::Denied,
            Err(Failed::Other(_)) => Outcome::Failed,
        };
        let received = result.as_ref().map_or(0, received);
        self.learn(&self.side(key), account.start, &result);
        account.end(outcome, received);
        if let Err(Failed::Other(error)) = &result {
            tracing::debug!(method = label.method.as_str(), cause = label.cause.as_str(), %error, "object request failed");
        }
        result
    }
}

impl Store {
    /// Whether the store is up, whether it is asked too much, whether the credentials are still good.
    fn learn<T>(&self, side: &Side, start: Instant, result: &Result<T, Failed>) {
        let error = match result {
            Err(Failed::Other(StoreError::Unusable { .. })) => return,
            Ok(_) | Err(Failed::Exists | Failed::Other(StoreError::NotFound(_))) => {
                if let Some(down) = side.health.answered(Instant::now()) {
                    tracing::info!(store = side.label(), down_seconds = down.as_secs(), "the store answers again");
                    self.phases.recovered();
                }
                return;
            }
            Err(Failed::Other(error)) => error,
        };
        match error {
            StoreError::Denied { .. } => side.renew(),
            StoreError::Unavailable { why, .. } if is_throttle(why) => side.traffic.refused(),
            _ => {}
        }
        if side.health.failed(start, Instant::now()) {
            tracing::warn!(store = side.label(), %error, "the store does not answer; the disk is stalled until it does");
            self.phases.stalled();
        }
    }
}

/// A request under way. One that is dropped was sent all the same, and is told as cancelled.
struct Account<'a> {
    store: &'a Store,
    label: Label,
    start: Instant,
    ended: bool,
}

impl Account<'_> {
    fn end(mut self, outcome: Outcome, received: u64) {
        self.ended = true;
        self.tell(outcome, received);
    }

    fn tell(&self, outcome: Outcome, received: u64) {
        let Label { method, cause, retry, sent } = self.label;
        let duration = self.start.elapsed();
        self.store.observer.request(&Request { method, cause, outcome, sent, received, duration, retry });
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(Outcome::Cancelled, 0);
        }
    }
}

/// Whether a store refused a request because of its load; for stores whose answers are not seen on the wire.
fn is_throttle(why: &str) -> bool {
    ["503", "429", "SlowDown", "ServerBusy", "TooManyRequests"].iter().any(|word| why.contains(word))
}

/// Why one request failed.
#[derive(Debug)]
pub(super) enum Failed {
    Exists,
    Other(StoreError),
}

impl Failed {
    /// For requests that cannot find an object in their way.
    pub(super) fn into_error(self, key: String) -> StoreError {
        match self {
            Self::Other(error) => error,
            Self::Exists => StoreError::Unavailable { key, why: "unexpected conflict".to_owned() },
        }
    }
}
