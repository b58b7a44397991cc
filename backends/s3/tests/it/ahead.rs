//! Reading ahead: streams, wishes, the attach profile, and what an idle disk does not do.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use nbdgate_api::{Backend, ByteRange, Op};
use nbdgate_s3::{CreateOptions, Disk, OpenOptions};
use object_store::ObjectStore;

use crate::{
    ask::{ask, flush, read, write},
    setup::{BLOCK, at, noise, options},
    sim_store::{Bucket, Faults, SimStore},
};

const MIB: u64 = 1 << 20;

/// A closed disk of noise in 1 MiB writes.
async fn filled(seed: u64, megabytes: u64) -> Arc<Bucket> {
    let bucket = Bucket::new(seed);
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    nbdgate_s3::create(
        &at(&store),
        &CreateOptions { size: 1 << 30, lease: Duration::ZERO, ..CreateOptions::default() },
    )
    .await
    .unwrap();
    let disk = nbdgate_s3::open(&at(&store), options()).await.unwrap();
    for number in 0..megabytes {
        write(&disk, number * MIB, noise(number, MIB)).await.unwrap();
    }
    disk.shutdown().await.unwrap();
    bucket
}

async fn attach(bucket: &Arc<Bucket>, options: OpenOptions) -> (Arc<SimStore>, Disk) {
    let client = bucket.client(Faults::default());
    let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(&client);
    let disk = nbdgate_s3::open(&at(&store), options).await.unwrap();
    (client, disk)
}

fn gets(client: &SimStore) -> u64 {
    client.counts.gets.load(Ordering::Relaxed)
}

async fn read_block(disk: &Disk, block: u64) {
    let start = block * BLOCK;
    let whole = noise(start / MIB, MIB);
    let inside = usize::try_from(start % MIB).unwrap();
    assert!(read(disk, start, BLOCK).await.unwrap() == whole[inside..inside + 4096], "block {block}");
}

/// Blocks all over the first so many megabytes, none next to another.
fn scattered(count: u64, megabytes: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |n| (n * 7919 + 13) % (megabytes * 256))
}

#[tokio::test(start_paused = true)]
async fn a_cold_sequential_read_is_a_few_large_gets() {
    let bucket = filled(21, 32).await;
    let (client, disk) = attach(&bucket, options()).await;
    let before = gets(&client);
    for start in (0..32 * MIB).step_by(128 << 10) {
        let inside = usize::try_from(start % MIB).unwrap();
        let expected = noise(start / MIB, MIB);
        assert!(read(&disk, start, 128 << 10).await.unwrap() == expected[inside..inside + (128 << 10)]);
    }
    let used = gets(&client) - before;
    assert!(used <= 32, "32 MiB in 256 reads took {used} gets");
}

#[tokio::test(start_paused = true)]
async fn random_reads_read_nothing_ahead() {
    let bucket = filled(22, 16).await;
    let mut tuning = options();
    tuning.tuning.reads.profile = Duration::ZERO;
    tuning.tuning.reads.hedge_percent = 0;
    let (client, disk) = attach(&bucket, tuning.clone()).await;
    let before = gets(&client);
    for block in scattered(50, 16) {
        read_block(&disk, block).await;
    }
    let used = gets(&client) - before;
    drop(disk);
    tuning.tuning.reads.readahead = 0;
    tuning.on_unclean = nbdgate_s3::OnUnclean::Serve;
    let (client, disk) = attach(&bucket, tuning).await;
    let before = gets(&client);
    for block in scattered(50, 16) {
        read_block(&disk, block).await;
    }
    assert_eq!(used, gets(&client) - before, "as many as without read-ahead");
}

#[tokio::test(start_paused = true)]
async fn what_a_client_wishes_for_needs_no_get_later() {
    let bucket = filled(23, 8).await;
    let (client, disk) = attach(&bucket, options()).await;
    assert!(disk.info().capabilities.cache);
    ask(&disk, Op::Cache(ByteRange::between(MIB, 5 * MIB))).answer().await.outcome.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = gets(&client);
    for block in (256..5 * 256).step_by(5) {
        read_block(&disk, block).await;
    }
    assert_eq!(gets(&client), before);
}

