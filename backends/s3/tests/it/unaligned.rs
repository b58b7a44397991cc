//! Requests of any byte against an array of bytes, with edges in every state: hole, pending, on the way, stored.

use std::sync::Arc;

use nbdgate_api::{Backend, ByteRange, Op, Zeroes};
use nbdgate_s3::{CreateOptions, OnUnclean, OpenOptions, Tuning};
use object_store::ObjectStore;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    ask::{ask, flush, read},
    setup::{BLOCK, at, noise, options},
    sim_store::{Bucket, Faults},
};

const SIZE: u64 = 24 * BLOCK;

fn at_byte(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

/// Several mutations in flight that share blocks and no bytes (C3).
fn disjoint(random: &mut StdRng) -> Vec<ByteRange> {
    let mut cuts: Vec<u64> = (0..random.random_range(2..10)).map(|_| random.random_range(0..=SIZE)).collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts.windows(2).map(|pair| ByteRange::between(pair[0], pair[1])).collect()
}

async fn round(disk: &dyn Backend, random: &mut StdRng, model: &mut [u8]) {
    let mut asked = Vec::new();
    for range in disjoint(random) {
        let place = at_byte(range.offset())..at_byte(range.end());
        let op = match random.random_range(0..5) {
            0 => continue,
            1 => Op::Trim { range, fua: random.random_bool(0.1) },
            2 => Op::WriteZeroes { range, zeroes: Zeroes::default(), fua: false },
            _ => {
                let bytes = noise(random.random(), range.length());
                model[place.clone()].copy_from_slice(&bytes);
                Op::Write { offset: range.offset(), payload: bytes.into(), fua: random.random_bool(0.1) }
            }
        };
        if !matches!(op, Op::Write { .. }) {
            model[place].fill(0);
        }
        asked.push(ask(disk, op));
    }
    for asked in asked {
        asked.answer().await.outcome.unwrap();
    }
}

async fn run_seed(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let bucket = Bucket::new(seed);
    let store: Arc<dyn ObjectStore> = bucket.client(Faults { busy: 30, reply_lost: 20, late: 20, ..Faults::default() });
    nbdgate_s3::create(&at(&store), &CreateOptions { size: SIZE, ..CreateOptions::default() }).await.unwrap();
    let mut model = vec![0; at_byte(SIZE)];
    for _ in 0..3 {
        let tuning =
            Tuning { frame_budget: random.random_range(0..2) << 16, index_budget: 1 << 10, ..options().tuning };
        let options = OpenOptions { on_unclean: OnUnclean::Serve, tuning, ..options() };
        let disk = nbdgate_s3::open(&at(&store), options).await.unwrap();
        for _ in 0..12 {
            round(&disk, &mut random, &mut model).await;
            if random.random_bool(0.3) {
                flush(&disk).await.unwrap();
            }
            let (start, end) = (random.random_range(0..SIZE), SIZE);
            let found = read(&disk, start, end - start).await.unwrap();
            assert!(found == model[at_byte(start)..], "seed {seed}: a read differs from the model");
        }
        if random.random_bool(0.5) {
            disk.shutdown().await.unwrap();
        } else {
            flush(&disk).await.unwrap();
        }
    }
}

#[test]
fn requests_of_any_byte_agree_with_a_model() {
    for seed in 0..60 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run_seed(seed));
    }
}
