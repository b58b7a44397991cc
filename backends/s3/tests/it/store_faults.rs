//! A store that answers 503, times out, cuts bodies or refuses the keys: retried, then told, then forgotten.

use std::{sync::Arc, time::Duration};

use nbdgate_api::{Kind, Op};
use nbdgate_s3::Disk;
use object_store::ObjectStore;
use tokio::time::Instant;

use crate::{
    ask::{ask, flush, read, write},
    setup::{BLOCK, at, create, create_unleased, noise, open},
    sim_store::{Bucket, Faults, SimStore},
};

/// A disk without a serving lease: what is in memory is read however long the store is away (lease.rs has the rest).
async fn on_bucket(seed: u64) -> (Arc<SimStore>, Disk) {
    let bucket = Bucket::new(seed);
    let client = bucket.client(Faults::default());
    let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(&client);
    create_unleased(&at(&store), 64 << 20).await;
    let disk = open(&at(&store)).await.unwrap();
    write(&disk, 0, noise(1, 64 * BLOCK)).await.unwrap();
    flush(&disk).await.unwrap();
    (client, disk)
}

async fn reads_fail_in_time_and_recover(faults: Faults) {
    let (client, disk) = on_bucket(1).await;
    client.set_faults(faults);
    let start = Instant::now();
    let error = read(&disk, 0, BLOCK).await.unwrap_err();
    let took = start.elapsed();
    assert!(matches!(error.kind(), Kind::Io | Kind::Permission), "{}", error.chain());
    assert!((Duration::from_secs(20)..=Duration::from_secs(31)).contains(&took), "EIO after {took:?}");
    // FLUSH waits (docs/DURABILITY.md) and nothing is lost.
    write(&disk, 0, noise(2, BLOCK)).await.unwrap();
    let mut waiting = ask(&disk, Op::Flush);
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert!(waiting.try_answer().is_none(), "a FLUSH ended without a store");
    assert_eq!(read(&disk, 0, BLOCK).await.unwrap(), noise(2, BLOCK));
    client.set_faults(Faults::default());
    waiting.answer().await.outcome.unwrap();
    assert_eq!(read(&disk, BLOCK, BLOCK).await.unwrap(), noise(1, 64 * BLOCK)[4096..8192]);
    disk.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_answers_503_fails_reads_in_time_and_recovers() {
    reads_fail_in_time_and_recover(Faults { busy: 1000, ..Faults::default() }).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_fails_reads_in_time_and_recovers() {
    reads_fail_in_time_and_recover(Faults { lost: 1000, ..Faults::default() }).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_the_keys_fails_reads_in_time_and_recovers() {
    reads_fail_in_time_and_recover(Faults { denied: 1000, ..Faults::default() }).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cuts_bodies_fails_reads_in_time() {
    let (client, disk) = on_bucket(2).await;
    client.set_faults(Faults { cut: 1000, ..Faults::default() });
    let error = read(&disk, 0, BLOCK).await.unwrap_err();
    assert!(error.chain().contains("cut"), "{}", error.chain());
    client.set_faults(Faults::default());
    assert_eq!(read(&disk, 0, BLOCK).await.unwrap(), noise(1, 64 * BLOCK)[..4096]);
}

#[tokio::test(start_paused = true)]
async fn wrong_keys_are_said_at_once_when_a_disk_is_opened() {
    let bucket = Bucket::new(3);
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    create(&at(&store), 1 << 20).await;
    let store: Arc<dyn ObjectStore> = bucket.client(Faults { denied: 1000, ..Faults::default() });
    let start = Instant::now();
    let error = open(&at(&store)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Permission);
    assert!(error.chain().contains("credentials"), "{}", error.chain());
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_store_ends_an_open_after_its_deadline() {
    let bucket = Bucket::new(4);
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    create(&at(&store), 1 << 20).await;
    let store: Arc<dyn ObjectStore> = bucket.client(Faults { lost: 1000, ..Faults::default() });
    let start = Instant::now();
    let error = open(&at(&store)).await.unwrap_err();
    assert!(error.chain().contains("endpoint"), "{}", error.chain());
    assert!(start.elapsed() <= Duration::from_secs(61));
}

#[tokio::test(start_paused = true)]
async fn close_gives_up_at_its_deadline_and_says_so() {
    let (client, disk) = on_bucket(5).await;
    write(&disk, 0, noise(2, BLOCK)).await.unwrap();
    client.set_faults(Faults { lost: 1000, ..Faults::default() });
    let error = disk.shutdown().await.unwrap_err();
    assert!(error.chain().contains("not closed within"), "{}", error.chain());
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_is_gone_for_a_while_costs_nothing_that_was_acknowledged() {
    let (client, disk) = on_bucket(6).await;
    client.set_faults(Faults { gone: 1000, ..Faults::default() });
    write(&disk, 0, noise(2, BLOCK)).await.unwrap();
    let mut waiting = ask(&disk, Op::Flush);
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert!(waiting.try_answer().is_none(), "a FLUSH ended without a bucket");
    client.set_faults(Faults::default());
    waiting.answer().await.outcome.unwrap();
    assert_eq!(read(&disk, 0, BLOCK).await.unwrap(), noise(2, BLOCK));
    disk.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_long_read_of_a_silent_store_fails_in_time_too() {
    let (client, disk) = on_bucket(7).await;
    write(&disk, 0, noise(3, 4 << 20)).await.unwrap();
    flush(&disk).await.unwrap();
    client.set_faults(Faults { lost: 1000, ..Faults::default() });
    let start = Instant::now();
    read(&disk, 0, 4 << 20).await.unwrap_err();
    assert!(start.elapsed() <= Duration::from_secs(31), "EIO after {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_read_whose_first_connection_hangs_is_asked_for_again() {
    let (client, disk) = on_bucket(8).await;
    write(&disk, 0, noise(3, 4 << 20)).await.unwrap();
    flush(&disk).await.unwrap();
    client.set_faults(Faults { lost: 1000, ..Faults::default() });
    let range = nbdgate_api::ByteRange::between(0, 4 << 20);
    let asked = ask(&disk, Op::Read(range));
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.set_faults(Faults::default());
    let pieces = asked.answer().await.pieces;
    assert!(
        pieces.iter().all(|piece| matches!(piece, nbdgate_api::Piece::Data { .. })),
        "one hung connection is no EIO"
    );
}

#[tokio::test(start_paused = true)]
async fn conflicts_without_an_object_are_tried_again_with_pauses() {
    let (client, disk) = on_bucket(9).await;
    client.set_faults(Faults { conflict: 1000, ..Faults::default() });
    write(&disk, 0, noise(2, BLOCK)).await.unwrap();
    let waiting = ask(&disk, Op::Flush);
    let before = client.counts.total();
    tokio::time::sleep(Duration::from_mins(1)).await;
    let used = client.counts.total() - before;
    assert!(used < 60, "{used} requests in a minute");
    client.set_faults(Faults::default());
    waiting.answer().await.outcome.unwrap();
}