#[tokio::test(start_paused = true)]
async fn the_second_attach_reads_ahead_what_the_first_began_with() {
    let bucket = filled(24, 32).await;
    let (_, disk) = attach(&bucket, options()).await;
    for block in scattered(60, 32) {
        read_block(&disk, block).await;
    }
    disk.shutdown().await.unwrap();
    let (client, disk) = attach(&bucket, options()).await;
    let opened = client.counts.total();
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(client.counts.total(), opened, "nothing is asked for before somebody reads");
    read_block(&disk, 13).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = gets(&client);
    for block in scattered(60, 32) {
        read_block(&disk, block).await;
    }
    assert_eq!(gets(&client), before, "all of it was read ahead");
    assert!(client.counts.gets_most.load(Ordering::Relaxed) > 4, "in parallel");
    // A short visit leaves the profile as it is; one that is over replaces it.
    disk.shutdown().await.unwrap();
    let (_, disk) = attach(&bucket, options()).await;
    read_block(&disk, 5000).await;
    disk.shutdown().await.unwrap();
    let (client, disk) = attach(&bucket, options()).await;
    read_block(&disk, 13).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = gets(&client);
    for block in scattered(60, 32) {
        read_block(&disk, block).await;
    }
    assert_eq!(gets(&client), before);
}

#[tokio::test(start_paused = true)]
async fn a_profile_of_what_is_no_longer_there_is_harmless() {
    let bucket = filled(25, 8).await;
    let (_, disk) = attach(&bucket, options()).await;
    for block in scattered(60, 8) {
        read_block(&disk, block).await;
    }
    let gone = ByteRange::between(0, 4 * MIB);
    ask(&disk, Op::Trim { range: gone, fua: false }).answer().await.outcome.unwrap();
    write(&disk, 4 * MIB, noise(99, MIB)).await.unwrap();
    disk.shutdown().await.unwrap();
    let (_, disk) = attach(&bucket, options()).await;
    assert!(read(&disk, 0, MIB).await.unwrap().iter().all(|&byte| byte == 0));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(read(&disk, 4 * MIB, MIB).await.unwrap() == noise(99, MIB));
    assert!(read(&disk, 5 * MIB, MIB).await.unwrap() == noise(5, MIB));
    disk.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_was_read_and_is_idle_sends_no_request() {
    let bucket = filled(26, 16).await;
    // What earlier writers left behind is looked for once after an attach; that is another test's.
    let mut options = options();
    options.tuning.gc.enabled = false;
    let (client, disk) = attach(&bucket, options).await;
    for block in (0..2000).chain(scattered(60, 16)) {
        read_block(&disk, block).await;
    }
    ask(&disk, Op::Cache(ByteRange::between(0, 1 << 30))).answer().await.outcome.unwrap();
    tokio::time::sleep(Duration::from_mins(5)).await;
    let settled = client.counts.total();
    tokio::time::sleep(Duration::from_hours(7 * 24)).await;
    assert_eq!(client.counts.total(), settled);
}

#[tokio::test(start_paused = true)]
async fn reading_ahead_stays_within_the_budget_of_gets_and_never_fails_a_read() {
    let bucket = filled(27, 16).await;
    let mut small = options();
    small.tuning.get_budget = 256 << 10;
    small.tuning.reads.hedge_percent = 0;
    small.tuning.reads.get_max = 64 << 10;
    small.tuning.frame_budget = 64 << 10;
    small.tuning.reads.readahead_budget = 512 << 10;
    let (client, disk) = attach(&bucket, small).await;
    client.counts.gets_most.store(0, Ordering::Relaxed);
    client.set_faults(Faults { busy: 100, cut: 50, corrupt: 20, ..Faults::default() });
    for block in (0..1500).chain(scattered(100, 16)) {
        read_block(&disk, block).await;
    }
    let most = client.counts.gets_most.load(Ordering::Relaxed);
    assert!(most <= 16, "{most} gets of at most 64 KiB and no frame below 16 KiB, the budget is 256 KiB");
    client.set_faults(Faults::default());
    write(&disk, 0, noise(0, BLOCK)).await.unwrap();
    flush(&disk).await.unwrap();
}
