//! The capability probe against stores that keep the condition, ignore it, or race.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::stream::BoxStream;
use nbdgate_api::Kind;
use nbdgate_s3::{Fencing, Location, OpenOptions};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};

use crate::{
    ask::{flush, write},
    setup::{BLOCK, at, create, create_unleased, memory, noise, open, options},
    sim_store::{Bucket, Faults},
};

/// What is wrong with a store.
#[derive(Clone, Copy, Debug)]
enum Flaw {
    /// Accepts the condition and overwrites (garage 2.5).
    Ignores,
    /// Looks, waits, and then writes (s3s-fs).
    ChecksThenActs,
}

#[derive(Debug)]
struct Flawed(InMemory, Flaw);

impl fmt::Display for Flawed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flawed:")
    }
}

/// A store that ignores the condition.
pub(crate) fn ignoring() -> impl ObjectStore {
    Flawed(InMemory::new(), Flaw::Ignores)
}

#[async_trait::async_trait]
impl ObjectStore for Flawed {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let overwrite = PutOptions { mode: PutMode::Overwrite, ..options.clone() };
        match self.1 {
            Flaw::Ignores => self.0.put_opts(location, payload, overwrite).await,
            Flaw::ChecksThenActs => {
                let head = GetOptions { head: true, ..GetOptions::default() };
                if self.0.get_opts(location, head).await.is_ok() {
                    return self.0.put_opts(location, payload, options).await;
                }
                tokio::task::yield_now().await;
                self.0.put_opts(location, payload, overwrite).await
            }
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("the object log puts whole objects")
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unreachable!("the object log lists without delimiters")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("the object log copies nothing")
    }
}

async fn is_refused(flaw: Flaw) {
    let store: Arc<dyn ObjectStore> = Arc::new(Flawed(InMemory::new(), flaw));
    create(&at(&store), 1 << 20).await;
    let error = open(&at(&store)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotSupported);
    assert!(error.chain().contains("fencing=advisory"), "{}", error.chain());
    let advisory = OpenOptions { fencing: Fencing::Advisory, ..options() };
    nbdgate_s3::open(&at(&store), advisory).await.expect("whoever asks for it gets it");
}

#[tokio::test]
async fn a_store_that_ignores_the_condition_is_refused() {
    is_refused(Flaw::Ignores).await;
}

#[tokio::test]
async fn a_store_that_checks_and_then_acts_is_refused() {
    is_refused(Flaw::ChecksThenActs).await;
}

#[tokio::test]
async fn memory_and_directories_are_safe_and_left_clean() {
    let store = memory();
    create(&at(&store), 1 << 20).await;
    open(&at(&store)).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let location: Location = format!("dir:{}/disk", directory.path().display()).parse().unwrap();
    create(&location, 1 << 20).await;
    open(&location).await.unwrap();
    let bucket = Bucket::new(1);
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    create(&at(&store), 1 << 20).await;
    assert!(!bucket.names().await.iter().any(|name| name.contains("/probe/")), "the probe left something behind");
}

#[tokio::test(start_paused = true)]
async fn lost_replies_do_not_make_a_store_look_unsafe() {
    for seed in 0..100 {
        let store: Arc<dyn ObjectStore> =
            Bucket::new(seed).client(Faults { reply_lost: 100, busy: 100, conflict: 50, ..Faults::default() });
        create(&at(&store), 1 << 20).await;
        let opened = open(&at(&store)).await;
        if let Err(error) = opened {
            assert_ne!(error.kind(), Kind::NotSupported, "seed {seed}: {}", error.chain());
        }
    }
}

/// Counts requests.
#[derive(Debug, Default)]
struct Requests(std::sync::atomic::AtomicU64);

impl nbdgate_s3::Observer for Requests {
    fn request(&self, _request: &nbdgate_s3::Request) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Requests {
    fn count(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// A disk in a store that ignores the condition, opened all the same, and its requests.
async fn advisory(store: &Arc<dyn ObjectStore>, host: &str) -> (nbdgate_s3::Disk, Arc<Requests>) {
    let requests = Arc::new(Requests::default());
    let observer: Arc<dyn nbdgate_s3::Observer> = Arc::<Requests>::clone(&requests);
    let mut options = OpenOptions { fencing: Fencing::Advisory, steal: true, observer, ..options() };
    options.host = Some(host.to_owned());
    options.tuning.upload_delay = Duration::from_mins(1);
    (nbdgate_s3::open(&at(store), options).await.unwrap(), requests)
}

#[tokio::test(start_paused = true)]
async fn on_an_advisory_store_a_gateway_that_was_replaced_stops_within_seconds() {
    let store: Arc<dyn ObjectStore> = Arc::new(Flawed(InMemory::new(), Flaw::Ignores));
    // The watch is looked at here, not the lease, which looks at the chain too.
    create_unleased(&at(&store), 1 << 20).await;
    let (old, _) = advisory(&store, "host-a").await;
    write(&old, 0, noise(1, BLOCK)).await.unwrap();
    flush(&old).await.unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    let (_new, _) = advisory(&store, "host-b").await;
    // It writes nothing that its successor would see, so nothing but the manifest can tell it.
    write(&old, 0, noise(2, BLOCK)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let error = write(&old, 0, noise(3, BLOCK)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Shutdown);
    assert!(error.chain().contains("host-b"), "{}", error.chain());
    assert!(flush(&old).await.is_err(), "what was not stored was not flushed");
}

#[tokio::test(start_paused = true)]
async fn on_an_advisory_store_the_manifest_is_read_every_second_while_something_is_dirty() {
    let store: Arc<dyn ObjectStore> = Arc::new(Flawed(InMemory::new(), Flaw::Ignores));
    // The watch is looked at here, not the lease, which looks at the chain too.
    create_unleased(&at(&store), 1 << 20).await;
    let (disk, requests) = advisory(&store, "host-a").await;
    let opened = requests.count();
    tokio::time::sleep(Duration::from_hours(24)).await;
    assert_eq!(requests.count(), opened, "an idle disk asked for something");
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let looks = (requests.count() - opened) / 2;
    assert!((28..=32).contains(&looks), "the manifest was read {looks} times in 30 s");
    flush(&disk).await.unwrap();
    // The checkpoint comes after a quarter of an hour.
    let clean = requests.count();
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(requests.count(), clean, "a clean disk asked for something");
}
