//! The uploads of this process to one bucket: how many and how many bytes at once, and who goes first.
//!
//! Shared by all disks of the bucket, so that they find its limits together. What a client waits for goes before what
//! nobody waits for; within each kind the order is that of arrival. Nothing fails here, it only waits.
//! Manifests, fences, probes and proofs are few and small and are not counted.

use std::{
    collections::VecDeque,
    sync::{Arc, LazyLock, Weak},
};

use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};

use super::window::Window;
use crate::{
    Root,
    location::Bucket,
    observer::{Cause, UploadLevels},
};

/// Bytes of bodies on their way to one bucket; a single longer one goes alone.
pub(crate) const UPLOAD_BYTES: u64 = 256 << 20;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Traffic(Mutex<State>);

#[derive(Debug)]
struct State {
    window: Window,
    uploads: u32,
    bytes: u64,
    refusals: u64,
    /// The host's clock against the store's, as the last answer told it.
    clock_offset_ms: Option<i64>,
    urgent: VecDeque<Waiting>,
    patient: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    bytes: u64,
    go: oneshot::Sender<Permit>,
}

/// The right to have one upload under way.
#[derive(Debug)]
pub(super) struct Permit {
    traffic: Arc<Traffic>,
    bytes: u64,
}

/// Which bucket.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    Named(String),
    /// A store that the caller made, by its address. Whoever uses it keeps it alive.
    Given(usize),
}

/// Buckets and who uses them.
type Buckets = Vec<(Key, Weak<Traffic>)>;

/// Every bucket that is in use.
static ALL: LazyLock<Mutex<Buckets>> = LazyLock::new(Mutex::default);

impl Traffic {
    /// The traffic of the bucket of `root`, which others may share.
    pub(super) fn of(root: &Root) -> Arc<Self> {
        let key = match root.bucket() {
            Bucket::S3(bucket) => Key::Named(format!("s3://{bucket}")),
            Bucket::Gcs(bucket) => Key::Named(format!("gs://{bucket}")),
            Bucket::Azure(bucket) => Key::Named(format!("az://{bucket}")),
            Bucket::Dir(path) => Key::Named(format!("dir:{}", path.display())),
            Bucket::Given(store) => Key::Given(Arc::as_ptr(store).cast::<()>().addr()),
        };
        let mut all = ALL.lock();
        all.retain(|(_, traffic)| traffic.strong_count() > 0);
        if let Some(traffic) = all.iter().find(|(other, _)| *other == key).and_then(|(_, traffic)| traffic.upgrade()) {
            return traffic;
        }
        let traffic = Arc::new(Self::new(Instant::now()));
        all.push((key, Arc::downgrade(&traffic)));
        traffic
    }

    fn new(now: Instant) -> Self {
        Self(Mutex::new(State {
            window: Window::new(now),
            uploads: 0,
            bytes: 0,
            refusals: 0,
            clock_offset_ms: None,
            urgent: VecDeque::new(),
            patient: VecDeque::new(),
        }))
    }

    /// Waits for its turn. Dropped, it leaves the queue.
    pub(super) async fn enter(self: &Arc<Self>, cause: Cause, bytes: u64) -> Permit {
        let told = {
            let mut state = self.0.lock();
            let urgent = is_urgent(cause);
            let first = state.urgent.is_empty() && (urgent || state.patient.is_empty());
            if first && state.has_room(bytes, urgent, Instant::now()) {
                state.uploads += 1;
                state.bytes += bytes;
                return Permit { traffic: Arc::clone(self), bytes };
            }
            let (go, told) = oneshot::channel();
            let queue = if urgent { &mut state.urgent } else { &mut state.patient };
            queue.push_back(Waiting { bytes, go });
            told
        };
        told.await.expect("a queue is never dropped before those who wait in it")
    }

    /// The store refused a request because of its load (503, 429).
    pub(super) fn refused(&self) {
        let mut state = self.0.lock();
        state.refusals += 1;
        state.window.refused(Instant::now());
    }

    /// What an answer's `Date` said of the clocks.
    pub(super) fn clock_told(&self, offset_ms: i64) {
        self.0.lock().clock_offset_ms = Some(offset_ms);
    }

    /// How far this host's clock is ahead of the store's, if an answer told it.
    pub(crate) fn clock_offset_ms(&self) -> Option<i64> {
        self.0.lock().clock_offset_ms
    }

    /// Whether the store complained lately: garbage collection, read-ahead and scrub should wait.
    pub(crate) fn is_throttled(&self) -> bool {
        self.0.lock().window.is_throttled(Instant::now())
    }

    /// Where it stands.
    pub(super) fn levels(&self) -> UploadLevels {
        let mut state = self.0.lock();
        UploadLevels {
            limit: state.window.limit(Instant::now()),
            uploads: state.uploads,
            bytes: state.bytes,
            waiting: u32::try_from(state.urgent.len() + state.patient.len()).unwrap_or(u32::MAX),
            refusals: state.refusals,
        }
    }

