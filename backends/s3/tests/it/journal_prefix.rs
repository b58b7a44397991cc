//! The oracle of OBJECT-LOG §12.2 with a journal: whatever the store and the device do, and however the gateway ends, what is
//! recovered is the effect of the first k mutations. Every third seed is encrypted.
//!
//! | end of a gateway | k covers at least |
//! |---|---|
//! | its process dies | every mutation that was answered |
//! | its host loses power | every mutation that an answered FLUSH or FUA covers |
//! | its host is lost with the journal | what a clean close covered |

use std::{sync::Arc, time::Duration};

use nbdgate_api::{ByteRange, Op};
use nbdgate_s3::{CheckpointRules, CreateOptions, Disk, Error, FlushMode, Location, OpenOptions, Tuning};
use object_store::ObjectStore;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    ask::{Asked, ask},
    prefix::{BLOCKS, Mutation, block, blocks, look},
    setup::{BLOCK, Key},
    sim_disk::{Platter, SimDisk},
    sim_store::{Bucket, Faults, SimStore},
};

/// Seeds per run; `NBDGATE_SEED` runs one, `NBDGATE_SEEDS` so many.
const SEEDS: u64 = 100;

/// How a gateway ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Process,
    Power,
    Host,
    Close,
}

/// A FLUSH or FUA in flight, with the mutations that it covers.
struct Promise {
    covers: usize,
    fua: bool,
    asked: Asked,
}

