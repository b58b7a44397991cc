//! The oracle of OBJECT-LOG §12.2: whatever the store does and whenever the gateway dies, what is recovered is the
//! effect of the first k mutations, and k covers every acknowledged FLUSH.
//!
//! Each mutation writes its number into its blocks. One seed is one life of a disk: some gateways one after the other,
//! each of which dies at some request, is closed, or is left behind as a zombie that its successor fences.

use std::{collections::HashSet, sync::Arc, time::Duration};

use nbdgate_api::{Backend, ByteRange, Kind, Op};
use nbdgate_s3::{
    CheckpointRules, CreateOptions, Disk, Fencing, FsckOptions, GcRules, KeySource, Location, Memory, NoProgress,
    OnUnclean, OpenOptions, ReadRules, Tuning, admin,
};
use object_store::ObjectStore;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    ask::{Asked, ask, read},
    audit::audit,
    mutants::Mutant,
    sealed_objects::seal_of,
    setup::{BLOCK, Key},
    sim_medium::SimMedium,
    sim_store::{Bucket, Faults, SimStore},
};

pub(crate) const BLOCKS: u64 = 48;

/// Seeds per run; `NBDGATE_SEED` runs one, `NBDGATE_SEEDS` so many.
const SEEDS: u64 = 600;

/// A mutation: its blocks, and the number they then show; 0 for zeros.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mutation {
    pub(crate) start: u64,
    pub(crate) nblocks: u64,
    pub(crate) shows: u64,
}

/// A FLUSH or FUA in flight, with the mutations that it covers.
struct Promise {
    covers: usize,
    fua: bool,
    asked: Asked,
}

/// What was asked of the disk, in order, and what is known to be durable.
struct History {
    base: Vec<u64>,
    mutations: Vec<Mutation>,
    durable: usize,
}

impl History {
    fn new() -> Self {
        Self { base: vec![0; blocks(BLOCKS)], mutations: Vec::new(), durable: 0 }
    }

    fn state(&self, k: usize) -> Vec<u64> {
        let mut state = self.base.clone();
        for mutation in &self.mutations[..k] {
            mutation.apply(&mut state);
        }
        state
    }

    /// Every k whose prefix is `seen`.
    fn prefixes(&self, seen: &[u64]) -> Vec<usize> {
        let mut state = self.base.clone();
        let mut found = Vec::new();
        if state == seen {
            found.push(0);
        }
        for (k, mutation) in self.mutations.iter().enumerate() {
            mutation.apply(&mut state);
            if state == seen {
                found.push(k + 1);
            }
        }
        found
    }

    /// Holds what was recovered against the promises, and goes on from there.
    fn recovered(&mut self, seen: Vec<u64>, seed: u64) -> usize {
        let prefixes = self.prefixes(&seen);
        let best = prefixes.last().copied();
        let best = best.unwrap_or_else(|| panic!("seed {seed}: {seen:?} is no prefix of {:?}", self.mutations));
        assert!(best >= self.durable, "seed {seed}: recovered {best} mutations, {} were flushed", self.durable);
        *self = Self { base: seen, mutations: Vec::new(), durable: 0 };
        best
    }
}

impl Mutation {
    pub(crate) fn apply(&self, state: &mut [u64]) {
        state[blocks(self.start)..blocks(self.start + self.nblocks)].fill(self.shows);
    }
}

pub(crate) fn blocks(n: u64) -> usize {
    usize::try_from(n).unwrap()
}

/// A block that shows a number, and does not compress well.
pub(crate) fn block(shows: u64, lba: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..BLOCK / 8).flat_map(|word| (shows * 7919 + lba + word * word).to_le_bytes()).collect();
    bytes[..8].copy_from_slice(&shows.to_le_bytes());
    bytes[8..16].copy_from_slice(&lba.to_le_bytes());
    bytes
}