    /// Lets in who now has room.
    fn admit(self: &Arc<Self>) {
        let mut ready = Vec::new();
        {
            let mut state = self.0.lock();
            let now = Instant::now();
            while let Some(waiting) = state.next(now) {
                state.uploads += 1;
                state.bytes += waiting.bytes;
                ready.push(waiting);
            }
        }
        // Without the lock: one who has gone gives his permit back at once.
        for Waiting { bytes, go } in ready {
            drop(go.send(Permit { traffic: Arc::clone(self), bytes }));
        }
    }
}

impl State {
    /// Who nobody waits for leaves half of the room to the others.
    fn has_room(&mut self, bytes: u64, urgent: bool, now: Instant) -> bool {
        let limit = self.window.limit(now);
        let limit = if urgent { limit } else { (limit / 2).max(1) };
        self.uploads == 0 || self.uploads < limit && self.bytes.saturating_add(bytes) <= UPLOAD_BYTES
    }

    fn next(&mut self, now: Instant) -> Option<Waiting> {
        if let Some(bytes) = self.urgent.front().map(|first| first.bytes) {
            return if self.has_room(bytes, true, now) { self.urgent.pop_front() } else { None };
        }
        let bytes = self.patient.front()?.bytes;
        if self.has_room(bytes, false, now) { self.patient.pop_front() } else { None }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        {
            let mut state = self.traffic.0.lock();
            state.uploads -= 1;
            state.bytes -= self.bytes;
        }
        self.traffic.admit();
    }
}

/// Whether the body of such a request is counted.
pub(super) fn is_bulk(cause: Cause) -> bool {
    match cause {
        Cause::Segment
        | Cause::Flush
        | Cause::Pack
        | Cause::Gc
        | Cause::Scrub
        | Cause::Transfer
        | Cause::Prefetch
        | Cause::Index
        | Cause::Data
        | Cause::Recovery => true,
        Cause::Manifest | Cause::Fence | Cause::Lease | Cause::Probe | Cause::Directory => false,
    }
}

/// Whether somebody waits for it.
fn is_urgent(cause: Cause) -> bool {
    !matches!(cause, Cause::Gc | Cause::Scrub | Cause::Prefetch)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::window::{FEWEST, MOST};

    fn traffic() -> Arc<Traffic> {
        Arc::new(Traffic::new(Instant::now()))
    }

    /// Enters `count` times, as far as there is room.
    async fn fill(traffic: &Arc<Traffic>, cause: Cause, count: u32) -> Vec<Permit> {
        let mut permits = Vec::new();
        for _ in 0..count {
            let entered = tokio::time::timeout(Duration::from_millis(1), traffic.enter(cause, 1)).await;
            permits.extend(entered);
        }
        permits
    }

    #[tokio::test(start_paused = true)]
    async fn uploads_stay_within_the_window_and_the_bytes() {
        let traffic = traffic();
        let permits = fill(&traffic, Cause::Segment, 2 * MOST).await;
        assert_eq!(permits.len(), MOST as usize);
        drop(permits);
        let one = traffic.enter(Cause::Segment, 2 * UPLOAD_BYTES).await;
        assert!(fill(&traffic, Cause::Segment, 1).await.is_empty(), "a huge one goes alone");
        drop(one);
        assert_eq!(traffic.levels(), UploadLevels { limit: MOST, ..UploadLevels::default() });
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_refusal_fewer_go_and_those_that_nobody_waits_for_go_last() {
        let traffic = traffic();
        for _ in 0..20 {
            traffic.refused();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        assert!(traffic.is_throttled());
        let mut permits = fill(&traffic, Cause::Segment, 10).await;
        assert_eq!(permits.len(), FEWEST as usize);
        let mut gc = Box::pin(traffic.enter(Cause::Gc, 1));
        let mut segment = Box::pin(traffic.enter(Cause::Segment, 1));
        let millisecond = Duration::from_millis(1);
        assert!(tokio::time::timeout(millisecond, &mut gc).await.is_err());
        assert!(tokio::time::timeout(millisecond, &mut segment).await.is_err());
        permits.pop();
        let segment = tokio::time::timeout(millisecond, segment).await.expect("a client waits for it");
        assert!(tokio::time::timeout(millisecond, &mut gc).await.is_err(), "half of the room is the clients'");
        drop((segment, permits));
        tokio::time::timeout(millisecond, gc).await.expect("there is room now");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_takes_no_room() {
        let traffic = traffic();
        let permits = fill(&traffic, Cause::Segment, MOST).await;
        assert!(fill(&traffic, Cause::Segment, 10).await.is_empty(), "there was no room");
        drop(permits);
        assert_eq!(fill(&traffic, Cause::Segment, 2 * MOST).await.len(), MOST as usize);
        assert_eq!(traffic.levels().uploads, 0);
    }

    #[test]
    fn disks_of_one_bucket_share_its_traffic() {
        let root = |text: &str| text.parse::<Root>().expect("a root");
        let one = Traffic::of(&root("s3://shared-by-this-test/a"));
        assert!(Arc::ptr_eq(&one, &Traffic::of(&root("s3://shared-by-this-test/b/c"))));
        assert!(!Arc::ptr_eq(&one, &Traffic::of(&root("s3://another-one/a"))));
    }
}
