//! How long a caller goes on asking the store.

use std::time::Duration;

use tokio::time::Instant;

/// The pause between two attempts while the store refuses the credentials (OBJECT-LOG §6.5 rule 3).
const DENIED_PAUSE: Duration = Duration::from_secs(5);

/// When to give up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    until: Option<Instant>,
    denied_is_final: bool,
}

impl Patience {
    /// A person waits for an answer: refused credentials are final, everything else is tried for `time`.
    pub(crate) fn asking(time: Duration) -> Self {
        Self { until: Some(Instant::now() + time), denied_is_final: true }
    }

    /// A client waits for a read: everything is tried until `until`.
    pub(crate) fn serving(until: Instant) -> Self {
        Self { until: Some(until), denied_is_final: false }
    }

    /// Acknowledged bytes wait to be stored: for ever.
    pub(crate) fn endless() -> Self {
        Self { until: None, denied_is_final: false }
    }

    /// The longest that one attempt may take, given what it would take by itself.
    pub(super) fn attempt(&self, usual: Duration) -> Duration {
        self.until.map_or(usual, |until| usual.min(until.saturating_duration_since(Instant::now())))
    }

    /// Waits before the next attempt. `false` if it is time to give up.
    pub(super) async fn wait(&self, pause: Duration, denied: bool) -> bool {
        if denied && self.denied_is_final {
            return false;
        }
        let pause = if denied { pause.max(DENIED_PAUSE) } else { pause };
        let next = Instant::now() + pause;
        if self.until.is_some_and(|until| next >= until) {
            return false;
        }
        tokio::time::sleep_until(next).await;
        true
    }
}
