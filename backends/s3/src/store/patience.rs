//! How long a caller goes on asking the store.

use std::time::Duration;

use tokio::time::Instant;

use super::StoreError;

/// The pause between two attempts while the store refuses the credentials (OBJECT-LOG §6.5 rule 3).
const DENIED_PAUSE: Duration = Duration::from_secs(5);

/// An attempt is not cut shorter than this by what comes after it.
const SHORTEST: Duration = Duration::from_secs(2);

/// When to give up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    until: Option<Instant>,
    /// How long a person waits for the answer to one request of many.
    time: Option<Duration>,
    denied_is_final: bool,
}

impl Patience {
    /// A person waits for an answer: refused credentials are final, everything else is tried for `time`.
    pub(crate) fn asking(time: Duration) -> Self {
        Self { until: Some(Instant::now() + time), time: Some(time), denied_is_final: true }
    }

    /// A client waits for a read: everything is tried until `until`.
    pub(crate) fn serving(until: Instant) -> Self {
        Self { until: Some(until), time: None, denied_is_final: false }
    }

    /// Acknowledged bytes wait to be stored: for ever.
    pub(crate) fn endless() -> Self {
        Self { until: None, time: None, denied_is_final: false }
    }

    /// The longest that one attempt may take, given what it would take by itself. At most half of the time that is left:
    /// a connection that hangs must not use up the time in which another would answer.
    pub(super) fn attempt(&self, usual: Duration) -> Duration {
        self.until.map_or(usual, |until| {
            let left = until.saturating_duration_since(Instant::now());
            usual.min((left / 2).max(SHORTEST).min(left))
        })
    }

    /// The same for the next of many requests. A store that answers is not given up because there is much to ask; the
    /// deadline of a read is one for all that the read asks.
    #[must_use]
    pub(crate) fn renewed(&self) -> Self {
        self.time.map_or(*self, Self::asking)
    }

    /// Whether it ends at all.
    pub(super) fn is_bounded(&self) -> bool {
        self.until.is_some()
    }

    /// Whether to give up on an error that another attempt would most likely meet again. Not while acknowledged bytes
    /// depend on it: a bucket may come back, a proxy in the way may be mended, credentials may be replaced.
    pub(super) fn ends_with(&self, error: &StoreError) -> bool {
        self.is_bounded() && matches!(error, StoreError::Unusable { .. } | StoreError::NoBucket { .. })
            || self.denied_is_final && matches!(error, StoreError::Denied { .. })
    }

    /// Waits before the next attempt, longer if someone has to do something first. `false` if it is time to give up.
    pub(super) async fn wait(&self, pause: Duration, lasting: bool) -> bool {
        let pause = if lasting { pause.max(DENIED_PAUSE) } else { pause };
        let next = Instant::now() + pause;
        if self.until.is_some_and(|until| next >= until) {
            return false;
        }
        tokio::time::sleep_until(next).await;
        true
    }
}
