//! Measures the ways to the page cache: inline, ring, pool. The numbers of docs/decisions/0002-io-engines.md.
//!
//! `cargo run --release -p nbdgate-io --example paths -- FILE`: makes FILE (256 MiB), then 4 KiB random writes and
//! reads of cached pages at depth 32; microseconds of wall and of CPU (whole process) per operation.
#![expect(clippy::unwrap_used, reason = "a tool that ends at the first error")]

use std::{
    fs::OpenOptions,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use nbdgate_io::{Buffer, Engine, File};
use rustix::time::{ClockId, clock_gettime};

const SIZE: u64 = 256 << 20;
const BLOCK: usize = 4096;
const COUNT: u64 = 100_000;
const DEPTH: u64 = 32;

fn main() {
    let path = std::env::args().nth(1).expect("usage: paths FILE");
    std::fs::write(&path, vec![1; usize::try_from(SIZE).unwrap()]).unwrap();
    let open = || OpenOptions::new().read(true).write(true).open(&path).unwrap();
    open().sync_all().unwrap();
    let file = File::new(open()).unwrap();
    let data = Bytes::from(vec![7; BLOCK]);
    let slices = [data.clone()];
    measure("write inline", || {
        for index in 0..COUNT {
            let now = file.write_now(&slices, offset(index)).unwrap();
            file.write_blocking(&slices, now, offset(index), false).unwrap();
        }
    });
    measure("write pool", || in_pool(&file, |file, index, data| file.write_blocking(data, 0, offset(index), false)));
    measure("write ring", || on_ring(open(), true));
    measure("read inline", || {
        let mut buffer = Buffer::new(BLOCK);
        for index in 0..COUNT {
            assert_eq!(file.read_now(&mut buffer, offset(index)), BLOCK);
        }
    });
    measure("read pool", || {
        in_pool(&file, |file, index, _| file.read_blocking(&mut Buffer::new(BLOCK), offset(index)));
    });
    measure("read ring", || on_ring(open(), false));
    std::fs::remove_file(&path).unwrap();
}

fn measure(what: &str, run: impl FnOnce()) {
    let (wall, cpu) = (Instant::now(), cpu());
    run();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / COUNT as f64;
    println!("{what:14} {:6.2} us wall {:6.2} us cpu", each(wall.elapsed()), each(self::cpu().saturating_sub(cpu)));
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// A fixed random walk over the blocks.
fn offset(index: u64) -> u64 {
    index.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (SIZE / BLOCK as u64) * BLOCK as u64
}

fn in_pool(file: &File, act: fn(&File, u64, &[Bytes]) -> std::io::Result<()>) {
    let data = [Bytes::from(vec![7; BLOCK])];
    let (next, main) = (Arc::new(AtomicU64::new(0)), std::thread::current());
    let left = Arc::new(AtomicU64::new(DEPTH));
    for _ in 0..DEPTH {
        step(file, next.clone(), left.clone(), main.clone(), data.clone(), act);
    }
    while left.load(Relaxed) > 0 {
        std::thread::park();
    }
}

/// One of the operations in flight: ends by starting the next.
fn step(
    file: &File,
    next: Arc<AtomicU64>,
    left: Arc<AtomicU64>,
    main: std::thread::Thread,
    data: [Bytes; 1],
    act: fn(&File, u64, &[Bytes]) -> std::io::Result<()>,
) {
    file.run(move |file| {
        let index = next.fetch_add(1, Relaxed);
        if index >= COUNT {
            left.fetch_sub(1, Relaxed);
            return main.unpark();
        }
        act(file, index, &data).unwrap();
        step(file, next, left, main, data, act);
    });
}

fn on_ring(file: std::fs::File, write: bool) {
    let run = async move {
        let file = Rc::new(tokio_uring::fs::File::from_std(file));
        let next = Rc::new(std::cell::Cell::new(0));
        let tasks: Vec<_> = (0..DEPTH)
            .map(|_| {
                let (file, next) = (file.clone(), next.clone());
                tokio::task::spawn_local(async move {
                    let mut buffer = vec![7; BLOCK];
                    while next.get() < COUNT {
                        let at = offset(next.replace(next.get() + 1));
                        let (outcome, back) = if write {
                            file.write_at(buffer, at).submit().await
                        } else {
                            file.read_at(buffer, at).await
                        };
                        assert_eq!(outcome.unwrap(), BLOCK);
                        buffer = back;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    };
    Engine::Uring.run(run).unwrap();
}
