//! An object store that fails by seed: over the memory store, whose conditions are correct, applied at the moment
//! the request is applied. A request in flight is not undone when its sender dies.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::mutants::{self, Instead, Mutant};

/// Chances in a thousand, per request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// 503 before anything happens.
    pub(crate) busy: u32,
    /// No answer and no effect.
    pub(crate) lost: u32,
    /// Effect, but no answer.
    pub(crate) reply_lost: u32,
    /// No answer in time, and the effect comes later, perhaps after the sender retried or died.
    pub(crate) late: u32,
    /// A 409 without an object.
    pub(crate) conflict: u32,
    /// A body that ends early.
    pub(crate) cut: u32,
    /// A body with a flipped bit.
    pub(crate) corrupt: u32,
    /// The start of a time in which the store refuses all requests.
    pub(crate) denied: u32,
    /// The bucket is not there.
    pub(crate) gone: u32,
}

impl Faults {
    /// A bad day.
    pub(crate) fn storm() -> Self {
        Self { busy: 60, lost: 15, reply_lost: 40, late: 40, conflict: 20, cut: 20, corrupt: 10, denied: 3, gone: 0 }
    }
}

/// The bucket that all clients share.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) inner: InMemory,
    random: Mutex<StdRng>,
    /// Every object put, to see that no name is used for two contents.
    contents: Mutex<BTreeMap<String, Bytes>>,
    /// A mistake in the protocol of everyone who uses it.
    mutant: Option<Mutant>,
}

/// One client's way to the bucket.
pub(crate) struct SimStore {
    bucket: Arc<Bucket>,
    faults: Mutex<Faults>,
    calls: AtomicU64,
    crash_at: AtomicU64,
    dead: AtomicBool,
    denied_until: Mutex<Option<tokio::time::Instant>>,
    pub(crate) counts: Counts,
}

/// Requests by kind.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) puts: AtomicU64,
    pub(crate) gets: AtomicU64,
    pub(crate) lists: AtomicU64,
    pub(crate) deletes: AtomicU64,
    /// GETs under way, and the most that ever were.
    pub(crate) gets_now: AtomicU64,
    pub(crate) gets_most: AtomicU64,
}

impl Counts {
    pub(crate) fn total(&self) -> u64 {
        [&self.puts, &self.gets, &self.lists, &self.deletes].iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl Bucket {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Self::mutated(seed, None)
    }

    /// A bucket whose users make a mistake.
    pub(crate) fn mutated(seed: u64, mutant: Option<Mutant>) -> Arc<Self> {
        Arc::new(Self {
            inner: InMemory::new(),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            contents: Mutex::default(),
            mutant,
        })
    }

    /// A way to the bucket for a new client.
    pub(crate) fn client(self: &Arc<Self>, faults: Faults) -> Arc<SimStore> {
        Arc::new(SimStore {
            bucket: Arc::clone(self),
            faults: Mutex::new(faults),
            calls: AtomicU64::new(0),
            crash_at: AtomicU64::new(u64::MAX),
            dead: AtomicBool::new(false),
            denied_until: Mutex::default(),
            counts: Counts::default(),
        })
    }

    /// All names, sorted.
    pub(crate) async fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.inner.list(None).map(|meta| meta.unwrap().location.to_string()).collect().await;
        names.sort();
        names
    }

    /// Another bucket that holds the same now.
    pub(crate) fn fork(&self) -> Arc<Self> {
        let seed = self.random.lock().unwrap().random();
        Arc::new(Self {
            inner: self.inner.fork(),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            contents: Mutex::new(self.contents.lock().unwrap().clone()),
            mutant: self.mutant,
        })
    }

    /// Removes an object, as only an operator or a loss can; the name may be used once more.
    pub(crate) async fn lose(&self, name: &str) {
        self.inner.delete(&Path::from(name)).await.unwrap();
        self.contents.lock().unwrap().remove(name);
    }

    /// All objects as they are.
    pub(crate) async fn objects(&self) -> Vec<(String, Bytes)> {
        let mut objects = Vec::new();
        for name in self.names().await {
            let bytes = self.inner.get(&Path::from(name.as_str())).await.unwrap().bytes().await.unwrap();
            objects.push((name, bytes));
        }
        objects
    }

    /// Replaces an object, as only damage can.
    pub(crate) async fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = Path::from(name);
        let mut bytes = self.inner.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
        change(&mut bytes);
        self.inner.put(&path, bytes.into()).await.unwrap();
    }
}

impl SimStore {
    /// From the n-th request on nothing is answered any more.
    pub(crate) fn crash_at(&self, call: u64) {
        self.crash_at.store(call, Ordering::Relaxed);
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }

