//! A log in a store of its own: every object where it belongs, every opener finds both, and a crash at any request of
//! either store loses nothing that was flushed.

use std::{sync::Arc, time::Duration};

use nbdgate_s3::{CheckpointRules, CreateOptions, Error, Location, OnUnclean, OpenOptions, Tuning};
use object_store::ObjectStore;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    ask::{ask, flush, read, write},
    setup::{BLOCK, noise, options},
    sim_store::{Bucket, Faults, SimStore},
};

/// Blocks that are written over and over.
const BLOCKS: u64 = 12;

struct Stores {
    data: Arc<Bucket>,
    log: Arc<Bucket>,
}

/// One gateway's ways to both.
struct Ways {
    data: Arc<SimStore>,
    log: Arc<SimStore>,
}

impl Stores {
    fn new(seed: u64) -> Self {
        Self { data: Bucket::new(seed), log: Bucket::new(seed + 1) }
    }

    fn ways(&self, faults: &Faults) -> Ways {
        Ways { data: self.data.client(faults.clone()), log: self.log.client(faults.clone()) }
    }

    async fn create(&self, segment_target: u32) {
        let location = self.ways(&Faults::default()).location();
        let log_root = location.root().given_log();
        assert!(log_root.is_some());
        let options = CreateOptions { size: BLOCKS * BLOCK, log_root, segment_target, ..CreateOptions::default() };
        nbdgate_s3::create(&location, &options).await.unwrap();
    }
}

impl Ways {
    fn location(&self) -> Location {
        let data: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(&self.data);
        let log: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(&self.log);
        Location::in_store(data, "root", "disk").with_log_store(log)
    }

    fn is_dead(&self) -> bool {
        self.data.is_dead() || self.log.is_dead()
    }
}

fn stealing(host: &str) -> OpenOptions {
    OpenOptions { host: Some(host.to_owned()), steal: true, on_unclean: OnUnclean::Serve, ..options() }
}

#[tokio::test(start_paused = true)]
async fn segments_and_fences_are_in_one_store_and_all_else_in_the_other() {
    let stores = Stores::new(1);
    stores.create(8 << 20).await;
    for (number, host) in (0..).zip(["host-a", "host-b", "host-c"]) {
        let disk = nbdgate_s3::open(&stores.ways(&Faults::default()).location(), stealing(host)).await.unwrap();
        for earlier in 0..number {
            assert_eq!(read(&disk, earlier * BLOCK, BLOCK).await.unwrap(), noise(earlier, BLOCK));
        }
        write(&disk, number * BLOCK, noise(number, BLOCK)).await.unwrap();
        flush(&disk).await.unwrap();
        if host == "host-c" {
            disk.shutdown().await.unwrap();
        }
    }
    let (data, log) = (stores.data.names().await, stores.log.names().await);
    assert!(data.iter().all(|name| !name.contains("/l/")), "{data:?}");
    assert!(log.iter().all(|name| name.contains("/l/")), "{log:?}");
    assert!(log.len() >= 5, "three segments and two fences: {log:?}");
    assert!(data.iter().any(|name| name.contains("/m/")) && data.iter().any(|name| name.contains("/p/")));
    assert!(!log.iter().any(|name| name.contains("/probe/")), "the probe left something behind: {log:?}");
}

#[tokio::test(start_paused = true)]
async fn without_its_log_store_a_disk_is_refused() {
    let stores = Stores::new(2);
    stores.create(8 << 20).await;
    let data: Arc<dyn ObjectStore> = stores.data.client(Faults::default());
    let error = nbdgate_s3::open(&Location::in_store(data, "root", "disk"), options()).await.unwrap_err();
    assert!(error.chain().contains("the log of the disk is in"), "{}", error.chain());
}

