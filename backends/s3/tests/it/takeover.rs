//! Writers that race for one disk.

use std::sync::Arc;

use nbdgate_s3::{CreateOptions, Error, OnUnclean, OpenOptions};
use object_store::ObjectStore;

use crate::{
    ask::{flush, read, write},
    setup::{BLOCK, at, noise, options},
    sim_store::{Bucket, Faults},
};

fn stealing(host: &str) -> OpenOptions {
    let on_unclean = OnUnclean::Serve;
    OpenOptions { host: Some(host.to_owned()), steal: true, on_unclean, ..options() }
}

/// Two gateways open one disk at the same moment and both write: at most one of them may have its flush answered
/// well behind the other's claim, and what the last owner flushed is what is read in the end.
async fn race(seed: u64, faults: Faults) {
    let bucket = Bucket::new(seed);
    let calm: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    let create = CreateOptions { size: 1 << 20, ..CreateOptions::default() };
    nbdgate_s3::create(&at(&calm), &create).await.unwrap();
    let contender = async |number: u64| {
        let store: Arc<dyn ObjectStore> = bucket.client(faults.clone());
        let disk = nbdgate_s3::open(&at(&store), stealing(&format!("host-{number}"))).await?;
        for round in 0..5 {
            write(&disk, 0, noise(number * 100 + round, BLOCK)).await?;
            flush(&disk).await?;
        }
        Ok::<_, Error>(disk)
    };
    let (a, b) = tokio::join!(contender(1), contender(2));
    let outcomes = [a.is_ok(), b.is_ok()];
    let (dead_a, dead_b) = (a.err(), b.err());
    for error in [&dead_a, &dead_b].into_iter().flatten() {
        let text = error.chain();
        let told =
            text.contains("took the disk over") || text.contains("does not answer") || text.contains("refuses access");
        assert!(told, "seed {seed}: {text}");
    }
    let disk = nbdgate_s3::open(&at(&calm), stealing("judge")).await.unwrap();
    let seen = read(&disk, 0, BLOCK).await.unwrap();
    let complete = |number: u64| seen == noise(number * 100 + 4, BLOCK);
    match outcomes {
        [true, false] => assert!(complete(1), "seed {seed}: the winner's last flush is lost"),
        [false, true] => assert!(complete(2), "seed {seed}: the winner's last flush is lost"),
        // One after the other is no race: the later history contains the earlier.
        [true, true] => assert!(complete(1) || complete(2), "seed {seed}: both flushed and neither is there"),
        [false, false] => {}
    }
}

fn run(seed: u64, faults: Faults) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(race(seed, faults));
}

#[test]
fn of_two_racing_writers_the_last_owner_keeps_what_it_flushed() {
    for seed in 0..150 {
        run(seed, Faults::default());
    }
}

#[test]
fn two_racing_writers_on_a_bad_day_lose_nothing_flushed() {
    for seed in 0..150 {
        run(seed, Faults::storm());
    }
}

/// What stands in a slot is looked at again until its own crcs hold: a store that garbles the same way twice is no other
/// writer.
#[tokio::test(start_paused = true)]
async fn a_writer_whose_reading_back_is_garbled_does_not_take_its_own_object_for_anothers() {
    for seed in 0..10 {
        let bucket = Bucket::new(seed);
        let client = bucket.client(Faults::default());
        let store: Arc<dyn ObjectStore> = client.clone();
        nbdgate_s3::create(&at(&store), &CreateOptions { size: 1 << 20, ..CreateOptions::default() }).await.unwrap();
        let disk = nbdgate_s3::open(&at(&store), stealing("host")).await.unwrap();
        client.set_faults(Faults { reply_lost: 400, corrupt: 200, ..Faults::default() });
        for number in 0..20 {
            write(&disk, number * BLOCK, noise(number, BLOCK)).await.unwrap();
            flush(&disk).await.unwrap_or_else(|error| panic!("seed {seed}: {}", error.chain()));
        }
        client.set_faults(Faults::default());
        disk.shutdown().await.unwrap_or_else(|error| panic!("seed {seed}: {}", error.chain()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_passes_through_many_hands() {
    let bucket = Bucket::new(9);
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    nbdgate_s3::create(&at(&store), &CreateOptions { size: 1 << 20, ..CreateOptions::default() }).await.unwrap();
    let mut abandoned = Vec::new();
    for number in 0..20 {
        let disk = nbdgate_s3::open(&at(&store), stealing(&format!("host-{number}"))).await.unwrap();
        for earlier in 0..number {
            assert_eq!(read(&disk, earlier * BLOCK, BLOCK).await.unwrap(), noise(earlier, BLOCK), "hand {number}");
        }
        write(&disk, number * BLOCK, noise(number, BLOCK)).await.unwrap();
        flush(&disk).await.unwrap();
        if number % 3 == 0 {
            disk.shutdown().await.unwrap();
        } else {
            abandoned.push(disk);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_log_is_recovered_however_long_that_takes() {
    let bucket = Bucket::new(10);
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    nbdgate_s3::create(&at(&store), &CreateOptions { size: 64 << 20, ..CreateOptions::default() }).await.unwrap();
    let mut options = stealing("host-1");
    options.tuning.checkpoint.segments = 10_000;
    let disk = nbdgate_s3::open(&at(&store), options.clone()).await.unwrap();
    for number in 0..3000 {
        write(&disk, number * BLOCK, noise(number, BLOCK)).await.unwrap();
        flush(&disk).await.unwrap();
    }
    drop(disk);
    // The store answers every request at once; only there are many.
    options.tuning.open_deadline = std::time::Duration::from_secs(4);
    let disk = nbdgate_s3::open(&at(&store), options).await.unwrap_or_else(|error| panic!("{}", error.chain()));
    assert_eq!(read(&disk, 2999 * BLOCK, BLOCK).await.unwrap(), noise(2999, BLOCK));
}
