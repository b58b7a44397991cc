//! A disk with a history: several gateways, a crash, a checkpoint under way, overwrites and trims; and its exact content.

use std::sync::Arc;

use nbdgate_api::{Backend, ByteRange, Op};
use nbdgate_s3::{CheckpointRules, CreateOptions, Disk, NoProgress, OnUnclean, OpenOptions, Tuning, fsck::FsckReport};
use object_store::ObjectStore;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    ask::{ask, flush, read, write},
    setup::{BLOCK, at, noise, tuning},
    sim_store::{Bucket, Faults},
};

pub(crate) const BLOCKS: u64 = 2048;

/// Blocks of each disk that are written at all.
const USED: u64 = 256;

/// A bucket with one disk, and what that disk holds.
pub(crate) struct History {
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) content: Vec<u8>,
}

pub(crate) fn options() -> OpenOptions {
    OpenOptions {
        tuning: Tuning { checkpoint: CheckpointRules { segments: 6, ..CheckpointRules::default() }, ..tuning() },
        host: Some("host-a".to_owned()),
        on_unclean: OnUnclean::Serve,
        ..OpenOptions::default()
    }
}

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap()
}

impl History {
    /// Three gateways by seed; the second dies. The last one closes the disk if `clean`.
    pub(crate) async fn new(seed: u64, clean: bool) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let bucket = Bucket::new(seed);
        let history = Self { bucket, content: vec![0; index(BLOCKS * BLOCK)] };
        let store = history.store();
        let create = CreateOptions { size: BLOCKS * BLOCK, segment_target: 64 << 10, ..CreateOptions::default() };
        nbdgate_s3::create(&at(&store), &create).await.unwrap();
        let mut history = history;
        for gateway in 0..3 {
            let disk = nbdgate_s3::open(&at(&store), options()).await.unwrap();
            for _ in 0..random.random_range(4..12) {
                history.mutate(&disk, &mut random).await;
                flush(&disk).await.unwrap();
            }
            if gateway == 0 || gateway == 2 && clean {
                disk.shutdown().await.unwrap();
            }
        }
        history
    }

    /// The same disk in another bucket.
    pub(crate) fn fork(&self) -> Self {
        Self { bucket: self.bucket.fork(), content: self.content.clone() }
    }

    async fn mutate(&mut self, disk: &Disk, random: &mut StdRng) {
        let nblocks = random.random_range(1..24);
        let start = random.random_range(0..USED - nblocks);
        let range = index(start * BLOCK)..index((start + nblocks) * BLOCK);
        if random.random_bool(0.25) {
            let trim = Op::Trim { range: ByteRange::new(start * BLOCK, nblocks * BLOCK).unwrap(), fua: false };
            ask(disk, trim).answer().await.outcome.unwrap();
            self.content[range].fill(0);
        } else {
            let bytes = noise(random.random(), nblocks * BLOCK);
            write(disk, start * BLOCK, bytes.clone()).await.unwrap();
            self.content[range].copy_from_slice(&bytes);
        }
    }

    /// A way to the bucket without faults.
    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        self.bucket.client(Faults::default())
    }

    pub(crate) async fn fsck(&self, data: bool) -> FsckReport {
        let store = self.store();
        nbdgate_s3::fsck(&at(&store), &nbdgate_s3::FsckOptions { data }, &NoProgress, &options()).await.unwrap()
    }

    /// Whether the disk opens and reads as what was written; an error is told, other bytes are not accepted.
    pub(crate) async fn is_exact(&self) -> Result<(), String> {
        let store = self.store();
        let read_only = OpenOptions { read_only: true, ..options() };
        let disk = nbdgate_s3::open(&at(&store), read_only).await.map_err(|error| error.chain())?;
        assert_eq!(disk.info().size, BLOCKS * BLOCK);
        let bytes = read(&disk, 0, BLOCKS * BLOCK).await.map_err(|error| error.chain())?;
        if bytes == self.content { Ok(()) } else { Err("other bytes".to_owned()) }
    }

    /// Names below the root, sorted; without the probe's.
    pub(crate) async fn names(&self) -> Vec<String> {
        self.bucket.names().await.into_iter().filter(|name| !name.contains("/probe/")).collect()
    }
}

/// Seeds: `NBDGATE_SEED` runs one, `NBDGATE_SEEDS` so many.
pub(crate) fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("NBDGATE_SEED").unwrap_or_else(|| rand::rng().random_range(0..1 << 40));
    let count = if number("NBDGATE_SEED").is_some() { 1 } else { number("NBDGATE_SEEDS").unwrap_or(count) };
    println!("seeds {first} to {}", first + count - 1);
    first..first + count
}

/// Runs one life on a clock of its own.
pub(crate) fn on_paused_clock(life: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(life);
}
