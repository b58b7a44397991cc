//! Lives of a family of disks by seed: snapshots, clones, rollbacks, removals, on good and bad days, cut short anywhere.
//!
//! The oracle: a snapshot that exists reads exactly what its disk showed when it was asked for, for as long as it exists;
//! each disk reads what was written to it; a step that was cut short has happened or has not, and can be repeated.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use nbdgate_api::{Backend, Op};
use nbdgate_s3::{Disk, Error, Location, NoProgress, OnUnclean, OpenOptions, admin};
use object_store::ObjectStore;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IteratorRandom};

use crate::{
    ask::{ask, flush},
    prefix::{block, look},
    setup::{BLOCK, create, options},
    sim_store::{Bucket, Faults, SimStore},
};

/// What `look` looks at.
const BLOCKS: u64 = 48;

const SEEDS: u64 = 24;

type Shown = Vec<u64>;

#[derive(Clone, Debug, Default)]
struct Model {
    now: Shown,
    snapshots: BTreeMap<String, Shown>,
    /// Of which disk and snapshot it is a clone.
    parent: Option<(String, String)>,
}

struct Family {
    seed: u64,
    random: StdRng,
    bucket: Arc<Bucket>,
    disks: BTreeMap<String, Model>,
    number: u64,
}

impl Family {
    fn location(client: &Arc<SimStore>, name: &str) -> Location {
        let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(client);
        Location::in_store(store, "root", name)
    }

    fn options(&mut self) -> OpenOptions {
        let mut options = OpenOptions { on_unclean: OnUnclean::Serve, ..options() };
        options.tuning.seed = Some(self.random.random());
        options.tuning.attempt_timeout = Duration::from_secs(2);
        options.tuning.backoff = (Duration::from_millis(20), Duration::from_millis(500));
        options
    }

    fn client(&mut self, calm: bool) -> Arc<SimStore> {
        let storm = !calm && self.random.random_bool(0.4);
        self.bucket.client(if storm { Faults::storm() } else { Faults::default() })
    }

    /// Runs a step, perhaps only for a while. `None` if it was cut short.
    async fn maybe<T>(&mut self, step: impl Future<Output = Result<T, Error>>) -> Option<Result<T, Error>> {
        if self.random.random_bool(0.3) {
            let time = Duration::from_millis(self.random.random_range(0..400));
            tokio::time::timeout(time, step).await.ok()
        } else {
            Some(step.await)
        }
    }

    fn any_disk(&mut self) -> String {
        self.disks.keys().choose(&mut self.random).unwrap().clone()
    }

    fn any_snapshot(&mut self) -> Option<(String, String)> {
        let all = self.disks.iter().flat_map(|(disk, model)| model.snapshots.keys().map(move |name| (disk, name)));
        all.choose(&mut self.random).map(|(disk, name)| (disk.clone(), name.clone()))
    }

    fn has_clones(&self, disk: &str, snapshot: Option<&str>) -> bool {
        self.disks.values().any(|model| {
            model.parent.as_ref().is_some_and(|(of, at)| of == disk && snapshot.is_none_or(|snapshot| snapshot == at))
        })
    }

