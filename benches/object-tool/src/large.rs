//! A large disk: filled through the engine itself, so that it is whatever this version writes; then opened, and trimmed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use nbdgate_api::{Backend, ByteRange, Op, wait};
use nbdgate_s3::{CheckpointRules, CreateOptions, Location, Observer, OnUnclean, OpenOptions, Request, Tuning};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

const BLOCK: u64 = 4096;

/// Creates a disk and writes single blocks at random places.
#[derive(Debug, Args)]
pub(crate) struct Fill {
    /// Where: s3://bucket/prefix/disk.
    url: String,
    /// Size of the disk in GiB.
    #[arg(long, default_value_t = 1024)]
    gib: u64,
    /// Blocks to write; nearly as many extents.
    #[arg(long, default_value_t = 10_000_000)]
    extents: u64,
}

/// Opens a disk, perhaps trims it, and closes it.
#[derive(Debug, Args)]
pub(crate) struct Open {
    /// Where: s3://bucket/prefix/disk.
    url: String,
    /// TRIM the whole disk at once.
    #[arg(long)]
    trim: bool,
}

/// Counts requests.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Observer for Counter {
    fn request(&self, _request: &Request) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

impl Fill {
    pub(crate) fn run(&self) -> anyhow::Result<Value> {
        let (runtime, location) = (runtime()?, self.url.parse::<Location>()?);
        let create = CreateOptions { size: self.gib << 30, frame_max: 4096, ..CreateOptions::default() };
        runtime.block_on(nbdgate_s3::create(&location, &create))?;
        // One checkpoint at the end is enough.
        let checkpoint = CheckpointRules { segments: u32::MAX, meta_bytes: u64::MAX, ..CheckpointRules::default() };
        let tuning = Tuning { checkpoint, close_deadline: Duration::from_mins(10), ..Tuning::default() };
        let disk = runtime.block_on(nbdgate_s3::open(&location, OpenOptions { tuning, ..OpenOptions::default() }))?;
        let mut random = StdRng::seed_from_u64(self.extents);
        let begin = Instant::now();
        for number in 0..self.extents {
            let lba = random.random_range(0..create.size / BLOCK);
            // Short when compressed, and unlike any other.
            let mut block = vec![0; 4096];
            block[..8].copy_from_slice(&number.to_le_bytes());
            wait::write(&disk, lba * BLOCK, block)?;
        }
        disk.close()?;
        Ok(json!({ "seconds": begin.elapsed().as_secs_f64() }))
    }
}

impl Open {
    pub(crate) fn run(&self) -> anyhow::Result<Value> {
        let (runtime, location) = (runtime()?, self.url.parse::<Location>()?);
        let counter = Arc::new(Counter::default());
        let options = OpenOptions {
            on_unclean: OnUnclean::Serve,
            observer: Arc::<Counter>::clone(&counter),
            ..OpenOptions::default()
        };
        let begin = Instant::now();
        let disk = runtime.block_on(nbdgate_s3::open(&location, options))?;
        let opened = begin.elapsed();
        let requests = counter.0.load(Ordering::Relaxed);
        let mut told = json!({ "open_seconds": opened.as_secs_f64(), "open_requests": requests });
        if self.trim {
            let range = ByteRange::between(0, disk.info().size);
            let begin = Instant::now();
            let trimmed = wait::call(&disk, Op::Trim { range, fua: false });
            told["trim_seconds"] = begin.elapsed().as_secs_f64().into();
            told["trim_requests"] = (counter.0.load(Ordering::Relaxed) - requests).into();
            trimmed.outcome?;
        }
        disk.close()?;
        Ok(told)
    }
}
