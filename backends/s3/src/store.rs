//! The store as the object log uses it: put-if-absent, get, list, delete, below one prefix.
//!
//! Adds to `object_store` what the protocol needs and that crate cannot know: deadlines, backoff with jitter,
//! reading back after an unclear outcome (`place`), an account of every request, and a limit for uploads that follows
//! what the bucket takes.
//!
//! A disk's log may live in a bucket of its own ([`Store::route_log`]). Whoever asks for an object need not know: the
//! name says where it is.

pub(crate) mod attempt;
pub(crate) mod connect;
mod date;
pub(crate) mod error;
mod health;
pub(crate) mod hedge;
pub(crate) mod list;
pub(crate) mod patience;
pub(crate) mod place;
pub(crate) mod read;
pub(crate) mod side;
pub(crate) mod traffic;
pub(crate) mod window;
mod wire;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};
use rand::{Rng, SeedableRng, rngs::StdRng};

pub(crate) use error::StoreError;
pub(crate) use patience::Patience;
pub(crate) use place::Placed;

use self::side::Side;
use crate::{
    Location, Root, Tuning,
    format::{Sealing, VolumeId},
    observer::Observer,
    ownership::phase::Phases,
};

/// Bytes per second below which a line counts as dead.
const SLOWEST: u64 = 256 << 10;

/// What a disk is stored in: one prefix of one bucket, for its log perhaps another, and how its objects are sealed: whoever
/// reads or builds an object has the store at hand, so nobody can forget the keys.
pub(crate) struct Store {
    data: Arc<Side>,
    /// Where the logs of volumes are that are not beside the rest, by `v/<volume>`.
    logs: RwLock<HashMap<String, Arc<Side>>>,
    phases: Phases,
    observer: Arc<dyn Observer>,
    attempt_timeout: Duration,
    backoff: (Duration, Duration),
    jitter: Mutex<StdRng>,
    sealing: RwLock<Sealing>,
}

impl Store {
    /// Connects to the bucket of `root`; nothing is sent yet.
    pub(crate) fn new(
        root: &Root,
        tuning: &Tuning,
        observer: Arc<dyn Observer>,
    ) -> Result<Arc<Self>, nbdgate_api::Error> {
        Ok(Arc::new(Self {
            data: Side::new(root)?,
            logs: RwLock::default(),
            phases: Phases::new(Arc::clone(&observer)),
            observer,
            attempt_timeout: tuning.attempt_timeout,
            backoff: tuning.backoff,
            jitter: Mutex::new(tuning.seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64)),
            sealing: RwLock::default(),
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

    /// From here on the log segments and fences of `volumes` are in `root`, a text that a manifest records.
    ///
    /// # Errors
    /// The text names no root that this host can use.
    pub(crate) fn route_log(
        &self,
        volumes: impl Iterator<Item = VolumeId>,
        root: &str,
    ) -> Result<(), nbdgate_api::Error> {
        let root = self.data.root().log_root(root)?;
        let mut side = None;
        for volume in volumes {
            let mut logs = self.logs.write();
            let std::collections::hash_map::Entry::Vacant(entry) = logs.entry(format!("v/{volume}")) else { continue };
            let side = match &side {
                Some(side) => side,
                None => side.insert(Side::new(&root)?),
            };
            entry.insert(Arc::clone(side));
        }
        Ok(())
    }

    /// Whether the log of `volume` is in a bucket of its own.
    pub(crate) fn has_log_store(&self, volume: VolumeId) -> bool {
        self.logs.read().contains_key(&format!("v/{volume}"))
    }

    /// The bucket of an object or of a directory of them.
    fn side(&self, key: &str) -> Arc<Side> {
        let logs = self.logs.read();
        if !logs.is_empty()
            && let Some((volume, rest)) = key.match_indices('/').nth(1).map(|(at, _)| key.split_at(at))
            && (rest == "/l" || rest.starts_with("/l/"))
            && let Some(side) = logs.get(volume)
        {
            return Arc::clone(side);
        }
        Arc::clone(&self.data)
    }

    /// The buckets that hold what is below `prefix`: both, if it is all of a volume.
    fn sides(&self, prefix: &str) -> Vec<Arc<Side>> {
        let mut sides = vec![self.side(prefix)];
        sides.extend(self.logs.read().get(prefix).map(Arc::clone));
        sides
    }

    /// Whether a bucket of this disk complained of its load lately: whoever can wait should.
    pub(crate) fn is_throttled(&self) -> bool {
        self.data.traffic.is_throttled() || self.logs.read().values().any(|side| side.traffic.is_throttled())
    }

    /// How far this host's clock is ahead of the store's, in milliseconds, if an answer told it.
    pub(crate) fn clock_offset_ms(&self) -> Option<i64> {
        self.data.traffic.clock_offset_ms()
    }

    /// What the observer is told of the disk's state.
    pub(crate) fn phases(&self) -> &Phases {
        &self.phases
    }

    /// The observer.
    pub(crate) fn observer(&self) -> &dyn Observer {
        &*self.observer
    }

    /// The root, for messages; without secrets.
    pub(crate) fn label(&self) -> &str {
        self.data.label()
    }

    /// An object's full name, for messages.
    pub(crate) fn name_of(&self, key: &str) -> String {
        format!("{}/{key}", self.side(key).label())
    }

    /// How objects of the disk are sealed: in clear until [`unlock`](Self::unlock).
    pub(crate) fn sealing(&self) -> Sealing {
        self.sealing.read().clone()
    }

    /// From here on objects are sealed so.
    pub(crate) fn unlock(&self, sealing: Sealing) {
        *self.sealing.write() = sealing;
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
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("label", &self.label()).finish_non_exhaustive()
    }
}
