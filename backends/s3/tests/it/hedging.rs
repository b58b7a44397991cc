//! A GET whose answer is late is sent twice, and not too often.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::stream::BoxStream;
use nbdgate_s3::{Observer, OpenOptions};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};

use crate::{
    ask::{read, write},
    setup::{at, create, noise, open, options},
};

const MIB: u64 = 1 << 20;

/// A store that answers in 10 ms, but every so many GETs of segments in a minute.
#[derive(Debug)]
struct Sluggish {
    inner: InMemory,
    every: AtomicU64,
    gets: AtomicU64,
}

#[async_trait::async_trait]
impl ObjectStore for Sluggish {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let every = self.every.load(Ordering::Relaxed);
        if every > 0 && location.as_ref().contains("/l/") {
            let number = self.gets.fetch_add(1, Ordering::Relaxed);
            let slow = number.is_multiple_of(every);
            tokio::time::sleep(if slow { Duration::from_mins(1) } else { Duration::from_millis(10) }).await;
        }
        self.inner.get_opts(location, options).await
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
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

impl fmt::Display for Sluggish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sluggish:")
    }
}

#[derive(Debug, Default)]
struct Heard {
    hedges: AtomicU64,
    won: AtomicU64,
}

impl Observer for Heard {
    fn hedge(&self, won: bool) {
        self.hedges.fetch_add(1, Ordering::Relaxed);
        self.won.fetch_add(u64::from(won), Ordering::Relaxed);
    }
}

async fn slow_disk(percent: u32) -> (Arc<Sluggish>, Arc<Heard>, nbdgate_s3::Disk) {
    let sluggish = Arc::new(Sluggish { inner: InMemory::new(), every: 0.into(), gets: 0.into() });
    let store: Arc<dyn ObjectStore> = Arc::<Sluggish>::clone(&sluggish);
    create(&at(&store), 64 * MIB).await;
    let disk = open(&at(&store)).await.unwrap();
    for number in 0..16 {
        write(&disk, number * MIB, noise(number, MIB)).await.unwrap();
    }
    disk.shutdown().await.unwrap();
    let heard = Arc::new(Heard::default());
    let observer: Arc<dyn Observer> = Arc::<Heard>::clone(&heard);
    let mut options = OpenOptions { observer, ..options() };
    options.tuning.reads.hedge_percent = percent;
    options.tuning.reads.readahead = 0;
    options.tuning.attempt_timeout = Duration::from_mins(5);
    options.tuning.read_deadline = Duration::from_mins(30);
    let disk = nbdgate_s3::open(&at(&store), options).await.unwrap();
    (sluggish, heard, disk)
}

/// The longest of many reads of one frame each, all different.
async fn slowest(disk: &nbdgate_s3::Disk) -> Duration {
    let mut slowest = Duration::ZERO;
    for number in 0..400_u64 {
        let offset = number * 37 % 1000 * (16 << 10);
        let start = tokio::time::Instant::now();
        let bytes = read(disk, offset, 4096).await.unwrap();
        slowest = slowest.max(start.elapsed());
        let inside = usize::try_from(offset % MIB).unwrap();
        assert!(bytes == noise(offset / MIB, MIB)[inside..inside + 4096]);
    }
    slowest
}

#[tokio::test(start_paused = true)]
async fn the_second_request_wins_where_the_first_hangs() {
    let (store, heard, disk) = slow_disk(5).await;
    // A read through once, so that indexes are known: their requests are not sent twice.
    for number in 0..16 {
        read(&disk, number * MIB + MIB - 4096, 4096).await.unwrap();
    }
    store.every.store(40, Ordering::Relaxed);
    let slowest = slowest(&disk).await;
    assert!(slowest < Duration::from_millis(200), "a read took {slowest:?}");
    let (hedges, won) = (heard.hedges.load(Ordering::Relaxed), heard.won.load(Ordering::Relaxed));
    assert!(hedges >= 9 && won == hedges, "{won} of {hedges}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_slow_for_everyone_is_not_asked_twice_as_much() {
    let (store, heard, disk) = slow_disk(5).await;
    store.every.store(1, Ordering::Relaxed);
    for number in 0..100_u64 {
        read(&disk, number * (32 << 10), 4096).await.unwrap();
    }
    let hedges = heard.hedges.load(Ordering::Relaxed);
    assert!((1..=6).contains(&hedges), "{hedges} of about 100 gets were sent twice");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_twice_where_that_is_switched_off() {
    let (store, heard, disk) = slow_disk(0).await;
    store.every.store(10, Ordering::Relaxed);
    assert!(slowest(&disk).await >= Duration::from_mins(1));
    assert_eq!(heard.hedges.load(Ordering::Relaxed), 0);
}
