//! Disks that share the memory of the process.

use std::{sync::Arc, time::Duration};

use nbdgate_api::Op;
use nbdgate_s3::{Disk, Memory, OpenOptions};
use object_store::ObjectStore;

use crate::{
    ask::{ask, flush, read, write},
    setup::{at, create, noise, options},
    sim_store::{Bucket, Faults, SimStore},
};

const MIB: u64 = 1 << 20;

async fn disk(seed: u64, memory: &Arc<Memory>) -> (Arc<SimStore>, Disk) {
    let client = Bucket::new(seed).client(Faults::default());
    let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(&client);
    create(&at(&store), 1 << 30).await;
    let options = OpenOptions { memory: Some(Arc::clone(memory)), ..options() };
    let disk = nbdgate_s3::open(&at(&store), options).await.unwrap();
    (client, disk)
}

#[tokio::test(start_paused = true)]
async fn a_disk_whose_store_is_down_does_not_stop_another() {
    let memory = Memory::new(16 * MIB);
    let (down, first) = disk(41, &memory).await;
    let (_, second) = disk(42, &memory).await;
    down.set_faults(Faults { lost: 1000, ..Faults::default() });
    let stuck: Vec<_> = (0..40)
        .map(|number| ask(&first, Op::Write { offset: number * MIB, payload: noise(number, MIB).into(), fua: false }))
        .collect();
    tokio::time::sleep(Duration::from_mins(1)).await;
    let used = memory.levels().used;
    assert!((8 * MIB..=12 * MIB).contains(&used), "its share and the common half, not the other's: {used}");
    for number in 0..40 {
        write(&second, number * MIB, noise(number, MIB)).await.unwrap();
    }
    flush(&second).await.unwrap();
    assert!(memory.levels().used <= 16 * MIB);
    down.set_faults(Faults::default());
    for asked in stuck {
        asked.answer().await.outcome.unwrap();
    }
    flush(&first).await.unwrap();
    assert_eq!(memory.levels().waiting, 0);
    first.shutdown().await.unwrap();
    second.shutdown().await.unwrap();
    drop((first, second));
    // Their tasks end when the runtime comes to it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((memory.levels().disks, memory.levels().used), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_caches_of_one_disk_give_way_to_the_writes_of_another() {
    let memory = Memory::new(8 * MIB);
    let (_, reader) = disk(43, &memory).await;
    for number in 0..16 {
        write(&reader, number * MIB, noise(number, MIB)).await.unwrap();
    }
    flush(&reader).await.unwrap();
    for number in 0..16 {
        assert!(read(&reader, number * MIB, MIB).await.unwrap() == noise(number, MIB));
    }
    assert!(memory.levels().used <= 8 * MIB);
    let (down, writer) = disk(44, &memory).await;
    down.set_faults(Faults { lost: 1000, ..Faults::default() });
    let asked: Vec<_> = (0..5)
        .map(|number| ask(&writer, Op::Write { offset: number * MIB, payload: noise(number, MIB).into(), fua: false }))
        .collect();
    for asked in asked {
        let answered = tokio::time::timeout(Duration::from_secs(30), asked.answer()).await;
        answered.expect("the reader's cache gave way").outcome.unwrap();
    }
    assert!(memory.levels().used <= 8 * MIB, "{:?}", memory.levels());
}

#[tokio::test(start_paused = true)]
async fn a_budget_far_too_small_is_slow_and_not_stuck() {
    let memory = Memory::new(64 << 10);
    let (_, first) = disk(45, &memory).await;
    let (_, second) = disk(46, &memory).await;
    for number in 0..4 {
        for disk in [&first, &second] {
            write(disk, number * MIB, noise(number, MIB)).await.unwrap();
            flush(disk).await.unwrap();
            assert!(read(disk, number * MIB, MIB).await.unwrap() == noise(number, MIB));
        }
    }
}
