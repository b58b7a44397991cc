//! What a disk costs when nobody uses it.

use std::{sync::Arc, time::Duration};

use nbdgate_api::{ByteRange, Op};
use object_store::ObjectStore;

use crate::{
    ask::{ask, flush, write},
    setup::{BLOCK, at, create, create_unleased, fresh, noise, open},
    sim_store::{Bucket, Faults, SimStore},
};

#[tokio::test(start_paused = true)]
async fn without_a_lease_an_idle_disk_sends_no_request() {
    let client = Bucket::new(1).client(Faults::default());
    let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(&client);
    create_unleased(&at(&store), 1 << 40).await;
    let disk = open(&at(&store)).await.unwrap();
    let opened = client.counts.total();
    tokio::time::sleep(Duration::from_hours(7 * 24)).await;
    assert_eq!(client.counts.total(), opened, "an empty disk asked for something in a week");
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    flush(&disk).await.unwrap();
    // One checkpoint after a quarter of an hour, and then silence again.
    tokio::time::sleep(Duration::from_hours(1)).await;
    let settled = client.counts.total();
    tokio::time::sleep(Duration::from_hours(7 * 24)).await;
    assert_eq!(client.counts.total(), settled, "an idle disk asked for something in a week");
}

#[tokio::test(start_paused = true)]
async fn an_empty_disk_of_a_tebibyte_takes_little_memory() {
    let before = resident();
    let (_store, disk) = fresh(1 << 40).await;
    let taken = resident().saturating_sub(before);
    assert!(taken < 50 << 20, "an empty disk of 1 TiB takes {taken} bytes");
    drop(disk);
}

/// Bytes of memory of this process. Other tests run in it too, so this is an upper bound of what a disk takes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test(start_paused = true)]
async fn trimming_a_tebibyte_is_one_small_object() {
    let client = Bucket::new(2).client(Faults::default());
    let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(&client);
    create(&at(&store), 1 << 40).await;
    let disk = open(&at(&store)).await.unwrap();
    for number in 0..1000 {
        write(&disk, number << 30, noise(number, BLOCK)).await.unwrap();
    }
    flush(&disk).await.unwrap();
    let before = client.counts.total();
    let range = ByteRange::between(0, 1 << 40);
    ask(&disk, Op::Trim { range, fua: false }).answer().await.outcome.unwrap();
    assert_eq!(client.counts.total(), before, "TRIM asked the store for something");
    flush(&disk).await.unwrap();
    assert_eq!(client.counts.total(), before + 1, "and its FLUSH is one PUT");
    let extents = ask(&disk, Op::BlockStatus { range, req_one: false }).answer().await.pieces;
    assert!(matches!(&extents[..], [nbdgate_api::Piece::Extents(list)] if list.len() == 1 && list[0].range == range));
}
