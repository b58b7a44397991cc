//! Disks over a read cache on local storage: fewer GETs, the same bytes.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use nbdgate_s3::{Cache, CacheOptions, CreateOptions, Disk, OpenOptions};
use object_store::ObjectStore;

use crate::{
    ask::{flush, read, write},
    setup::{at, noise, options},
    sim_store::{Bucket, Faults, SimStore},
};

const MIB: u64 = 1 << 20;

fn cache(path: &Path) -> Arc<Cache> {
    Cache::open(&CacheOptions { path: path.join("cache"), size: 32 << 20 }).unwrap()
}

fn cached(cache: &Arc<Cache>) -> OpenOptions {
    OpenOptions { cache: Some(Arc::clone(cache)), ..options() }
}

async fn attach(bucket: &Arc<Bucket>, options: OpenOptions) -> (Arc<SimStore>, Disk) {
    let client = bucket.client(Faults::default());
    let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(&client);
    let disk = nbdgate_s3::open(&at(&store), options).await.unwrap();
    (client, disk)
}

async fn filled(seed: u64, options: OpenOptions) -> Arc<Bucket> {
    let bucket = Bucket::new(seed);
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    nbdgate_s3::create(&at(&store), &CreateOptions { size: 1 << 30, ..CreateOptions::default() }).await.unwrap();
    let (_, disk) = attach(&bucket, options).await;
    for number in 0..8 {
        write(&disk, number * MIB, noise(number, MIB)).await.unwrap();
    }
    flush(&disk).await.unwrap();
    disk.shutdown().await.unwrap();
    bucket
}

/// GETs that reading all of it takes.
async fn gets_to_read(client: &SimStore, disk: &Disk) -> u64 {
    let before = client.counts.gets.load(Ordering::Relaxed);
    for number in 0..8 {
        assert!(read(disk, number * MIB, MIB).await.unwrap() == noise(number, MIB), "MiB {number}");
    }
    client.counts.gets.load(Ordering::Relaxed) - before
}

/// Until everything that waits to be kept is kept.
async fn settled(cache: &Cache, lines: u64) {
    for _ in 0..10_000 {
        if cache.levels().kept >= lines {
            return;
        }
        // A blocking thread: the clock stands still while it works.
        tokio::task::spawn_blocking(std::thread::yield_now).await.unwrap();
    }
    panic!("{:?}, {lines} lines were to be kept", cache.levels());
}

#[tokio::test(start_paused = true)]
async fn what_was_read_once_is_local_even_after_a_restart() {
    let bucket = filled(31, options()).await;
    let directory = tempfile::tempdir().unwrap();
    let first = cache(directory.path());
    let (client, disk) = attach(&bucket, cached(&first)).await;
    assert!(gets_to_read(&client, &disk).await > 0);
    settled(&first, 128).await;
    disk.shutdown().await.unwrap();
    drop(disk);
    let (client, disk) = attach(&bucket, cached(&first)).await;
    assert_eq!(gets_to_read(&client, &disk).await, 0, "indexes and frames are in the cache");
    disk.shutdown().await.unwrap();
    drop((disk, first));
    let second = cache(directory.path());
    let (client, disk) = attach(&bucket, cached(&second)).await;
    assert_eq!(gets_to_read(&client, &disk).await, 0, "the cache survives the process");
    assert!(second.levels().hits >= 128 && second.levels().damaged == 0, "{:?}", second.levels());
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_local() {
    let directory = tempfile::tempdir().unwrap();
    let cache = cache(directory.path());
    let bucket = filled(32, cached(&cache)).await;
    settled(&cache, 128).await;
    let (client, disk) = attach(&bucket, cached(&cache)).await;
    assert_eq!(gets_to_read(&client, &disk).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_cache_file_full_of_damage_costs_gets_and_nothing_else() {
    let bucket = filled(33, options()).await;
    let directory = tempfile::tempdir().unwrap();
    let first = cache(directory.path());
    let (client, disk) = attach(&bucket, cached(&first)).await;
    gets_to_read(&client, &disk).await;
    settled(&first, 128).await;
    disk.shutdown().await.unwrap();
    drop((disk, first));
    // A byte of each page: of the index here and there, of the lines everywhere.
    let path = directory.path().join("cache");
    let mut bytes = std::fs::read(&path).unwrap();
    let start = 1 << 20;
    bytes[start..].iter_mut().step_by(4096).for_each(|byte| *byte ^= 0x10);
    std::fs::write(&path, bytes).unwrap();
    let second = cache(directory.path());
    let mut options = cached(&second);
    options.on_unclean = nbdgate_s3::OnUnclean::Serve;
    let (client, disk) = attach(&bucket, options).await;
    assert!(gets_to_read(&client, &disk).await > 0);
    assert!(second.levels().damaged > 0, "{:?}", second.levels());
    assert!(!second.levels().off);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_missing_in_the_midst_is_fetched_with_its_neighbours() {
    let bucket = filled(34, options()).await;
    let directory = tempfile::tempdir().unwrap();
    let cache = cache(directory.path());
    let mut plain = cached(&cache);
    plain.tuning.reads.readahead = 0;
    plain.tuning.reads.profile = Duration::ZERO;
    let (client, disk) = attach(&bucket, plain).await;
    let before = client.counts.gets.load(Ordering::Relaxed);
    // Sixteen frames of 16 KiB: four or five lines, one GET each time nothing of them is there, and one for the index.
    for start in (0..256 << 10).step_by(16 << 10) {
        let start_at = usize::try_from(start).unwrap();
        assert!(read(&disk, start, 16 << 10).await.unwrap() == noise(0, MIB)[start_at..start_at + (16 << 10)]);
        settled(&cache, 1).await;
    }
    let used = client.counts.gets.load(Ordering::Relaxed) - before;
    assert!(used <= 18, "{used} gets");
}