    /// Whether the crash has come.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    fn chance(&self, pick: impl Fn(&Faults) -> u32) -> bool {
        let chance = pick(&self.faults.lock().unwrap());
        chance > 0 && self.bucket.random.lock().unwrap().random_range(0..1000) < chance
    }

    fn millis(&self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.bucket.random.lock().unwrap().random_range(range))
    }

    /// The way to the bucket: it takes time, and may end in a wall.
    async fn travel(&self) -> Result<()> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if call >= self.crash_at.load(Ordering::Relaxed) {
            self.dead.store(true, Ordering::Relaxed);
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
        let time = if self.chance(|_| 20) { 50..400 } else { 1..20 };
        tokio::time::sleep(self.millis(time)).await;
        if self.chance(|faults| faults.denied) {
            *self.denied_until.lock().unwrap() = Some(tokio::time::Instant::now() + self.millis(100..8000));
        }
        if self.denied_until.lock().unwrap().is_some_and(|until| tokio::time::Instant::now() < until) {
            return Err(Error::PermissionDenied { path: "sim".into(), source: "403 by the simulator".into() });
        }
        if self.chance(|faults| faults.busy) {
            return Err(generic("503 by the simulator"));
        }
        if self.chance(|faults| faults.gone) {
            return Err(generic("404 NoSuchBucket by the simulator"));
        }
        if self.chance(|faults| faults.lost) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

fn generic(text: &str) -> Error {
    Error::Generic { store: "simulator", source: text.to_owned().into() }
}

#[async_trait::async_trait]
impl ObjectStore for SimStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.counts.puts.fetch_add(1, Ordering::Relaxed);
        self.travel().await?;
        if self.chance(|faults| faults.conflict) {
            return Err(Error::AlreadyExists { path: location.to_string(), source: "409 by the simulator".into() });
        }
        let bytes = Bytes::from(payload.iter().flat_map(|chunk| chunk.iter().copied()).collect::<Vec<u8>>());
        let known = self.bucket.contents.lock().unwrap().insert(location.to_string(), bytes.clone());
        let fence_or_race = |bytes: &[u8]| bytes.get(4) == Some(&b'F') || !bytes.starts_with(b"OLV1");
        if let Some(known) = known
            && !location.as_ref().contains("/m/")
            && !location.as_ref().contains("/snap/")
            && !fence_or_race(&known)
            && !fence_or_race(&bytes)
        {
            assert_eq!(known, bytes, "{location} was put with two contents");
        }
        let instead = self.bucket.mutant.and_then(|mutant| mutants::put(mutant, location, &bytes));
        if instead == Some(Instead::Nothing) {
            return Ok(mutants::stored());
        }
        let later = instead == Some(Instead::Later) && self.bucket.random.lock().unwrap().random_bool(0.5);
        if later || self.chance(|faults| faults.late) {
            let (bucket, location, delay) = (Arc::clone(&self.bucket), location.clone(), self.millis(10..60_000));
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                // Nobody hears how it ended.
                let _ = bucket.inner.put_opts(&location, payload, options).await;
            });
            return if later { Ok(mutants::stored()) } else { Err(generic("timeout by the simulator, applied later")) };
        }
        // Applied whether or not the sender still lives.
        let (bucket, path) = (Arc::clone(&self.bucket), location.clone());
        let applied = tokio::spawn(async move { bucket.inner.put_opts(&path, payload, options).await });
        let result = applied.await.expect("the memory store does not panic");
        if let (Some(Instead::Forgetting(what)), Ok(_)) = (instead, &result) {
            mutants::forget(&self.bucket, what, location).await;
        }
        if self.chance(|faults| faults.reply_lost) {
            return Err(generic("reset by the simulator, applied"));
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
        result
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.counts.gets.fetch_add(1, Ordering::Relaxed);
        let now = self.counts.gets_now.fetch_add(1, Ordering::Relaxed) + 1;
        self.counts.gets_most.fetch_max(now, Ordering::Relaxed);
        let travelled = self.travel().await;
        self.counts.gets_now.fetch_sub(1, Ordering::Relaxed);
        travelled?;
        let mut result = self.bucket.inner.get_opts(location, options).await?;
        let (cut, corrupt) = (self.chance(|faults| faults.cut), self.chance(|faults| faults.corrupt));
        if cut || corrupt {
            let (meta, range) = (result.meta.clone(), result.range.clone());
            let (attributes, extensions) = (result.attributes.clone(), result.extensions.clone());
            let mut bytes = result.bytes().await?.to_vec();
            if cut {
                bytes.truncate(bytes.len() / 2);
            } else if let Some(byte) = bytes.last_mut() {
                *byte ^= 1;
            }
            let body = stream::once(async move { Ok(Bytes::from(bytes)) }).boxed();
            result = GetResult { payload: GetResultPayload::Stream(body), meta, range, attributes, extensions };
        }
        Ok(result)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counts.lists.fetch_add(1, Ordering::Relaxed);
        if self.is_dead() {
            return stream::pending().boxed();
        }
        if self.chance(|faults| faults.busy) {
            return stream::once(async { Err(generic("503 by the simulator")) }).boxed();
        }
        let delay = self.millis(1..20);
        let (bucket, prefix) = (Arc::clone(&self.bucket), prefix.cloned());
        stream::once(async move {
            tokio::time::sleep(delay).await;
            bucket.inner.list(prefix.as_ref()).collect::<Vec<_>>().await
        })
        .flat_map(stream::iter)
        .boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.bucket.mutant == Some(Mutant::NoListAfterCreate) {
            return stream::empty().boxed();
        }
        let offset = offset.clone();
        let behind = move |found: &Result<ObjectMeta>| found.as_ref().map_or(true, |meta| meta.location > offset);
        self.list(prefix).filter(move |found| std::future::ready(behind(found))).boxed()
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.counts.deletes.fetch_add(1, Ordering::Relaxed);
        if self.is_dead() {
            return stream::pending().boxed();
        }
        if self.chance(|faults| faults.busy) {
            return stream::once(async { Err(generic("503 by the simulator")) }).boxed();
        }
        let delay = self.millis(1..20);
        let bucket = Arc::clone(&self.bucket);
        stream::once(async move {
            tokio::time::sleep(delay).await;
            bucket.inner.delete_stream(locations)
        })
        .flatten()
        .boxed()
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("the object log puts whole objects")
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.counts.lists.fetch_add(1, Ordering::Relaxed);
        self.travel().await?;
        self.bucket.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("the object log copies nothing")
    }
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulator")
    }
}

impl fmt::Display for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sim:")
    }
}
