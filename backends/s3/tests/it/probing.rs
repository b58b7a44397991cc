//! The capability probe against stores that keep the condition, ignore it, or race.

use std::{fmt, sync::Arc};

use futures_util::stream::BoxStream;
use nbdgate_api::Kind;
use nbdgate_s3::{Fencing, Location, OpenOptions};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};

use crate::{
    setup::{at, create, memory, open, options},
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
