//! Measures a disk in RocksDB below the protocol, to choose options by: what each phase takes, how long the slowest request
//! waits, and what RocksDB counts meanwhile.
//!
//!     cargo run --release -p nbdgate-rocksdb --example options -- DIRECTORY [key=value]...
//!
//! Keys: size (MiB, 512), extent (KiB, 16), cache (MiB, 256), memory (MiB, 256), depth (32), seconds (5), compression (lz4),
//! random (percent of each extent that does not compress, 100), phases (fill,seq4,read,write,flush,overwrite,settle).

use std::{
    collections::{HashMap, VecDeque},
    path::Path,
    time::{Duration, Instant},
};

use nbdgate_api::{Backend, ByteRange, Op, Payload, wait};
use nbdgate_rocksdb::{CreateOptions, Levels, OpenOptions, RocksDisk, Shared, SharedOptions};
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};

struct Lab {
    keys: HashMap<String, String>,
    disk: RocksDisk,
    random: StdRng,
    pool: Vec<bytes::Bytes>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("give a directory")?;
    let keys: HashMap<_, _> = arguments
        .filter_map(|pair| pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())))
        .collect();
    let number = |key: &str, default: u64| keys.get(key).map_or(Ok(default), |value| value.parse());
    let options = CreateOptions {
        size: number("size", 512)? << 20,
        extent: u32::try_from(number("extent", 16)? << 10)?,
        compression: keys.get("compression").map_or(Ok(nbdgate_rocksdb::Compression::Lz4), |name| name.parse())?,
    };
    let shared =
        Shared::new(&SharedOptions { cache: number("cache", 256)? << 20, write_memory: number("memory", 256)? << 20 });
    let path = Path::new(&directory);
    let open = OpenOptions { create: Some(options.into()), ..OpenOptions::new(shared) };
    let mut random = StdRng::seed_from_u64(1);
    let incompressible = usize::try_from(number("random", 100)?)?;
    let pool = (0..64).map(|_| {
        let mut bytes = vec![7; 1 << 20];
        for extent in bytes.chunks_mut(4096) {
            random.fill_bytes(&mut extent[..4096 * incompressible / 100]);
        }
        bytes.into()
    });
    let pool = pool.collect();
    let mut lab = Lab { disk: RocksDisk::open(path, &open)?, keys: keys.clone(), random, pool };
    let phases = keys.get("phases").map_or("fill,read,write,flush,overwrite", |phases| phases.as_str());
    for phase in phases.split(',') {
        lab.phase(phase, options.size);
    }
    let began = Instant::now();
    lab.disk.close()?;
    println!("close        {:.2} s", began.elapsed().as_secs_f64());
    Ok(())
}

impl Lab {
    fn number(&self, key: &str, default: u64) -> u64 {
        self.keys.get(key).map_or(default, |value| value.parse().expect("a number"))
    }

    fn phase(&mut self, phase: &str, size: u64) {
        let depth = usize::try_from(self.number("depth", 32)).expect("a depth");
        let seconds = Duration::from_secs(self.number("seconds", 5));
        let before = self.disk.watch().levels().expect("open");
        let (began, cpu) = (Instant::now(), cpu());
        let mut next = 0;
        let place = |random: &mut StdRng, length: u64| random.random_range(0..size / length) * length;
        let mut waits = match phase {
            "fill" => self.run(4, |lab| {
                next += 1 << 20;
                (next <= size).then(|| lab.write(next - (1 << 20), 1 << 20))
            }),
            "seq4" => self.run(depth, |lab| {
                next += 4 << 10;
                (began.elapsed() < seconds && next <= size).then(|| lab.write(next - (4 << 10), 4 << 10))
            }),
            "read" => self.run(depth, |lab| {
                let at = place(&mut lab.random, 4096);
                (began.elapsed() < seconds).then(|| Op::Read(ByteRange::new(at, 4096).expect("in bounds")))
            }),
            "write" => self.run(depth, |lab| {
                let at = place(&mut lab.random, 4096);
                (began.elapsed() < seconds).then(|| lab.write(at, 4096))
            }),
            // A FUA write waits for a sync that it shares with the others, as a WRITE and a FLUSH do.
            "flush" => self.run(8, |lab| {
                let offset = place(&mut lab.random, 4096);
                let payload = lab.payload(4096);
                (began.elapsed() < seconds).then_some(Op::Write { offset, payload, fua: true })
            }),
            "overwrite" => {
                let mut left = size * 3;
                let length = self.number("length", 16) << 10;
                self.run(depth, |lab| {
                    let at = place(&mut lab.random, length);
                    left = left.saturating_sub(length);
                    (left > 0).then(|| lab.write(at, usize::try_from(length).expect("a length")))
                })
            }
            "settle" => {
                self.settle();
                vec![Duration::ZERO]
            }
            other => panic!("no phase {other}"),
        };
        let elapsed = began.elapsed().as_secs_f64();
        waits.sort_unstable();
        let at = |thousandths: usize| {
            waits.get(waits.len() * thousandths / 1000).or(waits.last()).copied().unwrap_or_default()
        };
        let requests = waits.len() as f64;
        println!(
            "{phase:<10} {:>9.0}/s {:>6.2} us cpu  p50 {:>7.0?} p99 {:>7.0?} p99.9 {:>7.0?} max {:>7.0?}  {:.1} s",
            requests / elapsed,
            (self::cpu() - cpu) * 1e6 / requests,
            at(500),
            at(990),
            at(999),
            at(1000),
            elapsed,
        );
        told(&before, &self.disk.watch().levels().expect("open"));
    }

