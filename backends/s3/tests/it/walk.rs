//! Every operation on a disk, walked through in a row: encrypted, with its log in a store of its own, and both.

use std::{collections::BTreeMap, sync::Arc};

use nbdgate_api::Backend;
use nbdgate_s3::{
    CreateOptions, Disk, FsckOptions, Location, NoProgress, OnUnclean, OpenOptions, admin,
    scrub::{ScrubOptions, scrub},
    transfer::{ExportOptions, RawSink, Sink, export},
    usage::{UsageOptions, usage},
};
use object_store::ObjectStore;

use crate::{
    ask::{flush, read, write},
    setup::{BLOCK, Key, noise, options},
    sim_store::{Bucket, Faults, SimStore},
};

const SIZE: u64 = 1 << 20;

/// Blocks and the seeds of their noise.
type Picture = BTreeMap<u64, u64>;

struct Walk {
    data: Arc<SimStore>,
    log: Option<Arc<SimStore>>,
    key: Option<Key>,
}

impl Walk {
    fn new(is_sealed: bool, has_log: bool) -> Self {
        let client = |seed| Bucket::new(seed).client(Faults::default());
        Self { data: client(1), log: has_log.then(|| client(2)), key: is_sealed.then(|| Key::new("a walk")) }
    }

    fn at(&self, name: &str) -> Location {
        let data: Arc<dyn ObjectStore> = self.data.clone();
        let location = Location::in_store(data, "root", name);
        match &self.log {
            Some(log) => location.with_log_store(log.clone()),
            None => location,
        }
    }

    fn options(&self) -> OpenOptions {
        OpenOptions { key: self.key.as_ref().map(Key::source), on_unclean: OnUnclean::Serve, ..options() }
    }

    async fn create(&self) {
        let location = self.at("disk");
        let log_root = location.root().given_log();
        let key = self.key.as_ref().map(Key::source);
        let options = CreateOptions { size: SIZE, segment_target: 64 << 10, log_root, key, ..CreateOptions::default() };
        nbdgate_s3::create(&location, &options).await.unwrap();
    }

    async fn open(&self, name: &str) -> Disk {
        nbdgate_s3::open(&self.at(name), self.options()).await.unwrap_or_else(|error| panic!("{}", error.chain()))
    }

    /// Nothing is wrong with a disk, and it shows this.
    async fn check(&self, name: &str, picture: &Picture) {
        let (at, options) = (self.at(name), self.options());
        let report = nbdgate_s3::fsck(&at, &FsckOptions { data: true }, &NoProgress, &options).await.unwrap();
        assert!(report.problems.is_empty(), "{name}: {report:?}");
        let report = scrub(&at, &ScrubOptions::default(), &NoProgress, &options).await.unwrap();
        assert!(report.is_sound() && report.damage.is_empty(), "{name}: {report:?}");
        let measured = usage(&at, &UsageOptions::default(), &options).await.unwrap();
        assert_eq!(measured.allocated, picture.len() as u64 * BLOCK, "{name}");
        assert_eq!(self.image(name, None).await, bytes(measured.size, picture), "{name}");
    }

    /// What is exported.
    async fn image(&self, name: &str, snapshot: Option<&str>) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        let sink: Arc<dyn Sink> = Arc::new(RawSink::create(&path).unwrap());
        let wanted = ExportOptions { snapshot: snapshot.map(str::to_owned) };
        export(&self.at(name), &wanted, &sink, &NoProgress, &self.options()).await.unwrap();
        std::fs::read(path).unwrap()
    }

    /// No data of an encrypted disk is in clear, and logs are where they belong.
    async fn check_stores(&self) {
        let data = list(&self.data).await;
        if let Some(log) = &self.log {
            assert!(data.keys().all(|name| !name.contains("/l/")), "segments beside the rest");
            assert!(list(log).await.keys().any(|name| name.contains("/l/")), "segments in their own store");
        }
        let mut objects: Vec<_> = data.into_values().collect();
        if let Some(log) = &self.log {
            objects.extend(list(log).await.into_values());
        }
        let canary = &noise(1, BLOCK)[1000..1040];
        let is_seen = objects.iter().any(|object| object.windows(canary.len()).any(|window| window == canary));
        assert_eq!(is_seen, self.key.is_none());
    }
}

async fn list(client: &Arc<SimStore>) -> BTreeMap<String, Vec<u8>> {
    use futures_util::TryStreamExt;
    use object_store::ObjectStoreExt;
    let mut found = BTreeMap::new();
    for meta in client.list(None).try_collect::<Vec<_>>().await.unwrap() {
        let bytes = client.get(&meta.location).await.unwrap().bytes().await.unwrap();
        found.insert(meta.location.to_string(), bytes.to_vec());
    }
    found
}

