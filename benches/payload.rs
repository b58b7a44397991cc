//! Payloads: what it costs to cut and to gather the bytes of a WRITE.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use nbdgate_api::Payload;

const BLOCK: usize = 4 << 10;
const BLOCKS: usize = 32;
const WHOLE: u64 = (BLOCK * BLOCKS) as u64;

/// 128 KiB in one slice, as a large buffer gives it.
fn contiguous() -> Payload {
    Bytes::from(vec![0x5a; BLOCK * BLOCKS]).into()
}

/// 128 KiB in slices of 4 KiB, as several receives give it.
fn scattered() -> Payload {
    let mut payload = Payload::default();
    for _ in 0..BLOCKS {
        payload.push(Bytes::from(vec![0x5a; BLOCK]));
    }
    payload
}

/// Cutting shares memory: its cost depends on slices, not on bytes.
fn cut(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("payload/cut");
    for (name, payload) in [("contiguous", contiguous()), ("scattered", scattered())] {
        group.bench_function(format!("4 KiB of {name}"), |bench| {
            bench.iter(|| black_box(&payload).slice(black_box(WHOLE / 2), BLOCK as u64));
        });
        group.bench_function(format!("64 KiB across borders of {name}"), |bench| {
            bench.iter(|| black_box(&payload).slice(black_box(BLOCK as u64 / 2), WHOLE / 2));
        });
    }
    group.finish();
}

/// Gathering copies: into a buffer that is there, or into one of its own.
fn gather(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("payload/gather");
    group.throughput(Throughput::Bytes(WHOLE));
    for (name, payload) in [("contiguous", contiguous()), ("scattered", scattered())] {
        let mut target = vec![0; BLOCK * BLOCKS];
        group.bench_function(format!("copy_to from {name}"), |bench| {
            bench.iter(|| black_box(&payload).copy_to(black_box(&mut target)));
        });
    }
    let payload = scattered();
    group.bench_function("into_contiguous from scattered", |bench| {
        bench.iter_batched(|| payload.clone(), Payload::into_contiguous, BatchSize::SmallInput);
    });
    group.finish();
}

/// A small WRITE: one slice, which costs neither an allocation nor a copy, there and back.
fn one_slice(criterion: &mut Criterion) {
    let bytes = Bytes::from(vec![0x5a; BLOCK]);
    criterion.bench_function("payload/one slice, wrapped and unwrapped", |bench| {
        bench.iter(|| black_box(Payload::from(black_box(&bytes).clone())).into_contiguous());
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    cut(&mut criterion);
    gather(&mut criterion);
    one_slice(&mut criterion);
    criterion.final_summary();
}
