//! The serving lease: a gateway that is cut off stops answering reads before its successor begins.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use nbdgate_api::{ByteRange, Op};
use nbdgate_s3::{Cause, CreateOptions, Disk, LeaseLevels, Observer, OnUnclean, OpenOptions, Phase, Request};
use object_store::ObjectStore;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::Instant;

use crate::{
    ask::{ask, flush, read, write},
    setup::{BLOCK, at, noise, options},
    sim_store::{Bucket, Faults, SimStore},
};

/// What an observer heard.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    requests: Mutex<Vec<Cause>>,
    pub(crate) phases: Mutex<Vec<Phase>>,
    leases: Mutex<Vec<LeaseLevels>>,
}

impl Observer for Notes {
    fn request(&self, request: &Request) {
        self.requests.lock().unwrap().push(request.cause);
    }

    fn phase(&self, phase: Phase) {
        self.phases.lock().unwrap().push(phase);
    }

    fn lease(&self, levels: &LeaseLevels) {
        self.leases.lock().unwrap().push(*levels);
    }
}

const LOST: Faults =
    Faults { lost: 1000, busy: 0, reply_lost: 0, late: 0, conflict: 0, cut: 0, corrupt: 0, denied: 0, gone: 0 };

fn client(bucket: &Arc<Bucket>) -> (Arc<SimStore>, Arc<dyn ObjectStore>) {
    let client = bucket.client(Faults::default());
    let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(&client);
    (client, store)
}

async fn create(store: &Arc<dyn ObjectStore>, lease_seconds: u64) {
    let options =
        CreateOptions { size: 1 << 20, lease: Duration::from_secs(lease_seconds), ..CreateOptions::default() };
    nbdgate_s3::create(&at(store), &options).await.unwrap();
}

fn by(host: &str) -> OpenOptions {
    let on_unclean = OnUnclean::Serve;
    OpenOptions { host: Some(host.to_owned()), steal: true, on_unclean, ..options() }
}

async fn noted(store: &Arc<dyn ObjectStore>, host: &str) -> (Disk, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    let observer: Arc<dyn Observer> = Arc::<Notes>::clone(&notes);
    let disk = nbdgate_s3::open(&at(store), OpenOptions { observer, ..by(host) }).await.unwrap();
    (disk, notes)
}

#[tokio::test(start_paused = true)]
async fn an_idle_disk_asks_twice_in_three_seconds_and_nothing_else() {
    let (_, store) = client(&Bucket::new(1));
    create(&store, 10).await;
    let (disk, notes) = noted(&store, "host-a").await;
    notes.requests.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_hours(1)).await;
    let requests = std::mem::take(&mut *notes.requests.lock().unwrap());
    assert!(requests.iter().all(|&cause| cause == Cause::Lease), "an idle disk asked for something else");
    assert!((2350..=2400).contains(&requests.len()), "{} requests in an hour", requests.len());
    // Whoever commits has proofs enough.
    for number in 0..100 {
        write(&disk, 0, noise(number, BLOCK)).await.unwrap();
        flush(&disk).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let looks = notes.requests.lock().unwrap().iter().filter(|&&cause| cause == Cause::Lease).count();
    assert!(looks <= 2, "{looks} looks at the chain while segments were committed");
}