    /// Waits until RocksDB has nothing to do in the background, a minute at most.
    fn settle(&self) {
        let (began, mut quiet) = (Instant::now(), 0);
        while quiet < 20 && began.elapsed() < Duration::from_mins(1) {
            std::thread::sleep(Duration::from_millis(100));
            let levels = self.disk.watch().levels().expect("open");
            quiet = if levels.running_compactions + levels.running_flushes == 0 { quiet + 1 } else { 0 };
        }
    }

    fn write(&mut self, offset: u64, length: usize) -> Op {
        Op::Write { offset, payload: self.payload(length), fua: false }
    }

    fn payload(&mut self, length: usize) -> Payload {
        let bytes = &self.pool[self.random.random_range(0..self.pool.len())];
        let start = self.random.random_range(0..=(bytes.len() - length) / 4096) * 4096;
        bytes.slice(start..start + length).into()
    }

    /// Keeps `depth` requests in flight; how long each took.
    fn run(&mut self, depth: usize, mut next: impl FnMut(&mut Self) -> Option<Op>) -> Vec<Duration> {
        let mut flying = VecDeque::new();
        let mut waits = Vec::new();
        loop {
            let op = if flying.len() < depth { next(self) } else { None };
            if let Some(op) = op {
                flying.push_back((Instant::now(), wait::submit(&self.disk, op)));
                continue;
            }
            let Some((began, reply)) = flying.pop_front() else { return waits };
            reply.wait().outcome.expect("it works");
            waits.push(began.elapsed());
        }
    }
}

fn told(before: &Levels, after: &Levels) {
    let mib = |bytes: u64| bytes >> 20;
    let user = after.user_bytes - before.user_bytes;
    let written = |levels: &Levels| levels.write_amplification() * levels.user_bytes as f64;
    println!(
        "           user {} wal {} flush {} compaction {} blob {} MiB, wa {:.2}; sst {} blob {} garbage {} MiB; stalls {} ms, paced {} ms, \
         batches {}, combined {}, inline {} pooled {}, memtable {} cache {}/{} blob {}/{}",
        mib(user),
        mib(after.wal_bytes - before.wal_bytes),
        mib(after.flush_bytes - before.flush_bytes),
        mib(after.compaction_written_bytes - before.compaction_written_bytes),
        mib(after.blob_written_bytes - before.blob_written_bytes),
        (written(after) - written(before)) / user.max(1) as f64,
        mib(after.live_sst_bytes),
        mib(after.live_blob_bytes),
        mib(after.garbage_blob_bytes),
        (after.stall_micros - before.stall_micros) / 1000,
        (after.paced_micros - before.paced_micros) / 1000,
        after.batches - before.batches,
        after.combined_writes - before.combined_writes,
        after.reads_inline - before.reads_inline,
        after.reads_pooled - before.reads_pooled,
        after.memtable_hits - before.memtable_hits,
        after.cache_hits - before.cache_hits,
        after.cache_misses - before.cache_misses,
        after.blob_cache_hits - before.blob_cache_hits,
        after.blob_cache_misses - before.blob_cache_misses,
    );
}

/// Processor seconds of this process.
fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