/// The numbers that the disk shows; `None` if its gateway died, or was fenced, before it could tell.
pub(crate) async fn look(disk: &dyn Backend, client: &SimStore, seed: u64) -> Option<Vec<u64>> {
    let mut attempts = 0;
    let bytes = loop {
        match read(disk, 0, BLOCKS * BLOCK).await {
            Ok(found) => break found,
            Err(_) if client.is_dead() => return None,
            // Fenced.
            Err(error) if error.kind() == Kind::Shutdown => return None,
            Err(error) => assert!(attempts < 100, "seed {seed}: reads never work again: {}", error.chain()),
        }
        attempts += 1;
    };
    let show = |(lba, bytes): (usize, &[u8])| {
        let shows = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        let expected = if shows == 0 { vec![0; blocks(BLOCK)] } else { block(shows, lba as u64) };
        assert!(bytes == expected, "seed {seed}: block {lba} holds neither zeros nor what was written there");
        shows
    };
    Some(bytes.chunks(blocks(BLOCK)).enumerate().map(show).collect())
}

/// One life.
struct Life {
    seed: u64,
    random: StdRng,
    bucket: Arc<Bucket>,
    history: History,
    number: u64,
    promises: Vec<Promise>,
    /// The first mutation that was not answered.
    stuck: Option<usize>,
    /// What the read caches of all gateways are on; half of the lives have none.
    medium: Option<Arc<SimMedium>>,
    memory: Arc<Memory>,
    /// Every third disk is encrypted.
    key: Option<Key>,
}

