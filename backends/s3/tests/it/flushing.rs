//! FLUSH and FUA: what they wait for, what they share, and what they do not stop.

use std::{sync::Arc, time::Duration};

use nbdgate_api::{ByteRange, Op};
use nbdgate_s3::{Location, OpenOptions};
use object_store::ObjectStore;

use crate::{
    ask::{ask, flush, read, write},
    setup::{BLOCK, at, create, fresh, noise, options},
    sim_store::{Bucket, Faults, SimStore},
};

/// A disk on a store whose requests take time.
async fn slow(seed: u64) -> (Arc<SimStore>, nbdgate_s3::Disk) {
    let client = Bucket::new(seed).client(Faults::default());
    let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(&client);
    create(&at(&store), 1 << 30).await;
    let options = OpenOptions {
        tuning: nbdgate_s3::Tuning { upload_delay: Duration::from_mins(1), ..options().tuning },
        ..options()
    };
    let disk = nbdgate_s3::open(&at(&store), options).await.unwrap();
    (client, disk)
}

fn puts(client: &SimStore) -> u64 {
    client.counts.puts.load(std::sync::atomic::Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_flush_of_a_clean_disk_asks_the_store_nothing() {
    let (client, disk) = slow(1).await;
    let before = client.counts.total();
    flush(&disk).await.unwrap();
    assert_eq!(client.counts.total(), before);
}

#[tokio::test(start_paused = true)]
async fn concurrent_flushes_share_segments() {
    let (client, disk) = slow(2).await;
    let before = puts(&client);
    let mut asked = Vec::new();
    for number in 0..100 {
        write(&disk, number * BLOCK, noise(number, BLOCK)).await.unwrap();
        asked.push(ask(&disk, Op::Flush));
    }
    for asked in asked {
        asked.answer().await.outcome.unwrap();
    }
    let used = puts(&client) - before;
    assert!(used <= 8, "100 flushes took {used} puts");
}

#[tokio::test(start_paused = true)]
async fn writers_proceed_while_a_flush_waits() {
    let (client, disk) = slow(3).await;
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    client.set_faults(Faults { lost: 1000, ..Faults::default() });
    let mut waiting = ask(&disk, Op::Flush);
    for number in 1..200 {
        write(&disk, number * BLOCK, noise(number, BLOCK)).await.unwrap();
    }
    assert_eq!(read(&disk, 7 * BLOCK, BLOCK).await.unwrap(), noise(7, BLOCK));
    assert!(waiting.try_answer().is_none(), "nothing was stored yet");
    client.set_faults(Faults::default());
    waiting.answer().await.outcome.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_flush_does_not_wait_for_what_came_after_it() {
    let (client, disk) = slow(4).await;
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    let first = ask(&disk, Op::Flush);
    // These fill many segments; they may not hold up the flush before them.
    for number in 0..8 {
        let asked =
            ask(&disk, Op::Write { offset: (number + 1) << 22, payload: noise(number, 4 << 20).into(), fua: false });
        asked.answer().await.outcome.unwrap();
    }
    let before = puts(&client);
    first.answer().await.outcome.unwrap();
    assert!(puts(&client) - before <= 8);
    assert!(puts(&client) >= 1);
}

#[tokio::test(start_paused = true)]
async fn a_fua_write_is_durable_when_it_ends() {
    let (store, disk) = fresh(1 << 20).await;
    ask(&disk, Op::Write { offset: 0, payload: noise(1, BLOCK).into(), fua: true }).answer().await.outcome.unwrap();
    let range = ByteRange::between(0, 0x200);
    ask(&disk, Op::Trim { range, fua: true }).answer().await.outcome.unwrap();
    drop(disk);
    let disk = reopen_unclean(&at(&store)).await;
    let mut expected = noise(1, BLOCK);
    expected[..0x200].fill(0);
    assert_eq!(read(&disk, 0, BLOCK).await.unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn unflushed_writes_reach_the_store_after_the_upload_delay() {
    let (store, disk) = fresh(1 << 20).await;
    // A disk with a checkpoint to come has a long timer running; it may not stand in the way of the short one.
    write(&disk, BLOCK, noise(2, BLOCK)).await.unwrap();
    flush(&disk).await.unwrap();
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(disk);
    let disk = reopen_unclean(&at(&store)).await;
    assert_eq!(read(&disk, 0, BLOCK).await.unwrap(), noise(1, BLOCK));
}

#[tokio::test(start_paused = true)]
async fn a_full_budget_delays_writes_and_loses_none() {
    let client = Bucket::new(5).client(Faults::default());
    let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(&client);
    create(&at(&store), 64 << 20).await;
    let mut options = options();
    options.tuning.dirty_budget = 256 << 10;
    let disk = nbdgate_s3::open(&at(&store), options).await.unwrap();
    client.set_faults(Faults { lost: 1000, ..Faults::default() });
    let write =
        |number: u64| Op::Write { offset: number * (64 << 10), payload: noise(number, 64 << 10).into(), fua: false };
    let mut asked: Vec<_> = (0..64).map(|number| ask(&disk, write(number))).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    asked.retain_mut(|asked| asked.try_answer().is_none());
    let answered = 64 - asked.len();
    assert!((1..8).contains(&answered), "{answered} writes of 64 KiB fit into 256 KiB");
    client.set_faults(Faults::default());
    flush(&disk).await.unwrap();
    // A flush covers what was answered; the rest is waited for.
    for asked in asked {
        asked.answer().await.outcome.unwrap();
    }
    for number in 0..64 {
        assert_eq!(read(&disk, number * (64 << 10), 64 << 10).await.unwrap(), noise(number, 64 << 10));
    }
}

async fn reopen_unclean(location: &Location) -> nbdgate_s3::Disk {
    let options = OpenOptions { on_unclean: nbdgate_s3::OnUnclean::Serve, ..options() };
    nbdgate_s3::open(location, options).await.unwrap()
}
