//! The read path: how many GETs a read costs, and what it returns while a store is slow.

use std::sync::{Arc, atomic::Ordering};

use nbdgate_api::{ByteRange, Op, Piece};
use nbdgate_s3::{CreateOptions, Disk, OnUnclean, OpenOptions};
use object_store::ObjectStore;

use crate::{
    ask::{ask, flush, read, write},
    setup::{BLOCK, at, noise, options},
    sim_store::{Bucket, Faults, SimStore},
};

const MIB: u64 = 1 << 20;

/// A disk of noise in 1 MiB writes that was opened again: nothing of it is in memory.
async fn cold(megabytes: u64) -> (Arc<SimStore>, Disk) {
    let bucket = Bucket::new(7);
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    let create = CreateOptions { size: 1 << 30, ..CreateOptions::default() };
    nbdgate_s3::create(&at(&store), &create).await.unwrap();
    let disk = nbdgate_s3::open(&at(&store), options()).await.unwrap();
    for number in 0..megabytes {
        write(&disk, number * MIB, noise(number, MIB)).await.unwrap();
    }
    disk.shutdown().await.unwrap();
    let client = bucket.client(Faults::default());
    let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(&client);
    let disk = nbdgate_s3::open(&at(&store), options()).await.unwrap();
    (client, disk)
}

