//! Requests longer than 4 MiB: cut at 4 MiB, and recovered as a prefix of those parts (P1, P3).

use std::{sync::Arc, time::Duration};

use nbdgate_api::{Backend, ByteRange, Op};
use nbdgate_s3::{CheckpointRules, CreateOptions, Disk, Location, OnUnclean, OpenOptions, Tuning};
use object_store::ObjectStore;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    ask::{ask, read},
    setup::BLOCK,
    sim_store::{Bucket, Faults, SimStore},
};

const BLOCKS: u64 = 4096;

/// The longest part that is recovered wholly or not at all, in blocks.
const PART: u64 = (4 << 20) / BLOCK;

/// A part of a request: its blocks, and the number they then show; 0 for zeros.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: u64,
    nblocks: u64,
    shows: u64,
}

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap()
}

fn block(shows: u64, lba: u64) -> Vec<u8> {
    if shows == 0 {
        return vec![0; index(BLOCK)];
    }
    let mut bytes = vec![u8::try_from((shows * 31 + lba) % 255).unwrap() + 1; index(BLOCK)];
    bytes[..8].copy_from_slice(&shows.to_le_bytes());
    bytes[8..16].copy_from_slice(&lba.to_le_bytes());
    bytes
}

fn location(client: &Arc<SimStore>) -> Location {
    let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(client);
    Location::in_store(store, "root", "disk")
}

fn options(random: &mut StdRng) -> OpenOptions {
    let tuning = Tuning {
        // Smaller than one request at times.
        dirty_budget: random.random_range(2..24) << 20,
        window: random.random_range(1..5),
        upload_delay: Duration::from_millis(random.random_range(1..2000)),
        get_budget: random.random_range(1..8) << 20,
        backoff: (Duration::from_millis(20), Duration::from_millis(500)),
        checkpoint: CheckpointRules { segments: random.random_range(2..12), ..CheckpointRules::default() },
        probe: (1, 2),
        seed: Some(random.random()),
        ..Tuning::default()
    };
    OpenOptions { tuning, on_unclean: OnUnclean::Serve, steal: true, ..OpenOptions::default() }
}

/// The numbers that the disk shows, by one read of all of it.
async fn look(disk: &dyn Backend, seed: u64) -> Vec<u64> {
    let bytes = read(disk, 0, BLOCKS * BLOCK).await.unwrap_or_else(|error| panic!("seed {seed}: {}", error.chain()));
    let show = |(lba, bytes): (usize, &[u8])| {
        let shows = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        assert!(bytes == block(shows, lba as u64), "seed {seed}: block {lba} is torn");
        shows
    };
    bytes.chunks(index(BLOCK)).enumerate().map(show).collect()
}

/// One gateway: its parts in order, and how many of them are known to be durable.
async fn work(disk: &Disk, client: &SimStore, random: &mut StdRng, number: &mut u64) -> (Vec<Part>, usize) {
    let (mut parts, mut durable) = (Vec::new(), 0);
    for _ in 0..random.random_range(2..10) {
        let nblocks = random.random_range(1..=3 * PART);
        let start = random.random_range(0..=BLOCKS - nblocks);
        let (zeros, fua) = (random.random_bool(0.15), random.random_bool(0.2));
        *number += 1;
        let range = ByteRange::between(start * BLOCK, (start + nblocks) * BLOCK);
        let op = if zeros {
            parts.push(Part { start, nblocks, shows: 0 });
            Op::Trim { range, fua }
        } else {
            let cut = |at| Part { start: start + at, nblocks: PART.min(nblocks - at), shows: *number };
            parts.extend((0..nblocks).step_by(index(PART)).map(cut));
            let bytes: Vec<u8> = (start..start + nblocks).flat_map(|lba| block(*number, lba)).collect();
            Op::Write { offset: range.offset(), payload: bytes.into(), fua }
        };
        let answer = tokio::time::timeout(Duration::from_mins(10), ask(disk, op).answer()).await;
        let Ok(answer) = answer else { return (parts, durable) };
        if fua && answer.outcome.is_ok() {
            durable = parts.len();
        }
        if random.random_bool(0.3) {
            let flushed = tokio::time::timeout(Duration::from_mins(10), ask(disk, Op::Flush).answer()).await;
            if flushed.is_ok_and(|answer| answer.outcome.is_ok()) {
                durable = parts.len();
            }
        }
        if client.is_dead() {
            break;
        }
    }
    (parts, durable)
}

async fn live(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let bucket = Bucket::new(seed);
    let create = CreateOptions { size: BLOCKS * BLOCK, segment_target: 1 << 20, ..CreateOptions::default() };
    nbdgate_s3::create(&location(&bucket.client(Faults::default())), &create).await.unwrap();
    let mut state = vec![0; index(BLOCKS)];
    let mut number = 0;
    for _ in 0..2 {
        let client = bucket.client(if random.random_bool(0.5) { Faults::storm() } else { Faults::default() });
        client.crash_at(random.random_range(20..80));
        let way = location(&client);
        let opened = tokio::time::timeout(Duration::from_secs(90), nbdgate_s3::open(&way, options(&mut random))).await;
        let Ok(Ok(disk)) = opened else { continue };
        let (parts, durable) = work(&disk, &client, &mut random, &mut number).await;
        drop(disk);
        let calm = bucket.client(Faults::default());
        let disk = nbdgate_s3::open(&location(&calm), options(&mut random)).await;
        let disk = disk.unwrap_or_else(|error| panic!("seed {seed}: {}", error.chain()));
        let seen = look(&disk, seed).await;
        let mut recovered = (state == seen).then_some(0);
        for (k, part) in parts.iter().enumerate() {
            state[index(part.start)..index(part.start + part.nblocks)].fill(part.shows);
            if state == seen {
                recovered = Some(k + 1);
            }
        }
        let recovered = recovered.unwrap_or_else(|| panic!("seed {seed}: what is seen is no prefix of {parts:?}"));
        assert!(recovered >= durable, "seed {seed}: {recovered} parts are there, {durable} were flushed");
        state = seen;
    }
}

#[test]
fn long_requests_are_recovered_as_a_prefix_of_their_parts() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("NBDGATE_SEED").unwrap_or_else(|| rand::rng().random_range(0..1 << 40));
    let count = if number("NBDGATE_SEED").is_some() { 1 } else { number("NBDGATE_SEEDS").unwrap_or(40).min(200) };
    println!("seeds {first} to {}", first + count - 1);
    for seed in first..first + count {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(live(seed));
    }
}