impl Life {
    fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        Self {
            seed,
            random: StdRng::seed_from_u64(seed),
            bucket: Bucket::mutated(seed, mutant),
            history: History::new(),
            number: 0,
            promises: Vec::new(),
            stuck: None,
            medium: seed.is_multiple_of(2).then(|| SimMedium::new(seed, 1 << 20)),
            memory: Memory::new(4096 << (seed % 8)),
            key: seed.is_multiple_of(3).then(|| Key::new("prefix")),
        }
    }

    fn key(&self) -> Option<KeySource> {
        self.key.as_ref().map(Key::source)
    }

    fn location(client: &Arc<SimStore>) -> Location {
        let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(client);
        Location::in_store(store, "root", "disk")
    }

    fn options(&mut self, host: &str) -> OpenOptions {
        let random = &mut self.random;
        let tuning = Tuning {
            dirty_budget: random.random_range(16..256) << 10,
            upload_delay: Duration::from_millis(random.random_range(1..2000)),
            window: random.random_range(1..5),
            flush_inflight: random.random_range(1..4),
            index_budget: random.random_range(0..4) << 10,
            frame_budget: random.random_range(0..3) << 14,
            get_budget: random.random_range(1..64) << 10,
            attempt_timeout: Duration::from_secs(2),
            backoff: (Duration::from_millis(20), Duration::from_millis(500)),
            checkpoint: CheckpointRules { segments: random.random_range(1..12), ..CheckpointRules::default() },
            probe: (1, 2),
            gc: GcRules {
                enabled: random.random_bool(0.8),
                start_percent: random.random_range(60..100),
                stop_percent: 100,
                segment_target: random.random_range(8..128) << 10,
                small_segment: random.random_range(0..3) << 12,
                delete_delay: Duration::from_millis(random.random_range(0..1500)),
                sweep_interval: Duration::from_millis(random.random_range(500..3000)),
                sweep_age: Duration::ZERO,
                ..GcRules::default()
            },
            seed: Some(random.random()),
            reads: ReadRules {
                readahead: random.random_range(0..3) << 16,
                readahead_budget: random.random_range(1..4) << 15,
                join_gap: random.random_range(0..3) << 15,
                get_max: random.random_range(1..5) << 15,
                hedge_percent: random.random_range(0..100),
                ..ReadRules::default()
            },
            ..Tuning::default()
        };
        OpenOptions {
            tuning,
            cache: self.medium.as_ref().and_then(SimMedium::cache),
            memory: self.random.random_bool(0.5).then(|| Arc::clone(&self.memory)),
            on_unclean: OnUnclean::Serve,
            steal: true,
            fencing: Fencing::Require,
            key: self.key(),
            host: Some(host.to_owned()),
            ..OpenOptions::default()
        }
    }

    fn faults(&mut self) -> Faults {
        if self.random.random_bool(0.7) { Faults::storm() } else { Faults::default() }
    }

    /// Opens the disk in calm weather and holds it against the history.
    async fn inspect(&mut self) {
        let client = self.bucket.client(Faults::default());
        let options = self.options("inspector");
        let disk = nbdgate_s3::open(&Self::location(&client), options).await;
        let disk = disk.unwrap_or_else(|error| panic!("seed {}: {}", self.seed, error.chain()));
        let seen = look(&disk, &client, self.seed).await.expect("the inspector lives");
        self.history.recovered(seen, self.seed);
        if self.random.random_bool(0.5) {
            disk.shutdown().await.unwrap_or_else(|error| panic!("seed {}: {}", self.seed, error.chain()));
        }
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
        self.history.mutations.push(Mutation { start, nblocks, shows: if zeros { 0 } else { self.number } });
        let asked = ask(disk, op);
        if fua {
            self.promises.push(Promise { covers: self.history.mutations.len(), fua, asked });
        } else {
            // A full disk whose store is dead never answers; what waits in it keeps its place in the order.
            let answered = tokio::time::timeout(Duration::from_secs(400), asked.answer()).await;
            if answered.is_err() {
                self.stuck.get_or_insert(self.history.mutations.len() - 1);
            }
        }
    }

    /// A FLUSH covers what was answered before: a mutation with FUA that still waits is not.
    fn flush(&mut self, disk: &Disk) {
        let answered = self.promises.iter().filter(|promise| promise.fua).map(|promise| promise.covers - 1).min();
        let covers = answered.unwrap_or(self.history.mutations.len()).min(self.stuck.unwrap_or(usize::MAX));
        self.promises.push(Promise { covers, fua: false, asked: ask(disk, Op::Flush) });
    }

    /// Notes which promises were kept.
    fn collect(&mut self) {
        let history = &mut self.history;
        self.promises.retain_mut(|promise| match promise.asked.try_answer() {
            Some(answer) => {
                if answer.outcome.is_ok() {
                    history.durable = history.durable.max(promise.covers);
                }
                false
            }
            None => true,
        });
    }

    async fn work(&mut self, disk: &Disk, client: &SimStore) {
        for _ in 0..self.random.random_range(5..60) {
            match self.random.random_range(0..100) {
                0..70 => self.mutate(disk).await,
                70..85 => {
                    self.flush(disk);
                }
                85..92 => {
                    let pause = self.random.random_range(1..1500);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                _ => {
                    // Acknowledged writes are read at once, wherever their segments are.
                    if self.promises.is_empty()
                        && let Some(seen) = look(disk, client, self.seed).await
                    {
                        let expected = self.history.state(self.history.mutations.len());
                        assert_eq!(seen, expected, "seed {}: a read does not see what was answered", self.seed);
                    }
                }
            }
            self.collect();
            if client.is_dead() {
                return;
            }
        }
    }

    async fn gateway(&mut self, number: u32) {
        let faults = self.faults();
        let client = self.bucket.client(faults);
        let options = self.options(&format!("host-{number}"));
        let crashes = self.random.random_bool(0.6);
        if crashes {
            client.crash_at(self.random.random_range(0..120));
        }
        let location = Self::location(&client);
        let opened = tokio::time::timeout(Duration::from_secs(90), nbdgate_s3::open(&location, options)).await;
        // A bad day, a crash while opening: the next one tries.
        let Ok(Ok(disk)) = opened else { return };
        let base = self.history.mutations.len();
        assert_eq!(base, 0, "the history begins with each gateway");
        self.work(&disk, &client).await;
        match self.random.random_range(0..3) {
            0 if !client.is_dead() => {
                let closed = disk.shutdown().await;
                if closed.is_ok() {
                    self.history.durable = self.history.mutations.len();
                }
                self.collect();
            }
            1 => self.zombie(disk, &client).await,
            _ => {
                drop(disk);
                self.collect();
            }
        }
        self.promises.clear();
        self.stuck = None;
        self.inspect().await;
    }

    /// A full pass, after which nothing is left that nothing names, and nothing is missing.
    async fn clean_up(&mut self) {
        let client = self.bucket.client(Faults::default());
        let mut options = self.options("collector");
        options.tuning.gc.enabled = true;
        let case = format!("seed {}", self.seed);
        let report = admin::gc(&Self::location(&client), &options, &NoProgress).await;
        report.unwrap_or_else(|error| panic!("{case}: {}", error.chain()));
        // Late copies of deleted objects come back once, until another pass.
        tokio::time::sleep(Duration::from_mins(5)).await;
        let report = admin::gc(&Self::location(&client), &options, &NoProgress).await;
        report.unwrap_or_else(|error| panic!("{case}: {}", error.chain()));
        // The audit reads objects as they are: those in clear.
        if self.key.is_some() {
            let everything = FsckOptions { data: true };
            let report = nbdgate_s3::fsck(&Self::location(&client), &everything, &NoProgress, &options).await;
            let report = report.unwrap_or_else(|error| panic!("{case}: {}", error.chain()));
            assert!(report.problems.is_empty(), "{case}: {report:?}");
        } else {
            let found = audit(&self.bucket, &case).await;
            assert!(found.orphans.is_empty(), "{case}: nothing names {:?}", found.orphans);
        }
        self.inspect().await;
    }

    /// A successor takes over while the old one still runs: what it acknowledges from then on must be recovered too.
    async fn zombie(&mut self, old: Disk, client: &SimStore) {
        let successor = self.bucket.client(Faults::default());
        let mut options = self.options("successor");
        // Reads of a zombie may miss what its successor deletes; `collecting` has zombies whose successors do.
        options.tuning.gc.enabled = false;
        self.flush(&old);
        // It goes on writing and flushing while it is taken over.
        let location = Self::location(&successor);
        let (new, ()) = tokio::join!(nbdgate_s3::open(&location, options), self.work(&old, client));
        let new = new.unwrap_or_else(|error| panic!("seed {}: {}", self.seed, error.chain()));
        let seen = look(&new, &successor, self.seed).await.expect("the successor lives");
        tokio::time::sleep(Duration::from_mins(2)).await;
        let late = ask(&old, Op::Write { offset: 0, payload: block(1 << 40, 0).into(), fua: true });
        let late = tokio::time::timeout(Duration::from_mins(1), late.answer()).await;
        assert!(!late.is_ok_and(|answer| answer.outcome.is_ok()), "seed {}: a fenced gateway wrote", self.seed);
        self.collect();
        self.history.recovered(seen.clone(), self.seed);
        let still = look(&new, &successor, self.seed).await;
        assert_eq!(still, Some(seen), "seed {}: the zombie changed the disk", self.seed);
    }
}