fn bytes(size: u64, picture: &Picture) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(size).unwrap()];
    for (block, seed) in picture {
        let at = usize::try_from(block * BLOCK).unwrap();
        bytes[at..at + 4096].copy_from_slice(&noise(*seed, BLOCK));
    }
    bytes
}

async fn put(disk: &Disk, picture: &mut Picture, blocks: std::ops::Range<u64>, seed: u64) {
    for block in blocks {
        write(disk, block * BLOCK, noise(seed + block, BLOCK)).await.unwrap();
        picture.insert(block, seed + block);
    }
    flush(disk).await.unwrap();
}

async fn walk(is_sealed: bool, has_log: bool) {
    let walk = Walk::new(is_sealed, has_log);
    walk.create().await;
    let mut now = Picture::new();
    let disk = walk.open("disk").await;
    put(&disk, &mut now, 0..40, 1).await;
    disk.snapshot("one").await.unwrap();
    let one = now.clone();
    put(&disk, &mut now, 20..60, 1000).await;
    disk.shutdown().await.unwrap();
    walk.check("disk", &now).await;
    walk.check_stores().await;
    let (at, options) = (walk.at("disk"), walk.options());
    let diff = admin::diff(&at, "one", None, &options).await.unwrap();
    assert!(diff.changed.iter().any(|range| range.offset() == 20 * BLOCK) && diff.changed_bytes >= 40 * BLOCK);
    assert_eq!(walk.image("disk", Some("one")).await, bytes(SIZE, &one));
    clones(&walk, &one).await;
    walk.check("disk", &now).await;
    admin::rollback(&at, "one", &options).await.unwrap();
    walk.check("disk", &one).await;
    admin::resize(&at, 2 * SIZE, admin::Shrink::Refuse, &options).await.unwrap();
    let disk = walk.open("disk").await;
    assert_eq!(disk.info().size, 2 * SIZE);
    let mut grown = one.clone();
    put(&disk, &mut grown, 300..310, 5000).await;
    disk.shutdown().await.unwrap();
    walk.check("disk", &grown).await;
    let report = admin::gc(&at, &options, &NoProgress).await;
    report.unwrap_or_else(|error| panic!("{}", error.chain()));
    walk.check("disk", &grown).await;
    admin::remove(&walk.at("copy"), &options, &NoProgress).await.unwrap();
    admin::remove_snapshot(&at, "one", &options).await.unwrap();
    walk.check("disk", &grown).await;
    admin::remove(&at, &options, &NoProgress).await.unwrap();
    nbdgate_s3::open(&at, options).await.expect_err("it was removed");
}

/// A clone of a snapshot lives, crashes, recovers, and is sound.
async fn clones(walk: &Walk, one: &Picture) {
    let mut picture = one.clone();
    let made = admin::clone(&walk.at("disk"), "one", &walk.at("copy"), &walk.options()).await.unwrap();
    assert_eq!(made.encrypted, walk.key.is_some());
    if walk.key.is_some() {
        let error = nbdgate_s3::open(&walk.at("copy"), OpenOptions { key: None, ..walk.options() }).await;
        assert!(error.expect_err("a clone has its parent's keys").chain().contains("is encrypted"));
    }
    let disk = walk.open("copy").await;
    put(&disk, &mut picture, 30..50, 9000).await;
    drop(disk);
    let disk = walk.open("copy").await;
    assert!(read(&disk, 0, SIZE).await.unwrap() == bytes(SIZE, &picture));
    put(&disk, &mut picture, 50..55, 9000).await;
    disk.shutdown().await.unwrap();
    walk.check("copy", &picture).await;
    walk.check_stores().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_disk_walks_through_every_operation() {
    walk(true, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_of_two_stores_walks_through_every_operation() {
    walk(false, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_disk_of_two_stores_walks_through_every_operation() {
    walk(true, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_disk_is_removed_with_its_key_only() {
    let walk = Walk::new(true, false);
    walk.create().await;
    let before = list(&walk.data).await.len();
    let removed = admin::remove(&walk.at("disk"), &OpenOptions { key: None, ..walk.options() }, &NoProgress).await;
    let text = removed.expect_err("a refusal").chain();
    assert!(text.contains("removing it needs the key") && text.contains("v/"), "{text}");
    assert_eq!(list(&walk.data).await.len(), before);
    admin::remove(&walk.at("disk"), &walk.options(), &NoProgress).await.unwrap();
}