#[tokio::test(start_paused = true)]
async fn a_log_store_that_ignores_conditions_is_refused_too() {
    let stores = Stores::new(3);
    stores.create(8 << 20).await;
    let data: Arc<dyn ObjectStore> = stores.data.client(Faults::default());
    let log: Arc<dyn ObjectStore> = Arc::new(crate::probing::ignoring());
    let location = Location::in_store(data, "root", "disk").with_log_store(log);
    let error = nbdgate_s3::open(&location, options()).await.unwrap_err();
    assert!(error.chain().contains("fencing=advisory"), "{}", error.chain());
}

fn tuning(random: &mut StdRng) -> Tuning {
    Tuning {
        upload_delay: Duration::from_millis(random.random_range(1..500)),
        window: random.random_range(1..5),
        attempt_timeout: Duration::from_secs(2),
        backoff: (Duration::from_millis(20), Duration::from_millis(500)),
        checkpoint: CheckpointRules { segments: random.random_range(1..6), ..CheckpointRules::default() },
        probe: (1, 2),
        seed: Some(random.random()),
        ..Tuning::default()
    }
}

/// The numbers that the blocks show.
async fn look(location: &Location, options: OpenOptions) -> Result<Vec<u64>, Error> {
    let disk = nbdgate_s3::open(location, options).await?;
    let bytes = read(&disk, 0, BLOCKS * BLOCK).await?;
    Ok(bytes.chunks(4096).map(|block| u64::from_le_bytes(block[..8].try_into().unwrap())).collect())
}

/// One life: gateways that die at some request to either store. Mutation n writes n into a block, so what is found
/// must be the effect of the first k mutations, and k covers the last answered flush.
async fn life(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let stores = Stores::new(seed);
    stores.create(64 << 10).await;
    let mut base = vec![0; usize::try_from(BLOCKS).unwrap()];
    let mut next = 1;
    for number in 0..3 {
        let ways = stores.ways(&if random.random_bool(0.6) { Faults::storm() } else { Faults::default() });
        let victim = if random.random_bool(0.5) { &ways.data } else { &ways.log };
        victim.crash_at(random.random_range(0..80));
        let options = OpenOptions { tuning: tuning(&mut random), ..stealing(&format!("host-{number}")) };
        let location = ways.location();
        let opened = tokio::time::timeout(Duration::from_secs(90), nbdgate_s3::open(&location, options)).await;
        let (mut history, mut durable) = (Vec::new(), 0);
        if let Ok(Ok(disk)) = opened {
            for _ in 0..random.random_range(1..40) {
                let block = random.random_range(0..BLOCKS);
                let bytes = [&u64::to_le_bytes(next)[..], &noise(next, BLOCK)[8..]].concat();
                history.push((usize::try_from(block).unwrap(), next));
                next += 1;
                let asked =
                    ask(&disk, nbdgate_api::Op::Write { offset: block * BLOCK, payload: bytes.into(), fua: false });
                drop(tokio::time::timeout(Duration::from_mins(1), asked.answer()).await);
                let covers = history.len();
                if random.random_bool(0.3)
                    && let Ok(Ok(())) = tokio::time::timeout(Duration::from_mins(1), flush(&disk)).await
                {
                    durable = covers;
                }
                if ways.is_dead() {
                    break;
                }
            }
        }
        let options = OpenOptions { tuning: tuning(&mut random), ..stealing("inspector") };
        let seen = look(&stores.ways(&Faults::default()).location(), options).await;
        let seen = seen.unwrap_or_else(|error| panic!("seed {seed}: {}", error.chain()));
        let best = (0..=history.len()).rev().find(|&k| {
            let mut state = base.clone();
            history[..k].iter().for_each(|&(block, shows)| state[block] = shows);
            state == seen
        });
        let best = best.unwrap_or_else(|| panic!("seed {seed}: {seen:?} is no prefix of {history:?} on {base:?}"));
        assert!(best >= durable, "seed {seed}: recovered {best} mutations, {durable} were flushed");
        base = seen;
    }
}

#[test]
fn a_crash_between_the_stores_loses_nothing_that_was_flushed() {
    let first = rand::rng().random_range(0..1 << 40);
    println!("seeds {first} to {}", first + 149);
    for seed in first..first + 150 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(life(seed));
    }
}