fn gets(client: &SimStore) -> u64 {
    client.counts.gets.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_sequential_reader_gets_every_frame_once() {
    let (client, disk) = cold(8).await;
    let before = gets(&client);
    for block in 0..256 {
        let expected = noise(0, MIB);
        let at = usize::try_from(block * BLOCK).unwrap();
        assert!(read(&disk, block * BLOCK, BLOCK).await.unwrap() == expected[at..at + 4096]);
    }
    let used = gets(&client) - before;
    assert!(used <= 1 + 64, "256 reads of 4 KiB in 64 frames took {used} gets");
}

#[tokio::test(start_paused = true)]
async fn a_long_read_is_a_few_gets() {
    let (client, disk) = cold(8).await;
    let before = gets(&client);
    let bytes = read(&disk, 0, 8 * MIB).await.unwrap();
    assert!((0..8).all(|n| bytes[usize::try_from(n * MIB).unwrap()..][..1 << 20] == noise(n, MIB)));
    let used = gets(&client) - before;
    assert!(used <= 5, "8 MiB took {used} gets");
}

#[tokio::test(start_paused = true)]
async fn concurrent_reads_of_one_frame_share_its_get() {
    let (client, disk) = cold(1).await;
    let before = gets(&client);
    let range = ByteRange::between(0, BLOCK);
    let asked: Vec<_> = (0..50).map(|_| ask(&disk, Op::Read(range))).collect();
    for asked in asked {
        assert!(asked.answer().await.outcome.is_ok());
    }
    assert_eq!(gets(&client) - before, 2, "the index and the frame");
}

#[tokio::test(start_paused = true)]
async fn a_hole_and_a_pending_write_need_no_get() {
    let (client, disk) = cold(1).await;
    let before = gets(&client);
    assert!(read(&disk, 100 * MIB, MIB).await.unwrap().iter().all(|&byte| byte == 0));
    write(&disk, 0, noise(9, BLOCK)).await.unwrap();
    assert!(read(&disk, 0, BLOCK).await.unwrap() == noise(9, BLOCK));
    assert_eq!(gets(&client), before);
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_delays_only_the_pieces_it_owes() {
    let (client, disk) = cold(1).await;
    write(&disk, 0, noise(9, BLOCK)).await.unwrap();
    client.set_faults(Faults { lost: 1000, ..Faults::default() });
    let answer = ask(&disk, Op::Read(ByteRange::between(0, 2 * BLOCK))).answer().await;
    assert!(answer.outcome.is_ok(), "the pieces tell");
    assert!(matches!(&answer.pieces[0], Piece::Data { offset: 0, bytes } if bytes[..] == noise(9, BLOCK)[..]));
    assert!(matches!(&answer.pieces[1], Piece::Failed(range, _) if range.offset() == BLOCK));
}

#[tokio::test(start_paused = true)]
async fn reads_agree_with_writes_of_any_shape() {
    let bucket = Bucket::new(11);
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    nbdgate_s3::create(&at(&store), &CreateOptions { size: 64 * MIB, ..CreateOptions::default() }).await.unwrap();
    let disk = nbdgate_s3::open(&at(&store), options()).await.unwrap();
    let mut model = vec![0; usize::try_from(64 * MIB).unwrap()];
    for number in 0..300_u64 {
        let start = number * 7919 * BLOCK % (60 * MIB);
        let length = (1 + number * 31 % 200) * BLOCK;
        let bytes = noise(number, length);
        model[usize::try_from(start).unwrap()..][..bytes.len()].copy_from_slice(&bytes);
        write(&disk, start, bytes).await.unwrap();
    }
    flush(&disk).await.unwrap();
    drop(disk);
    let options = OpenOptions { on_unclean: OnUnclean::Serve, ..options() };
    let disk = nbdgate_s3::open(&at(&store), options).await.unwrap();
    for piece in 0..16 {
        let at = usize::try_from(piece * 4 * MIB).unwrap();
        assert!(read(&disk, piece * 4 * MIB, 4 * MIB).await.unwrap() == model[at..][..4 << 20], "piece {piece}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_indexes_of_a_scattered_read_come_within_the_get_budget() {
    // One segment, one frame, and as long as the head of a segment.
    const PART: u64 = 64 << 10;
    let bucket = Bucket::new(12);
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    let create = CreateOptions { size: 64 * MIB, frame_max: 64 << 10, ..CreateOptions::default() };
    nbdgate_s3::create(&at(&store), &create).await.unwrap();
    let disk = nbdgate_s3::open(&at(&store), options()).await.unwrap();
    for number in 0..100 {
        write(&disk, number * PART, noise(number, PART)).await.unwrap();
        flush(&disk).await.unwrap();
    }
    disk.shutdown().await.unwrap();
    let client = bucket.client(Faults::default());
    let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(&client);
    let mut options = options();
    options.tuning.get_budget = 512 << 10;
    // Merging the small segments has GETs of its own.
    options.tuning.gc.enabled = false;
    // A GET that is sent twice is none of the budget's.
    options.tuning.reads.hedge_percent = 0;
    let disk = nbdgate_s3::open(&at(&store), options).await.unwrap();
    client.counts.gets_most.store(0, Ordering::Relaxed);
    let bytes = read(&disk, 0, 100 * PART).await.unwrap();
    assert!((0..100).all(|n| bytes[usize::try_from(n * PART).unwrap()..][..64 << 10] == noise(n, PART)));
    let most = client.counts.gets_most.load(Ordering::Relaxed);
    assert!(most <= 8, "{most} gets of 64 KiB, indexes and frames, at once, the budget is 512 KiB");
}

/// Asks again in the end of each request.
struct Chain {
    disk: Disk,
    left: std::sync::atomic::AtomicU64,
    this: std::sync::Mutex<std::sync::Weak<Self>>,
}

impl Chain {
    fn next(&self) {
        let sink = self.this.lock().unwrap().upgrade().unwrap();
        let op = Op::Read(ByteRange::between(0, BLOCK));
        nbdgate_api::Backend::submit(&self.disk, nbdgate_api::Io { op, reply: nbdgate_api::Reply::new(sink, 0) });
    }
}

impl nbdgate_api::Sink for Chain {
    fn piece(&self, _tag: u64, _piece: Piece) {}

    fn end(&self, _tag: u64, outcome: Result<(), nbdgate_s3::Error>) {
        outcome.unwrap();
        if self.left.fetch_sub(1, Ordering::Relaxed) > 1 {
            self.next();
        }
    }
}

#[tokio::test]
async fn requests_from_within_ends_do_not_pile_up_on_the_stack() {
    let (_store, disk) = crate::setup::fresh(1 << 20).await;
    let chain = Arc::new(Chain { disk, left: 100_000.into(), this: std::sync::Mutex::default() });
    *chain.this.lock().unwrap() = Arc::downgrade(&chain);
    chain.next();
    assert_eq!(chain.left.load(Ordering::Relaxed), 0);
}
