//! The store as the object log uses it: put-if-absent, get, list, delete, below one prefix.
//!
//! Adds to `object_store` what the protocol needs and that crate cannot know: deadlines, backoff with jitter,
//! reading back after an unclear outcome (`place`), and an account of every request.

pub(crate) mod attempt;
pub(crate) mod connect;
pub(crate) mod error;
pub(crate) mod hedge;
pub(crate) mod list;
pub(crate) mod patience;
pub(crate) mod place;
pub(crate) mod read;

use std::{fmt, sync::Arc, time::Duration};

use object_store::{ObjectStore, path::Path};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};

pub(crate) use error::StoreError;
pub(crate) use patience::Patience;
pub(crate) use place::Placed;

use crate::{Location, Root, Tuning, observer::Observer};

/// Bytes per second below which a line counts as dead.
const SLOWEST: u64 = 256 << 10;

/// One prefix of one bucket.
pub(crate) struct Store {
    inner: Arc<dyn ObjectStore>,
    prefix: Path,
    label: String,
    observer: Arc<dyn Observer>,
    attempt_timeout: Duration,
    backoff: (Duration, Duration),
    jitter: Mutex<StdRng>,
}

impl Store {
    /// Connects to the bucket of `root`; nothing is sent yet.
    pub(crate) fn new(
        root: &Root,
        tuning: &Tuning,
        observer: Arc<dyn Observer>,
    ) -> Result<Arc<Self>, nbdgate_api::Error> {
        Ok(Arc::new(Self {
            inner: connect::connect(root)?,
            prefix: root.prefix(),
            label: root.to_string(),
            observer,
            attempt_timeout: tuning.attempt_timeout,
            backoff: tuning.backoff,
            jitter: Mutex::new(tuning.seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64)),
        }))
    }

    /// The store of a disk.
    pub(crate) fn of(
        location: &Location,
        tuning: &Tuning,
        observer: Arc<dyn Observer>,
    ) -> Result<Arc<Self>, nbdgate_api::Error> {
        Self::new(location.root(), tuning, observer)
    }

    /// The root, for messages; without secrets.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// An object's full name, for messages.
    pub(crate) fn name_of(&self, key: &str) -> String {
        format!("{}/{key}", self.label)
    }

    /// 64 random bits: nonces of writers, names of probes.
    pub(crate) fn random(&self) -> u64 {
        self.jitter.lock().random()
    }

    /// The pause before attempt number `attempt` (from 1): doubling, with up to half of it taken off by chance.
    pub(crate) fn pause(&self, attempt: u32) -> Duration {
        let (first, longest) = self.backoff;
        let full = first.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(longest);
        full.mul_f64(self.jitter.lock().random_range(0.5..=1.0))
    }

    /// The longest that a request with a body of `bytes` may take.
    fn time_for(&self, bytes: u64) -> Duration {
        self.attempt_timeout + Duration::from_millis(bytes.saturating_mul(1000) / SLOWEST)
    }

    fn path(&self, key: &str) -> Path {
        self.prefix.parts().chain(Path::from(key).parts()).collect()
    }

    /// The key of a listed path; `None` if it is not below the prefix.
    fn key(&self, path: &Path) -> Option<String> {
        let mut parts = path.prefix_match(&self.prefix)?.map(|part| part.as_ref().to_owned());
        let first = parts.next()?;
        Some(parts.fold(first, |key, part| key + "/" + &part))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("label", &self.label).finish_non_exhaustive()
    }
}