/// Whether a gateway that is cut off at a random time answered a read with old bytes after its successor had stored new
/// ones, and how many reads it answered well after it was cut off.
async fn partition(seed: u64, lease_seconds: u64) -> (bool, u32) {
    let mut random = StdRng::seed_from_u64(seed);
    let bucket = Bucket::new(seed);
    let (client_a, store_a) = client(&bucket);
    let (_, store_b) = client(&bucket);
    create(&store_a, lease_seconds).await;
    let a = nbdgate_s3::open(&at(&store_a), by("host-a")).await.unwrap();
    let (old, new) = (noise(1, BLOCK), noise(2, BLOCK));
    write(&a, 0, old.clone()).await.unwrap();
    flush(&a).await.unwrap();
    assert_eq!(read(&a, 0, BLOCK).await.unwrap(), old);
    tokio::time::sleep(Duration::from_millis(random.random_range(0..8000))).await;
    client_a.set_faults(LOST);
    let pause = Duration::from_millis(random.random_range(0..5000));
    let successor = async {
        tokio::time::sleep(pause).await;
        let b = nbdgate_s3::open(&at(&store_b), by("host-b")).await.unwrap();
        write(&b, 0, new.clone()).await.unwrap();
        flush(&b).await.unwrap();
        (Instant::now(), b)
    };
    let reader = async {
        let mut answers = Vec::new();
        for _ in 0..80 {
            let asked = Instant::now();
            let answer = ask(&a, Op::Read(ByteRange::between(0, BLOCK)));
            let answer = tokio::time::timeout(Duration::from_millis(400), answer.answer()).await;
            // A read in time is from memory; the rest waits, or has failed.
            let served = answer.is_ok_and(|answer| answer.outcome.is_ok() && !answer.pieces.is_empty());
            answers.push((asked, served));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        answers
    };
    let ((stored, _b), answers) = tokio::join!(successor, reader);
    let well = answers.iter().filter(|(_, served)| *served).count();
    let stale = answers.iter().any(|&(asked, served)| served && asked > stored);
    (stale, u32::try_from(well).unwrap())
}

fn run(seed: u64, lease_seconds: u64) -> (bool, u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(partition(seed, lease_seconds))
}

#[test]
fn a_gateway_that_is_cut_off_never_answers_with_what_its_successor_has_replaced() {
    let mut served = 0;
    for seed in 0..30 {
        for lease in [1, 10] {
            let (stale, well) = run(seed, lease);
            assert!(!stale, "seed {seed}, lease {lease}: stale bytes were served");
            served += well;
        }
    }
    assert!(served > 500, "only {served} reads were answered at all: the test sees nothing");
}

#[test]
fn without_a_lease_the_same_test_sees_stale_reads() {
    assert!((0..10).any(|seed| run(seed, 0).0), "the test cannot fail");
}

#[tokio::test(start_paused = true)]
async fn without_a_proof_reads_wait_and_are_answered_when_the_store_is_back() {
    let (client, store) = client(&Bucket::new(2));
    create(&store, 10).await;
    let (disk, notes) = noted(&store, "host-a").await;
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    flush(&disk).await.unwrap();
    client.set_faults(LOST);
    tokio::time::sleep(Duration::from_secs(15)).await;
    let mut waiting = ask(&disk, Op::Read(ByteRange::between(0, BLOCK)));
    let mut status = ask(&disk, Op::BlockStatus { range: ByteRange::between(0, BLOCK), req_one: false });
    // Also what would be answered without the store: a hole.
    let mut hole = ask(&disk, Op::Read(ByteRange::between(BLOCK, 2 * BLOCK)));
    // Writes are as ever.
    write(&disk, 2 * BLOCK, noise(2, BLOCK)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(waiting.try_answer().is_none() && status.try_answer().is_none() && hole.try_answer().is_none());
    assert!(notes.leases.lock().unwrap().iter().any(|lease| !lease.held && lease.waiting == 3));
    client.set_faults(Faults::default());
    for asked in [waiting, status, hole] {
        asked.answer().await.outcome.unwrap();
    }
    assert_eq!(*notes.leases.lock().unwrap().last().unwrap(), LeaseLevels { held: true, waiting: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_read_without_a_proof_fails_at_its_deadline_and_says_why() {
    let (client, store) = client(&Bucket::new(3));
    create(&store, 10).await;
    let (disk, _) = noted(&store, "host-a").await;
    client.set_faults(LOST);
    tokio::time::sleep(Duration::from_secs(15)).await;
    let start = Instant::now();
    let error = read(&disk, 0, BLOCK).await.unwrap_err();
    assert!(error.chain().contains("still this gateway's"), "{}", error.chain());
    let took = start.elapsed();
    assert!((Duration::from_secs(30)..=Duration::from_secs(32)).contains(&took), "EIO after {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_paused_proves_itself_first() {
    let (_, store) = client(&Bucket::new(4));
    create(&store, 10).await;
    let (disk, _) = noted(&store, "host-a").await;
    tokio::time::advance(Duration::from_mins(10)).await;
    let start = Instant::now();
    let mut asked = ask(&disk, Op::Read(ByteRange::between(0, BLOCK)));
    assert!(asked.try_answer().is_none(), "ten minutes later the disk may be another's");
    asked.answer().await.outcome.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "a round trip is enough");
}

#[tokio::test(start_paused = true)]
async fn an_idle_gateway_hears_of_its_successor_within_seconds() {
    let bucket = Bucket::new(5);
    let (_, store) = client(&bucket);
    create(&store, 10).await;
    let (old, notes) = noted(&store, "host-a").await;
    let (_new, _) = noted(&client(&bucket).1, "host-b").await;
    let error = read(&old, 0, BLOCK).await.unwrap_err();
    assert!(error.chain().contains("host-b"), "{}", error.chain());
    assert_eq!(notes.phases.lock().unwrap().last(), Some(&Phase::Fenced));
}

#[tokio::test(start_paused = true)]
async fn only_a_takeover_from_another_host_waits_for_the_lease() {
    let bucket = Bucket::new(6);
    let (_, store) = client(&bucket);
    create(&store, 10).await;
    let timed = async |host: &str| {
        let start = Instant::now();
        let (disk, notes) = noted(&store, host).await;
        let waited = notes.phases.lock().unwrap().contains(&Phase::Waiting);
        (disk, start.elapsed(), waited)
    };
    let (first, took, waited) = timed("host-a").await;
    assert!(took < Duration::from_secs(2) && !waited, "a new disk waits for nobody");
    drop(first);
    let (second, took, waited) = timed("host-a").await;
    assert!(took < Duration::from_secs(2) && !waited, "the same host knows that it died");
    drop(second);
    let (third, took, waited) = timed("host-b").await;
    assert!(took >= Duration::from_secs(12) && took < Duration::from_secs(14) && waited, "took over after {took:?}");
    third.shutdown().await.unwrap();
    let (_fourth, took, waited) = timed("host-c").await;
    assert!(took < Duration::from_secs(2) && !waited, "a closed disk is handed over at once, after {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_claimant_that_died_leaves_the_wait_to_the_next() {
    let bucket = Bucket::new(7);
    let (_, store) = client(&bucket);
    create(&store, 10).await;
    let (_old, _) = noted(&store, "host-a").await;
    // It has fenced, and dies while it waits.
    let location = at(&store);
    let opening = nbdgate_s3::open(&location, by("host-b"));
    assert!(tokio::time::timeout(Duration::from_secs(5), opening).await.is_err());
    let start = Instant::now();
    let (_new, notes) = noted(&store, "host-b").await;
    assert!(start.elapsed() >= Duration::from_secs(12), "it cannot know when the first fence was put");
    let phases = notes.phases.lock().unwrap().clone();
    let expected = [Phase::Claiming, Phase::Fencing, Phase::Recovering, Phase::Waiting, Phase::Open];
    assert_eq!(phases, expected);
}
