//! Damaged objects are refused by name: never zeros, never old bytes.

use std::sync::Arc;

use nbdgate_api::Kind;
use nbdgate_s3::{Error, OnUnclean, OpenOptions};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};

use crate::{
    ask::{flush, read, write},
    setup::{BLOCK, at, create, noise, options},
    sim_store::{Bucket, Faults},
};

/// Damages all that a freshly written disk has under `part`, one object and one way at a time, and returns what
/// opening and reading it all then said; `None` where both worked.
async fn outcomes(part: &str, clean: bool, ways: u32) -> Vec<(String, Option<Error>)> {
    let mut outcomes = Vec::new();
    let count = names(written(clean).await.as_ref(), part).await.len();
    assert!(count > 0, "there is something under {part}");
    for number in 0..count {
        for way in 0..ways {
            let bucket = written(clean).await;
            let name = names(&bucket, part).await[number].clone();
            match way {
                0 => bucket.damage(&name, |bytes| *bytes.last_mut().unwrap() ^= 0x10).await,
                1 => bucket.damage(&name, |bytes| bytes.truncate(bytes.len() / 2)).await,
                2 => bucket.damage(&name, |bytes| bytes.fill(0)).await,
                _ => bucket.inner.delete(&Path::from(name.as_str())).await.unwrap(),
            }
            outcomes.push((name, use_it(&bucket).await.err()));
        }
    }
    outcomes
}

async fn written(clean: bool) -> Arc<Bucket> {
    let bucket = Bucket::new(1);
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    create(&at(&store), 1 << 20).await;
    let disk = nbdgate_s3::open(&at(&store), options()).await.unwrap();
    for number in 0..3 {
        write(&disk, number * 8 * BLOCK, noise(number, 8 * BLOCK)).await.unwrap();
        flush(&disk).await.unwrap();
    }
    if clean {
        disk.shutdown().await.unwrap();
    }
    bucket
}

async fn names(bucket: &Bucket, part: &str) -> Vec<String> {
    bucket.names().await.into_iter().filter(|name| name.contains(part)).collect()
}

async fn use_it(bucket: &Arc<Bucket>) -> Result<(), Error> {
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    let disk = nbdgate_s3::open(&at(&store), OpenOptions { on_unclean: OnUnclean::Serve, ..options() }).await?;
    for number in 0..3 {
        let bytes = read(&disk, number * 8 * BLOCK, 8 * BLOCK).await?;
        assert!(bytes == noise(number, 8 * BLOCK), "a damaged disk served other bytes");
    }
    Ok(())
}

fn named(outcomes: Vec<(String, Option<Error>)>) {
    for (name, error) in outcomes {
        let error = error.unwrap_or_else(|| panic!("damage of {name} went unnoticed"));
        assert_eq!(error.kind(), Kind::Io, "{}", error.chain());
        let short = name.split_once("/v/").unwrap().1.split_once('/').unwrap().1;
        assert!(error.chain().contains(short), "the error does not name {short}: {}", error.chain());
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_segment_under_a_checkpoint_fails_the_reads_of_it() {
    named(outcomes("/l/", true, 4).await);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_pack_stops_the_open() {
    named(outcomes("/p/", true, 4).await);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_descriptor_stops_the_open() {
    named(outcomes("/desc", true, 4).await);
}

#[tokio::test(start_paused = true)]
async fn the_newest_manifest_cannot_be_damaged_unnoticed() {
    let bucket = written(true).await;
    let newest = names(&bucket, "/m/").await.pop().unwrap();
    bucket.damage(&newest, |bytes| bytes[70] ^= 1).await;
    named(vec![(newest, use_it(&bucket).await.err())]);
}

/// A segment that is gone from the open log looks like one that was never stored, so this one is about damage.
#[tokio::test(start_paused = true)]
async fn a_damaged_segment_of_the_open_log_is_refused_by_name() {
    named(outcomes("/l/", false, 3).await);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_were_damaged_on_the_way_are_asked_for_again() {
    let bucket = written(true).await;
    let store: Arc<dyn ObjectStore> = bucket.client(Faults { corrupt: 100, cut: 100, ..Faults::default() });
    let mut served = 0;
    for _ in 0..20 {
        let Ok(disk) = nbdgate_s3::open(&at(&store), OpenOptions { read_only: true, ..options() }).await else {
            continue;
        };
        if let Ok(bytes) = read(&disk, 0, 8 * BLOCK).await {
            assert!(bytes == noise(0, 8 * BLOCK));
            served += 1;
        }
    }
    assert!(served > 5, "only {served} of 20 reads got through a bad line");
}
