//! Garbage collection from outside: what goes, what stays, who may delete, and what it costs to have nothing to do.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use nbdgate_api::{ByteRange, Op};
use nbdgate_s3::{
    CheckpointRules, CreateOptions, Disk, GcLevels, GcRules, NoProgress, Observer, OnUnclean, OpenOptions, Progress,
    admin,
};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    ask::{ask, flush, read, write},
    audit::audit,
    setup::{BLOCK, at, noise, options},
    sim_store::{Bucket, Faults, SimStore},
};

/// Blocks of the disk of these tests.
const BLOCKS: u64 = 1024;

/// Everything in small: segments of 64 KiB, and what is dead goes after a second.
fn eager(host: &str) -> OpenOptions {
    let mut options = OpenOptions { host: Some(host.to_owned()), ..options() };
    options.on_unclean = OnUnclean::Serve;
    options.steal = true;
    options.tuning.checkpoint = CheckpointRules { segments: 8, ..CheckpointRules::default() };
    options.tuning.gc = GcRules {
        segment_target: 256 << 10,
        small_segment: 8 << 10,
        delete_delay: Duration::from_secs(1),
        sweep_interval: Duration::from_mins(1),
        sweep_age: Duration::ZERO,
        ..GcRules::default()
    };
    options
}

async fn made(bucket: &Arc<Bucket>) -> Arc<dyn ObjectStore> {
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    let lease = Duration::ZERO;
    let create = CreateOptions { size: BLOCKS * BLOCK, segment_target: 64 << 10, lease, ..CreateOptions::default() };
    nbdgate_s3::create(&at(&store), &create).await.unwrap();
    store
}

/// A disk and what it must show.
struct Model {
    random: StdRng,
    shows: Vec<Option<u64>>,
    next: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), shows: vec![None; usize::try_from(BLOCKS).unwrap()], next: 1 }
    }

    /// Overwrites `count` random blocks, one by one.
    async fn churn(&mut self, disk: &Disk, count: u64) {
        for _ in 0..count {
            let lba = self.random.random_range(0..BLOCKS);
            self.put(disk, lba).await;
        }
        flush(disk).await.unwrap();
    }

    async fn put(&mut self, disk: &Disk, lba: u64) {
        let at = usize::try_from(lba).unwrap();
        if self.random.random_bool(0.05) {
            let range = ByteRange::between(lba * BLOCK, (lba + 1) * BLOCK);
            ask(disk, Op::Trim { range, fua: false }).answer().await.outcome.unwrap();
            self.shows[at] = None;
        } else {
            write(disk, lba * BLOCK, noise(self.next, BLOCK)).await.unwrap();
            self.shows[at] = Some(self.next);
            self.next += 1;
        }
    }

    async fn fill(&mut self, disk: &Disk) {
        for lba in 0..BLOCKS {
            self.put(disk, lba).await;
        }
        flush(disk).await.unwrap();
    }

    async fn check(&self, disk: &Disk, case: &str) {
        let bytes = read(disk, 0, BLOCKS * BLOCK).await.unwrap_or_else(|error| panic!("{case}: {}", error.chain()));
        for (lba, (shows, block)) in self.shows.iter().zip(bytes.chunks(usize::try_from(BLOCK).unwrap())).enumerate() {
            let expected = shows.map_or(vec![0; block.len()], |seed| noise(seed, BLOCK));
            assert!(block == expected, "{case}: block {lba} holds something else");
        }
    }
}

#[derive(Debug, Default)]
struct Notes(Mutex<GcLevels>);

impl Observer for Notes {
    fn collected(&self, levels: &GcLevels) {
        *self.0.lock().unwrap() = *levels;
    }
}