async fn live(seed: u64, mutant: Option<Mutant>) {
    let mut life = Life::new(seed, mutant);
    let calm = life.bucket.client(Faults::default());
    let options = CreateOptions {
        size: BLOCKS * BLOCK,
        frame_max: 4096 << (seed % 3),
        segment_target: 64 << 10,
        key: life.key(),
        ..CreateOptions::default()
    };
    nbdgate_s3::create(&Life::location(&calm), &options).await.expect("a new disk");
    for number in 0..life.random.random_range(1..5) {
        life.gateway(number).await;
    }
    life.inspect().await;
    // Some in clear, some encrypted.
    if seed % 6 < 2 {
        life.clean_up().await;
    }
    assert_seals_are_unique(&life.bucket, life.key.is_some(), seed).await;
}

/// No two objects share a key, whatever crashed, raced or was put again.
async fn assert_seals_are_unique(bucket: &Bucket, encrypted: bool, seed: u64) {
    let mut seals = HashSet::new();
    for (name, bytes) in bucket.objects().await {
        let sealable = bytes.starts_with(b"OLV1") && b"SGPM".contains(&bytes[4]);
        assert_eq!(sealable && encrypted, seal_of(&bytes).is_some(), "seed {seed}: {name}");
        if let Some(seal) = seal_of(&bytes) {
            assert!(seals.insert(seal), "seed {seed}: {name} has the key of another object");
        }
    }
}

fn run(seed: u64) {
    run_mutant(seed, None);
}

/// One life, of a protocol with a mistake or without.
pub(crate) fn run_mutant(seed: u64, mutant: Option<Mutant>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(live(seed, mutant));
}

#[test]
fn every_recovered_state_is_a_prefix_that_covers_all_flushes() {
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