    async fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..45 => self.gateway().await,
            45..65 => self.make_clone().await,
            65..75 => self.roll_back().await,
            75..87 => self.remove_snapshot().await,
            87..95 => Box::pin(self.remove()).await,
            _ => self.inspect().await,
        }
    }

    /// A disk is opened, written, snapshotted, and closed or left to die after a flush.
    async fn gateway(&mut self) {
        let name = self.any_disk();
        let (client, options) = (self.client(false), self.options());
        let Ok(disk) = nbdgate_s3::open(&Self::location(&client, &name), options).await else { return };
        for _ in 0..self.random.random_range(1..12) {
            if self.random.random_bool(0.25) {
                self.snapshot(&name, &disk).await;
            } else {
                self.mutate(&name, &disk).await;
            }
        }
        if self.random.random_bool(0.5) {
            flush(&disk).await.unwrap();
        } else {
            disk.shutdown().await.unwrap();
        }
    }

    async fn mutate(&mut self, name: &str, disk: &Disk) {
        let start = self.random.random_range(0..BLOCKS);
        let end = self.random.random_range(start + 1..=BLOCKS.min(start + 9));
        self.number += 1;
        let number = self.number;
        let bytes: Vec<u8> = (start..end).flat_map(|lba| block(number, lba)).collect();
        let op = Op::Write { offset: start * BLOCK, payload: bytes.into(), fua: false };
        ask(disk, op).answer().await.outcome.unwrap();
        let range = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
        self.disks.get_mut(name).unwrap().now[range].fill(number);
    }

    async fn snapshot(&mut self, name: &str, disk: &Disk) {
        self.number += 1;
        let snapshot = format!("s{}", self.number);
        if let Some(taken) = self.maybe(disk.snapshot(&snapshot)).await {
            taken.unwrap_or_else(|error| panic!("seed {}: {}", self.seed, error.chain()));
        }
        // A caller who loses interest does not end it.
        let taken = || disk.snapshots().iter().any(|info| info.name == snapshot);
        for _ in 0..100 {
            if taken() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        assert!(taken(), "seed {}: a snapshot was begun and never taken", self.seed);
        let model = self.disks.get_mut(name).unwrap();
        model.snapshots.insert(snapshot, model.now.clone());
    }

    async fn make_clone(&mut self) {
        let Some((disk, snapshot)) = self.any_snapshot() else { return };
        self.number += 1;
        let target = format!("clone{}", self.number);
        let (client, options) = (self.client(false), self.options());
        let (from, to) = (Self::location(&client, &disk), Self::location(&client, &target));
        let made = self.maybe(async { admin::clone(&from, &snapshot, &to, &options).await }).await;
        // What is on its way arrives.
        tokio::time::sleep(Duration::from_mins(2)).await;
        let calm = self.client(true);
        let exists = admin::info(&Self::location(&calm, &target)).await;
        if let Some(Ok(_)) = made {
            assert!(exists.is_ok(), "seed {}: a clone that was made is not there", self.seed);
        }
        if exists.is_ok() {
            let now = self.disks[&disk].snapshots[&snapshot].clone();
            self.disks.insert(target, Model { now, parent: Some((disk, snapshot)), ..Model::default() });
        }
    }

    async fn roll_back(&mut self) {
        let Some((name, snapshot)) = self.any_snapshot() else { return };
        let (client, options) = (self.client(false), self.options());
        let location = Self::location(&client, &name);
        let done = self.maybe(async { admin::rollback(&location, &snapshot, &options).await }).await;
        tokio::time::sleep(Duration::from_mins(2)).await;
        let seen = self.see(&name, None).await;
        let model = self.disks.get_mut(&name).unwrap();
        let target = model.snapshots[&snapshot].clone();
        if let Some(Ok(_)) = done {
            assert_eq!(seen, target, "seed {}: {name} was rolled back to {snapshot}", self.seed);
        }
        assert!(seen == target || seen == model.now, "seed {}: {name} is neither before nor after", self.seed);
        model.now = seen;
    }

    async fn remove_snapshot(&mut self) {
        let Some((name, snapshot)) = self.any_snapshot() else { return };
        let (client, options) = (self.client(false), self.options());
        let location = Self::location(&client, &name);
        let held = self.has_clones(&name, Some(&snapshot));
        let gone = self.maybe(async { admin::remove_snapshot(&location, &snapshot, &options).await }).await;
        tokio::time::sleep(Duration::from_mins(2)).await;
        if held {
            assert!(!matches!(gone, Some(Ok(()))), "seed {}: a snapshot with clones was removed", self.seed);
            return;
        }
        // Nothing blocks it for good: not a clone that was begun, not a removal that was cut short.
        let (client, options) = (self.client(true), self.options());
        let location = Self::location(&client, &name);
        let names = admin::snapshots(&location, &options).await.unwrap();
        if names.iter().any(|info| info.name == snapshot) {
            let again = admin::remove_snapshot(&location, &snapshot, &options).await;
            again.unwrap_or_else(|error| panic!("seed {}: {}", self.seed, error.chain()));
        }
        self.disks.get_mut(&name).unwrap().snapshots.remove(&snapshot);
    }

    async fn remove(&mut self) {
        let name = self.any_disk();
        if name == "first" {
            return;
        }
        let (client, options) = (self.client(false), self.options());
        let location = Self::location(&client, &name);
        let held = self.has_clones(&name, None);
        let gone = Box::pin(self.maybe(async { admin::remove(&location, &options, &NoProgress).await })).await;
        tokio::time::sleep(Duration::from_mins(2)).await;
        if held {
            assert!(!matches!(gone, Some(Ok(_))), "seed {}: a disk whose snapshots have clones was removed", self.seed);
            return;
        }
        let (client, options) = (self.client(true), self.options());
        let location = Self::location(&client, &name);
        if !matches!(gone, Some(Ok(_)))
            && let Err(error) = admin::remove(&location, &options, &NoProgress).await
        {
            assert!(error.chain().contains("no disk"), "seed {}: {}", self.seed, error.chain());
        }
        self.disks.remove(&name);
    }

    async fn see(&mut self, name: &str, snapshot: Option<&str>) -> Shown {
        let (client, mut options) = (self.client(true), self.options());
        options.read_only = true;
        options.snapshot = snapshot.map(str::to_owned);
        let disk = nbdgate_s3::open(&Self::location(&client, name), options).await;
        let disk = disk.unwrap_or_else(|error| panic!("seed {}: {name}@{snapshot:?}: {}", self.seed, error.chain()));
        assert_eq!(disk.info().size, BLOCKS * BLOCK);
        look(&disk, &client, self.seed).await.expect("the inspector lives")
    }

    async fn inspect(&mut self) {
        for (name, model) in self.disks.clone() {
            assert_eq!(self.see(&name, None).await, model.now, "seed {}: {name}", self.seed);
            for (snapshot, shown) in &model.snapshots {
                let seen = self.see(&name, Some(snapshot)).await;
                assert_eq!(&seen, shown, "seed {}: {name}@{snapshot}", self.seed);
            }
        }
    }
}