/// One life of a disk.
struct Life {
    seed: u64,
    random: StdRng,
    bucket: Arc<Bucket>,
    platter: Arc<Platter>,
    ring: usize,
    /// Of every third seed, which are encrypted.
    key: Option<Key>,
    /// The disk when it was last closed: the bucket has at least that.
    base: Vec<u64>,
    mutations: Vec<Mutation>,
    /// Mutations that survive a process, and a power loss.
    answered: usize,
    flushed: usize,
    number: u64,
    promises: Vec<Promise>,
    /// The gateway does not answer any more, or answers with errors.
    is_over: bool,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let ring = random.random_range(20..160) * 4096;
        Self {
            seed,
            bucket: Bucket::new(seed),
            platter: Platter::new(seed, ring),
            random,
            ring,
            key: seed.is_multiple_of(3).then(|| Key::new("the disk's key")),
            base: vec![0; blocks(BLOCKS)],
            mutations: Vec::new(),
            answered: 0,
            flushed: 0,
            number: 0,
            promises: Vec::new(),
            is_over: false,
        }
    }

    fn location(client: &Arc<SimStore>) -> Location {
        let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(client);
        Location::in_store(store, "root", "disk")
    }

    fn options(&mut self, device: &Arc<SimDisk>) -> OpenOptions {
        let random = &mut self.random;
        let tuning = Tuning {
            dirty_budget: random.random_range(4..128) << 10,
            upload_delay: Duration::from_millis(random.random_range(1..4000)),
            window: random.random_range(1..5),
            index_budget: random.random_range(0..4) << 10,
            frame_budget: random.random_range(0..3) << 14,
            attempt_timeout: Duration::from_secs(2),
            backoff: (Duration::from_millis(20), Duration::from_millis(500)),
            checkpoint: CheckpointRules { segments: random.random_range(1..12), ..CheckpointRules::default() },
            probe: (1, 2),
            seed: Some(random.random()),
            ..Tuning::default()
        };
        let rpo = random.random_bool(0.2).then(|| Duration::from_millis(random.random_range(10..5000)));
        OpenOptions {
            tuning,
            journal_medium: Some(device.clone()),
            rpo,
            key: self.key.as_ref().map(Key::source),
            host: Some("host".into()),
            ..OpenOptions::default()
        }
    }

    fn state(&self, k: usize) -> Vec<u64> {
        let mut state = self.base.clone();
        for mutation in &self.mutations[..k] {
            mutation.apply(&mut state);
        }
        state
    }

    /// Holds what was recovered against the promises.
    fn recovered(&mut self, seen: &[u64], end: End) {
        let seed = self.seed;
        let best = (0..=self.mutations.len()).rev().find(|&k| self.state(k) == seen);
        let best =
            best.unwrap_or_else(|| panic!("seed {seed}, {end:?}: {seen:?} is no prefix of {:?}", self.mutations));
        let least = match end {
            End::Process => self.answered,
            End::Power => self.flushed,
            End::Host => 0,
            End::Close => self.mutations.len(),
        };
        assert!(best >= least, "seed {seed}, {end:?}: recovered {best} mutations, {least} were promised");
        self.mutations.truncate(best);
        // Replay made all of it stable.
        (self.answered, self.flushed) = (best, best);
        if end == End::Close {
            self.base = seen.to_vec();
            self.mutations.clear();
            (self.answered, self.flushed) = (0, 0);
        }
    }

    async fn open(&mut self, client: &Arc<SimStore>, device: &Arc<SimDisk>, end: End) -> Result<Disk, Error> {
        let options = OpenOptions { abandon_journal: end == End::Host, ..self.options(device) };
        nbdgate_s3::open(&Self::location(client), options).await
    }

    /// Opens the disk in calm weather, holds it against the promises, and ends again.
    async fn inspect(&mut self, mut end: End) {
        for _ in 0..self.random.random_range(1..3) {
            let old = Arc::clone(&self.platter);
            match end {
                End::Power => self.platter.lose_power(),
                End::Host => self.platter = Platter::new(self.random.random(), self.ring),
                End::Process | End::Close => {}
            }
            let client = self.bucket.client(Faults::default());
            let device = self.platter.attach();
            let disk = self.open(&client, &device, end).await;
            let disk = disk.unwrap_or_else(|error| panic!("seed {}, {end:?}: {}", self.seed, error.chain()));
            let seen = look(&disk, &client, self.seed).await.expect("the inspector lives");
            self.recovered(&seen, end);
            if end == End::Host {
                self.parked(&old).await;
            }
            end = if self.random.random_bool(0.3) { End::Close } else { End::Process };
            self.end(disk, end).await;
        }
        // The last of them ended with a process or a close; that is checked by who comes next.
        let client = self.bucket.client(Faults::default());
        let device = self.platter.attach();
        let disk = self.open(&client, &device, end).await;
        let disk = disk.unwrap_or_else(|error| panic!("seed {}, {end:?}: {}", self.seed, error.chain()));
        let seen = look(&disk, &client, self.seed).await.expect("the inspector lives");
        self.recovered(&seen, end);
        drop(disk);
    }

    /// The journal of a host that was given up is neither replayed nor changed.
    async fn parked(&mut self, old: &Arc<Platter>) {
        let before = old.contents();
        let count = |at: usize| u64::from_le_bytes(before[at + 48..at + 56].try_into().unwrap());
        let newest = [0, 4096].into_iter().filter(|&at| before[at..].starts_with(b"OLJ1")).max_by_key(|&at| count(at));
        let client = self.bucket.client(Faults::default());
        let opened = self.open(&client, &old.attach(), End::Process).await;
        if newest.is_some_and(|at| before[at + 92] == 0) {
            let error = opened.map(|_| ()).expect_err("a parked journal is refused").chain();
            assert!(error.contains("parked") || error.contains("may hold writes"), "seed {}: {error}", self.seed);
            assert!(old.contents() == before, "seed {}: a parked journal was written", self.seed);
        }
    }

    async fn end(&mut self, disk: Disk, end: End) {
        if end == End::Close {
            disk.shutdown().await.unwrap_or_else(|error| panic!("seed {}: {}", self.seed, error.chain()));
        }
        drop(disk);
    }

    async fn mutate(&mut self, disk: &Disk) {
        let start = self.random.random_range(0..BLOCKS);
        let nblocks = self.random.random_range(1..=(BLOCKS - start).min(8));
        self.number += 1;
        let (range, fua) =
            (ByteRange::between(start * BLOCK, (start + nblocks) * BLOCK), self.random.random_bool(0.05));
        let zeros = self.random.random_bool(0.2);
        let op = if zeros {
            Op::Trim { range, fua }
        } else {
            let bytes: Vec<u8> = (start..start + nblocks).flat_map(|lba| block(self.number, lba)).collect();
            Op::Write { offset: range.offset(), payload: bytes.into(), fua }
        };
        self.mutations.push(Mutation { start, nblocks, shows: if zeros { 0 } else { self.number } });
        let asked = ask(disk, op);
        if fua {
            self.promises.push(Promise { covers: self.mutations.len(), fua, asked });
            return;
        }
        let patience = Duration::from_secs(400);
        match tokio::time::timeout(patience, asked.answer()).await {
            Ok(answer) if answer.outcome.is_ok() => self.answered = self.mutations.len(),
            // A dead device or a dead store, or an error: whether it happened is open.
            _ => self.is_over = true,
        }
    }

    /// Notes which promises were kept.
    fn collect(&mut self) {
        let (flushed, answered, is_over) = (&mut self.flushed, &mut self.answered, &mut self.is_over);
        self.promises.retain_mut(|promise| match promise.asked.try_answer() {
            Some(answer) => {
                if answer.outcome.is_ok() {
                    *flushed = promise.covers.max(*flushed);
                    *answered = promise.covers.max(*answered);
                } else {
                    *is_over = true;
                }
                false
            }
            None => true,
        });
    }

    async fn work(&mut self, disk: &Disk, client: &SimStore) {
        for _ in 0..self.random.random_range(5..80) {
            match self.random.random_range(0..100) {
                0..75 => self.mutate(disk).await,
                75..87 => {
                    // It covers what was answered: not a FUA that still waits.
                    let waits =
                        self.promises.iter().filter(|promise| promise.fua).map(|promise| promise.covers - 1).min();
                    let covers = waits.unwrap_or(self.mutations.len());
                    self.promises.push(Promise { covers, fua: false, asked: ask(disk, Op::Flush) });
                }
                87..93 => tokio::time::sleep(Duration::from_millis(self.random.random_range(1..3000))).await,
                _ if self.promises.is_empty() => {
                    if let Some(seen) = look(disk, client, self.seed).await {
                        let expected = self.state(self.mutations.len());
                        assert_eq!(seen, expected, "seed {}: a read does not see what was answered", self.seed);
                    }
                }
                _ => {}
            }
            self.collect();
            if self.is_over {
                return;
            }
        }
    }

    async fn gateway(&mut self) {
        let faults = if self.random.random_bool(0.5) { Faults::storm() } else { Faults::default() };
        let client = self.bucket.client(faults);
        let device = self.platter.attach();
        match self.random.random_range(0..10) {
            0..3 => device.crash_after(self.random.random_range(0..80)),
            3 => device.fail_after(self.random.random_range(0..80)),
            4..6 => client.crash_at(self.random.random_range(0..150)),
            _ => {}
        }
        let opening = self.open(&client, &device, End::Process);
        let opened = tokio::time::timeout(Duration::from_secs(90), opening).await;
        let mut end = [End::Process, End::Power, End::Host, End::Close][self.random.random_range(0..4)];
        if let Ok(Ok(disk)) = opened {
            self.work(&disk, &client).await;
            if end == End::Close {
                let whole = !self.is_over && disk.shutdown().await.is_ok();
                self.collect();
                end = if whole { End::Close } else { End::Process };
            }
            drop(disk);
            self.collect();
        } else {
            // A bad day: the next one tries.
            nbdgate_s3::journal::Medium::close(&*device);
            end = if end == End::Close { End::Process } else { end };
        }
        self.promises.clear();
        self.is_over = false;
        self.inspect(end).await;
    }
}

async fn live(seed: u64) {
    let mut life = Life::new(seed);
    let calm = life.bucket.client(Faults::default());
    let options = CreateOptions {
        size: BLOCKS * BLOCK,
        frame_max: 4096 << (seed % 3),
        segment_target: 64 << 10,
        flush: FlushMode::Journal,
        key: life.key.as_ref().map(Key::source),
        ..CreateOptions::default()
    };
    nbdgate_s3::create(&Life::location(&calm), &options).await.expect("a new disk");
    for _ in 0..life.random.random_range(1..5) {
        life.gateway().await;
    }
}

fn run(seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(live(seed));
}

#[test]
fn with_a_journal_every_recovered_state_is_a_prefix_that_covers_what_was_promised() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("NBDGATE_SEED") {
        run(seed);
        return;
    }
    let first = rand::rng().random_range(0..1 << 40);
    let count = number("NBDGATE_SEEDS").unwrap_or(SEEDS);
    println!("seeds {first} to {}", first + count - 1);
    for seed in first..first + count {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("NBDGATE_SEED={seed} shows it again");
            std::panic::resume_unwind(panic);
        }
    }
}
