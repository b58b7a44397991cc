//! Scrub: bad frames are found with the blocks they take along, at a bounded rate, and reads of them fail.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use nbdgate_s3::{
    Cause, NoProgress, Observer, OpenOptions, Request, ScrubLevels, Tuning,
    fsck::Picture,
    scrub::{ScrubOptions, ScrubReport, scrub},
    usage::{UsageOptions, usage},
};
use object_store::ObjectStore;
use tokio::time::Instant;

use crate::{
    ask::{flush, read, write},
    history::{History, on_paused_clock, options, seeds},
    setup::{BLOCK, at, create, noise},
    sim_store::{Bucket, Faults},
};

async fn run(history: &History, rate: Option<u64>) -> ScrubReport {
    let store = history.store();
    let how = ScrubOptions { bytes_per_second: rate };
    scrub(&at(&store), &how, &NoProgress, &options()).await.unwrap()
}

#[test]
fn bad_frames_are_found_and_only_their_blocks_fail() {
    for seed in seeds(3) {
        on_paused_clock(async {
            let sound = History::new(seed, seed % 2 == 0).await;
            assert_eq!(run(&sound, None).await.damage, []);
            let mut found = 0;
            for name in sound.names().await.into_iter().filter(|name| name.contains("/l/")) {
                let history = sound.fork();
                history.bucket.damage(&name, |bytes| *bytes.last_mut().unwrap() ^= 2).await;
                let Err(_) = history.is_exact().await else { continue };
                // A log segment behind the checkpoint that has no data has its last byte in its head.
                let store = history.store();
                let Ok(report) = scrub(&at(&store), &ScrubOptions::default(), &NoProgress, &options()).await else {
                    continue;
                };
                let [damage] = &report.damage[..] else { panic!("seed {seed}: {name}: {report:?}") };
                assert!(name.ends_with(&damage.object) && damage.picture == Picture::Head && !report.is_sound());
                found += 1;
                let disk = nbdgate_s3::open(&at(&store), OpenOptions { read_only: true, ..options() }).await.unwrap();
                for lba in 0..256 {
                    let offset = lba * BLOCK;
                    let bad =
                        damage.affected.ranges.iter().any(|range| range.offset() <= offset && offset < range.end());
                    match read(&disk, offset, BLOCK).await {
                        Ok(bytes) => {
                            let at = usize::try_from(offset).unwrap();
                            assert!(
                                bytes == history.content[at..at + 4096],
                                "seed {seed}: block {lba} shows other bytes"
                            );
                            assert!(!bad, "seed {seed}: block {lba} was called bad");
                        }
                        Err(_) => assert!(bad, "seed {seed}: block {lba} was not called bad"),
                    }
                }
            }
            assert!(found > 0, "seed {seed}: no live frame was hurt");
        });
    }
}

#[test]
fn a_rate_is_kept() {
    on_paused_clock(async {
        let history = History::new(31, true).await;
        let start = Instant::now();
        let report = run(&history, Some(10_000)).await;
        let least = Duration::from_secs(report.bytes * 9 / 10 / 10_000);
        assert!(start.elapsed() >= least, "{} bytes in {:?}", report.bytes, start.elapsed());
    });
}

/// Requests and levels of scrubbing.
#[derive(Debug, Default)]
struct Heard {
    requests: Mutex<u64>,
    levels: Mutex<ScrubLevels>,
}

impl Observer for Heard {
    fn request(&self, request: &Request) {
        if request.cause == Cause::Scrub {
            *self.requests.lock().unwrap() += 1;
        }
    }

    fn scrubbed(&self, levels: &ScrubLevels) {
        *self.levels.lock().unwrap() = *levels;
    }
}

#[test]
fn an_open_disk_is_scrubbed_once_per_period_and_only_if_asked() {
    on_paused_clock(async {
        let bucket = Bucket::new(1);
        let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
        create(&at(&store), 64 << 20).await;
        for period in [Duration::ZERO, Duration::from_hours(24)] {
            let heard = Arc::new(Heard::default());
            let tuning = Tuning { scrub: period, ..crate::setup::tuning() };
            let observer = Arc::<Heard>::clone(&heard);
            let options = OpenOptions { tuning, observer, ..crate::setup::options() };
            let disk = nbdgate_s3::open(&at(&store), options).await.unwrap();
            for number in 0..4 {
                write(&disk, number * 16 * BLOCK, noise(number, 16 * BLOCK)).await.unwrap();
                flush(&disk).await.unwrap();
            }
            tokio::time::sleep(Duration::from_hours(25)).await;
            let (requests, levels) = (*heard.requests.lock().unwrap(), *heard.levels.lock().unwrap());
            if period.is_zero() {
                assert_eq!((requests, levels), (0, ScrubLevels::default()));
            } else {
                assert!((8..64).contains(&requests), "{requests} requests");
                assert!(levels.rounds >= 1 && levels.damaged_bytes == 0, "{levels:?}");
                let name = bucket.names().await.into_iter().rfind(|name| name.contains("/l/")).unwrap();
                bucket.damage(&name, |bytes| *bytes.last_mut().unwrap() ^= 2).await;
                tokio::time::sleep(Duration::from_hours(25)).await;
                assert!(heard.levels.lock().unwrap().rounds >= 2);
                tokio::time::sleep(Duration::from_hours(23)).await;
                assert_eq!(heard.levels.lock().unwrap().damaged_bytes, 4 * BLOCK, "the last frame of the segment");
            }
            disk.shutdown().await.unwrap();
        }
    });
}

#[test]
fn usage_adds_up() {
    for seed in seeds(3) {
        on_paused_clock(async {
            for clean in [true, false] {
                let history = History::new(seed, clean).await;
                let store = history.store();
                let usage = usage(&at(&store), &UsageOptions { cells: 64 }, &options()).await.unwrap();
                let zero = vec![0; 4096];
                let data = history.content.chunks(4096).filter(|block| **block != zero[..]).count() as u64 * BLOCK;
                assert_eq!((usage.size, usage.allocated), (history.content.len() as u64, data), "seed {seed}");
                assert_eq!(usage.live + usage.garbage, usage.stored);
                assert!(usage.live > data / 2 && usage.map.extents > 0 && usage.map.memory > 0);
                assert_eq!((usage.log_segments == 0, usage.in_flight), (clean, 0), "seed {seed}");
                let shown: f64 = usage.allocation.iter().map(|&cell| f64::from(cell)).sum::<f64>() / 64.0;
                assert!((shown - data as f64 / usage.size as f64).abs() < 1e-6, "seed {seed}: {shown}");
                assert!(usage.snapshots.is_empty());
            }
        });
    }
}

#[test]
fn an_open_disk_knows_what_is_on_its_way() {
    on_paused_clock(async {
        let bucket = Bucket::new(2);
        let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
        create(&at(&store), 1 << 20).await;
        let disk = nbdgate_s3::open(&at(&store), crate::setup::options()).await.unwrap();
        write(&disk, 0, noise(1, 4 * BLOCK)).await.unwrap();
        let before = disk.usage(&UsageOptions { cells: 4 });
        assert!(before.in_flight >= 4 * BLOCK && before.allocated == 0, "{before:?}");
        flush(&disk).await.unwrap();
        let after = disk.usage(&UsageOptions { cells: 4 });
        assert_eq!((after.in_flight, after.allocated, after.log_segments), (0, 4 * BLOCK, 1));
        assert_eq!(after.allocation, [4.0 / 64.0, 0.0, 0.0, 0.0]);
        disk.shutdown().await.unwrap();
    });
}