async fn live(seed: u64) {
    let bucket = Bucket::new(seed);
    let random = StdRng::seed_from_u64(seed);
    let mut family = Family { seed, random, bucket, disks: BTreeMap::new(), number: 0 };
    let calm = family.client(true);
    create(&Family::location(&calm, "first"), BLOCKS * BLOCK).await;
    let now = vec![0; usize::try_from(BLOCKS).unwrap()];
    family.disks.insert("first".to_owned(), Model { now, ..Model::default() });
    for _ in 0..family.random.random_range(5..30) {
        Box::pin(family.step()).await;
    }
    family.inspect().await;
}

fn run(seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(live(seed));
}

#[test]
fn every_snapshot_stays_what_it_was_through_every_life_of_its_family() {
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

/// Of a clone and a removal of its snapshot at the same time, at most one succeeds, and what is left is whole.
async fn race(seed: u64) {
    let bucket = Bucket::new(seed);
    let random = StdRng::seed_from_u64(seed);
    let mut family = Family { seed, random, bucket, disks: BTreeMap::new(), number: 0 };
    let calm = family.client(true);
    create(&Family::location(&calm, "first"), BLOCKS * BLOCK).await;
    let options = family.options();
    admin::snapshot(&Family::location(&calm, "first"), "s", &options).await.unwrap();
    let clients: Vec<_> = (0..3).map(|_| family.client(false)).collect();
    let delay = Duration::from_millis(family.random.random_range(0..300));
    let [one, two, three] = [0, 1, 2].map(|at| Family::location(&clients[at], "first"));
    let (to_one, to_two) = (Family::location(&clients[0], "a"), Family::location(&clients[1], "b"));
    let [for_one, for_two, for_three] = [(); 3].map(|()| family.options());
    let removal = async {
        tokio::time::sleep(delay).await;
        admin::remove_snapshot(&three, "s", &for_three).await
    };
    let (a, b, removed) =
        tokio::join!(admin::clone(&one, "s", &to_one, &for_one), admin::clone(&two, "s", &to_two, &for_two), removal);
    tokio::time::sleep(Duration::from_mins(2)).await;
    let names: Vec<String> = admin::snapshots(&Family::location(&calm, "first"), &options)
        .await
        .unwrap()
        .into_iter()
        .map(|s| s.name)
        .collect();
    if a.is_ok() || b.is_ok() {
        assert!(removed.is_err(), "seed {seed}: a snapshot went although it was cloned");
        assert_eq!(names, ["s"], "seed {seed}");
    }
    for (made, name) in [(a, "a"), (b, "b")] {
        if made.is_ok() {
            family.see(name, None).await;
        }
    }
}

#[test]
fn of_clones_and_the_removal_of_their_snapshot_one_side_wins() {
    let first = rand::rng().random_range(0..1 << 40);
    println!("seeds {first} to {}", first + 99);
    for seed in first..first + 100 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(race(seed));
    }
}
