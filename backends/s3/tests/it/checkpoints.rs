//! Checkpoints of a disk in use (OBJECT-LOG §7): when they come, that they bound recovery, and what a lost one does.

use std::{sync::Arc, time::Duration};

use nbdgate_api::Kind;
use nbdgate_s3::{
    CheckpointRules, NoProgress, OpenOptions, Tuning,
    format::{Manifest, ManifestNo, Sealing, VolumeId},
    usage::{UsageOptions, usage},
};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};

use crate::{
    ask::{flush, read, write},
    history::{History, on_paused_clock, options as history_options},
    setup::{BLOCK, at, create, memory, noise, open, options, tuning},
    sim_store::{Bucket, Faults},
};

fn rules(checkpoint: CheckpointRules) -> OpenOptions {
    OpenOptions { tuning: Tuning { checkpoint, ..tuning() }, ..options() }
}

async fn manifests(bucket: &Bucket) -> usize {
    bucket.names().await.iter().filter(|name| name.contains("/m/")).count()
}

#[tokio::test(start_paused = true)]
async fn what_an_open_replays_is_bounded_by_the_rule_of_segments() {
    let bucket = Bucket::new(1);
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    create(&at(&store), 64 << 20).await;
    let few = CheckpointRules { segments: 10, ..CheckpointRules::default() };
    let disk = nbdgate_s3::open(&at(&store), rules(few)).await.unwrap();
    for number in 0..137 {
        write(&disk, number * BLOCK, noise(number, BLOCK)).await.unwrap();
        flush(&disk).await.unwrap();
    }
    drop(disk);
    let found = usage(&at(&store), &UsageOptions::default(), &options()).await.unwrap();
    // Those of one rule, and what was written while the checkpoint was.
    assert!((1..=25).contains(&found.log_segments), "{found:?}");
    assert_eq!(found.allocated, 137 * BLOCK);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_under_a_checkpoint_after_the_interval_and_idle_writes_none() {
    let bucket = Bucket::new(2);
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    create(&at(&store), 64 << 20).await;
    let disk = nbdgate_s3::open(&at(&store), rules(CheckpointRules::default())).await.unwrap();
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    flush(&disk).await.unwrap();
    let before = manifests(&bucket).await;
    tokio::time::sleep(Duration::from_mins(14)).await;
    assert_eq!(manifests(&bucket).await, before);
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(manifests(&bucket).await, before + 1);
    tokio::time::sleep(Duration::from_hours(24)).await;
    assert_eq!(manifests(&bucket).await, before + 1, "nothing changed since");
    disk.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn much_log_on_few_pages_is_put_under_a_checkpoint() {
    let bucket = Bucket::new(3);
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    create(&at(&store), 64 << 20).await;
    let much = CheckpointRules { log_bytes: 4 << 20, ..CheckpointRules::default() };
    let disk = nbdgate_s3::open(&at(&store), rules(much)).await.unwrap();
    let before = manifests(&bucket).await;
    for number in 0..10 {
        write(&disk, 0, noise(number, 1 << 20)).await.unwrap();
        flush(&disk).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let written = manifests(&bucket).await - before;
    assert!((1..=3).contains(&written), "{written} checkpoints");
    disk.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_more_manifests_than_one_listing_shows_is_followed_to_its_end() {
    let store = memory();
    create(&at(&store), 1 << 20).await;
    let disk = open(&at(&store)).await.unwrap();
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    disk.shutdown().await.unwrap();
    let info = nbdgate_s3::info(&at(&store)).await.unwrap();
    let volume = VolumeId(info.id.parse().unwrap());
    let name = |no: u64| Path::from(format!("root/v/{volume}/m/{no:016x}"));
    let first = store.get(&name(4)).await.unwrap().bytes().await.unwrap();
    let (mut hash, closed) =
        (Manifest::hash(&first), Manifest::parse_object(volume, ManifestNo(4), &first, &Sealing::CLEAR).unwrap());
    for no in 5..2100 {
        let next = Manifest { prev: hash, ..closed.clone() }.encode(volume, ManifestNo(no), None);
        hash = Manifest::hash(&next);
        store.put(&name(no), next.into()).await.unwrap();
    }
    let report = nbdgate_s3::fsck(&at(&store), &nbdgate_s3::FsckOptions::default(), &NoProgress, &options()).await;
    let report = report.unwrap();
    assert_eq!((report.manifests, report.problems.len()), (2099, 0), "{report:?}");
    let disk = open(&at(&store)).await.unwrap();
    assert!(read(&disk, 0, BLOCK).await.unwrap() == noise(1, BLOCK));
    disk.shutdown().await.unwrap();
    assert!(store.get(&name(2102)).await.is_ok(), "the chain went on behind its newest member");
}

/// Pages of a checkpoint lie in the packs of earlier ones. Whichever is lost, the open is refused by name; it never falls
/// back to an older state by itself.
#[test]
fn a_lost_pack_of_an_incremental_checkpoint_stops_the_open_and_names_the_cure() {
    on_paused_clock(async {
        let sound = History::new(41, true).await;
        let packs: Vec<String> = sound.names().await.into_iter().filter(|name| name.contains("/p/")).collect();
        assert!(packs.len() > 2, "several checkpoints");
        let mut refused = 0;
        for name in packs {
            let history = sound.fork();
            history.bucket.lose(&name).await;
            let store = history.store();
            let Err(error) = nbdgate_s3::open(&at(&store), history_options()).await else {
                history.is_exact().await.unwrap();
                continue;
            };
            refused += 1;
            let short = name.split_once("/p/").unwrap().1;
            assert_eq!(error.kind(), Kind::Io);
            assert!(error.chain().contains(short), "{}", error.chain());
        }
        assert!(refused > 0);
        let history = sound.fork();
        let newest = history.names().await.into_iter().rfind(|name| name.contains("/m/")).unwrap();
        history.bucket.damage(&newest, |bytes| bytes[70] ^= 1).await;
        let store = history.store();
        let error = nbdgate_s3::open(&at(&store), history_options()).await.unwrap_err();
        assert!(error.chain().contains("disk rebuild"), "{}", error.chain());
    });
}