#[tokio::test(start_paused = true)]
async fn overwriting_for_long_takes_no_more_than_its_share_of_space() {
    let bucket = Bucket::new(1);
    let store = made(&bucket).await;
    let notes = Arc::new(Notes::default());
    let observer: Arc<dyn Observer> = Arc::<Notes>::clone(&notes);
    let disk = nbdgate_s3::open(&at(&store), OpenOptions { observer, ..eager("host") }).await.unwrap();
    let mut model = Model::new(1);
    model.fill(&disk).await;
    for _ in 0..40 {
        model.churn(&disk, BLOCKS / 8).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    model.check(&disk, "after five overwrites").await;
    let levels = *notes.0.lock().unwrap();
    assert!(levels.moved_bytes > 0 && levels.deleted_objects > 100, "{levels:?}");
    let written = BLOCKS * BLOCK * 5;
    assert!(levels.moved_bytes * 100 < written * 130, "{levels:?}");
    disk.shutdown().await.unwrap();
    let after = audit(&bucket, "one writer").await;
    assert!(after.live * 100 > after.blocks * 60, "{} of {} blocks are live", after.live, after.blocks);
    assert!(after.moved > 0 && after.orphans.is_empty(), "{:?}", after.orphans);
    let stored: usize = bucket.names().await.iter().filter(|name| name.contains("/l/") || name.contains("/g/")).count();
    assert!(stored < 200, "{stored} segments of 64 KiB for 4 MiB");
    assert!(after.manifests.len() <= 18, "{:?}", after.manifests);
}

#[tokio::test(start_paused = true)]
async fn a_disk_with_nothing_to_collect_asks_for_nothing() {
    let bucket = Bucket::new(2);
    let store = made(&bucket).await;
    let mut model = Model::new(2);
    for life in 0..3 {
        let client = bucket.client(Faults::default());
        let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(&client);
        let disk = nbdgate_s3::open(&at(&store), eager("host")).await.unwrap();
        model.fill(&disk).await;
        model.churn(&disk, BLOCKS).await;
        // Checkpoints, collection, deletion, the sweep.
        tokio::time::sleep(Duration::from_hours(3)).await;
        let settled = client.counts.total();
        tokio::time::sleep(Duration::from_hours(24 * 7)).await;
        assert_eq!(client.counts.total(), settled, "life {life}: a disk at rest asked for something in a week");
        model.check(&disk, "at rest").await;
        disk.shutdown().await.unwrap();
    }
    drop(store);
}

#[tokio::test(start_paused = true)]
async fn collection_that_is_off_deletes_nothing() {
    let bucket = Bucket::new(3);
    let store = made(&bucket).await;
    let mut off = eager("host");
    off.tuning.gc.enabled = false;
    let disk = nbdgate_s3::open(&at(&store), off).await.unwrap();
    let mut model = Model::new(3);
    let mut before = Vec::new();
    for _ in 0..4 {
        model.fill(&disk).await;
        tokio::time::sleep(Duration::from_mins(20)).await;
        let names = bucket.names().await;
        assert!(before.iter().all(|name| names.contains(name)));
        before = names.into_iter().filter(|name| !name.contains("/probe/")).collect();
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_before_its_time() {
    let bucket = Bucket::new(4);
    let store = made(&bucket).await;
    let mut slow = eager("host");
    slow.tuning.gc.delete_delay = Duration::from_mins(10);
    let disk = nbdgate_s3::open(&at(&store), slow).await.unwrap();
    let mut model = Model::new(4);
    model.fill(&disk).await;
    model.fill(&disk).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let segments = async || bucket.names().await.iter().filter(|name| name.contains("/l/")).count();
    let all = segments().await;
    tokio::time::sleep(Duration::from_mins(8)).await;
    assert!(segments().await >= all, "something was deleted before its time");
    tokio::time::sleep(Duration::from_mins(30)).await;
    assert!(segments().await * 3 < all * 2, "{} of {all} are left", segments().await);
    model.check(&disk, "after").await;
}

#[tokio::test(start_paused = true)]
async fn a_full_pass_leaves_what_is_live_and_says_what_it_did() {
    let bucket = Bucket::new(5);
    let store = made(&bucket).await;
    let mut off = eager("host");
    off.tuning.gc.enabled = false;
    let mut model = Model::new(5);
    // Gateways that die leave orphans behind.
    for life in 0..3 {
        let disk = nbdgate_s3::open(&at(&store), off.clone()).await.unwrap();
        model.fill(&disk).await;
        model.churn(&disk, BLOCKS / 2).await;
        if life == 2 {
            disk.shutdown().await.unwrap();
        }
    }
    let orphan = {
        let names = bucket.names().await;
        let log = names.iter().find(|name| name.contains("/l/")).unwrap();
        let bytes = bucket.inner.get(&Path::from(log.as_str())).await.unwrap().bytes().await.unwrap();
        let orphan = log.replace("/l/", "/g/");
        bucket.inner.put(&Path::from(orphan.as_str()), bytes.into()).await.unwrap();
        orphan
    };
    let before = audit(&bucket, "before").await;
    assert!(before.orphans.iter().any(|name| orphan.ends_with(name)), "{:?}", before.orphans);
    let progress = Arc::new(Bytes::default());
    let report = admin::gc(&at(&store), &eager("collector"), progress.as_ref()).await.unwrap();
    let after = audit(&bucket, "after").await;
    assert!(after.orphans.is_empty(), "{:?}", after.orphans);
    let orphans = before.orphans.len() as u64;
    assert_eq!((report.orphans, report.orphans_deleted, report.foreign), (orphans, orphans, 0));
    assert!(report.deleted_objects > 50 && report.moved_bytes > 0, "{report:?}");
    assert_eq!((report.live_blocks, report.unreadable), (after.live, 0));
    assert!(after.live * 100 >= after.blocks * 90, "{} of {}", after.live, after.blocks);
    assert!(after.fences >= before.fences && before.fences >= 2, "fences stay");
    assert_eq!(*progress.0.lock().unwrap(), report.moved_bytes);
    let disk = nbdgate_s3::open(&at(&store), eager("judge")).await.unwrap();
    model.check(&disk, "after a full pass").await;
    disk.shutdown().await.unwrap();
    let again = admin::gc(&at(&store), &eager("collector"), &NoProgress).await.unwrap();
    assert_eq!((again.moved_bytes, again.orphans), (0, 0), "a second pass finds nothing: {again:?}");
}

#[derive(Debug, Default)]
struct Bytes(Mutex<u64>);

impl Progress for Bytes {
    fn advance(&self, bytes: u64) {
        *self.0.lock().unwrap() += bytes;
    }
}

#[tokio::test(start_paused = true)]
async fn an_orphan_that_is_too_young_stays() {
    let bucket = Bucket::new(6);
    let store = made(&bucket).await;
    let disk = nbdgate_s3::open(&at(&store), eager("host")).await.unwrap();
    Model::new(6).fill(&disk).await;
    drop(disk);
    let names = bucket.names().await;
    let pack = names.iter().find(|name| name.contains("/p/")).unwrap();
    let orphan = Path::from(pack.replace("/p/", "/g/"));
    bucket.inner.put(&orphan, "anything".into()).await.unwrap();
    let mut patient = eager("collector");
    patient.tuning.gc.sweep_age = Duration::from_hours(24);
    let report = admin::gc(&at(&store), &patient, &NoProgress).await.unwrap();
    assert_eq!((report.orphans, report.orphans_young, report.orphans_deleted), (1, 1, 0));
    assert!(bucket.inner.head(&orphan).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_cannot_be_read_stays_and_the_others_are_collected() {
    let bucket = Bucket::new(7);
    let store = made(&bucket).await;
    let mut off = eager("host");
    off.tuning.gc.enabled = false;
    let disk = nbdgate_s3::open(&at(&store), off).await.unwrap();
    let mut model = Model::new(7);
    model.fill(&disk).await;
    model.churn(&disk, BLOCKS).await;
    disk.shutdown().await.unwrap();
    let names = bucket.names().await;
    let broken = names.iter().find(|name| name.contains("/l/")).unwrap();
    bucket.damage(broken, |bytes| bytes.iter_mut().skip(2000).for_each(|byte| *byte ^= 0x55)).await;
    let report = admin::gc(&at(&store), &eager("collector"), &NoProgress).await.unwrap();
    assert!(report.unreadable > 0 && report.moved_bytes > 0, "{report:?}");
    assert!(bucket.names().await.contains(broken), "what may still be repaired is not thrown away");
}

/// A gateway that lost its disk and does not know yet: whatever it deletes, its successor misses nothing.
async fn zombie(seed: u64) {
    let bucket = Bucket::new(seed);
    let store = made(&bucket).await;
    let case = format!("seed {seed}");
    let mut model = Model::new(seed);
    let old = nbdgate_s3::open(&at(&store), eager("old")).await.unwrap();
    model.fill(&old).await;
    model.churn(&old, BLOCKS).await;
    // It is in the midst of something: a checkpoint, a round, a delay.
    tokio::time::sleep(Duration::from_millis(model.random.random_range(0..3000))).await;
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    let location = at(&store);
    let (new, ()) = tokio::join!(nbdgate_s3::open(&location, eager("new")), async {
        // Reads and trims keep its rules busy, nothing of it is flushed any more.
        for lba in 0..20 {
            let range = ByteRange::between(lba * BLOCK, (lba + 1) * BLOCK);
            let _ = ask(&old, Op::BlockStatus { range, req_one: true }).answer().await;
        }
    });
    let new = new.unwrap_or_else(|error| panic!("{case}: {}", error.chain()));
    model.check(&new, &case).await;
    for _ in 0..4 {
        model.churn(&new, BLOCKS / 2).await;
        tokio::time::sleep(Duration::from_secs(model.random.random_range(0..100))).await;
    }
    model.check(&new, &case).await;
    drop(old);
    new.shutdown().await.unwrap();
    audit(&bucket, &case).await;
}

#[test]
fn what_a_zombie_deletes_its_successor_does_not_miss() {
    for seed in 0..12 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(zombie(seed));
    }
}

#[tokio::test(start_paused = true)]
async fn reads_under_way_find_their_objects_while_those_are_collected() {
    let bucket = Bucket::new(8);
    let store = made(&bucket).await;
    let mut hasty = eager("host");
    hasty.tuning.gc.delete_delay = Duration::ZERO;
    // Nothing is kept in memory, so every read goes to the store.
    hasty.tuning.frame_budget = 0;
    hasty.tuning.index_budget = 0;
    let disk = nbdgate_s3::open(&at(&store), hasty).await.unwrap();
    let mut model = Model::new(8);
    model.fill(&disk).await;
    for round in 0..60 {
        let reading: Vec<_> = (0..16)
            .map(|part| {
                let range = ByteRange::between(part * BLOCKS / 16 * BLOCK, (part + 1) * BLOCKS / 16 * BLOCK);
                ask(&disk, Op::Read(range))
            })
            .collect();
        model.churn(&disk, 64).await;
        for asked in reading {
            let answer = asked.answer().await;
            answer.outcome.unwrap_or_else(|error| panic!("round {round}: {}", error.chain()));
            let failed = answer.pieces.iter().any(|piece| matches!(piece, nbdgate_api::Piece::Failed(..)));
            assert!(!failed, "round {round}: a read missed its object");
        }
    }
    model.check(&disk, "in the end").await;
}
