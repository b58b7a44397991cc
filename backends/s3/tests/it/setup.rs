//! Disks for tests.

use std::{sync::Arc, time::Duration};

use nbdgate_s3::{CheckpointRules, CreateOptions, Disk, Error, KeySource, Location, OpenOptions, Tuning};
use object_store::{ObjectStore, memory::InMemory};

pub(crate) const BLOCK: u64 = 4096;

pub(crate) fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

pub(crate) fn at(store: &Arc<dyn ObjectStore>) -> Location {
    Location::in_store(Arc::clone(store), "root", "disk")
}

/// Small limits, so that a few requests exercise all of them.
pub(crate) fn tuning() -> Tuning {
    Tuning {
        upload_delay: Duration::from_millis(500),
        checkpoint: CheckpointRules { segments: 1000, ..CheckpointRules::default() },
        probe: (1, 2),
        ..Tuning::default()
    }
}

pub(crate) fn options() -> OpenOptions {
    OpenOptions { tuning: tuning(), host: Some("host-a".to_owned()), ..OpenOptions::default() }
}

pub(crate) async fn create(location: &Location, size: u64) {
    nbdgate_s3::create(location, &CreateOptions { size, ..CreateOptions::default() }).await.expect("a new disk");
}

/// A disk that asks for nothing while idle, and reads without proofs of ownership.
pub(crate) async fn create_unleased(location: &Location, size: u64) {
    let options = CreateOptions { size, lease: Duration::ZERO, ..CreateOptions::default() };
    nbdgate_s3::create(location, &options).await.expect("a new disk");
}

pub(crate) async fn open(location: &Location) -> Result<Disk, Error> {
    nbdgate_s3::open(location, options()).await
}

/// A new disk in a new memory store.
pub(crate) async fn fresh(size: u64) -> (Arc<dyn ObjectStore>, Disk) {
    let store = memory();
    create(&at(&store), size).await;
    let disk = open(&at(&store)).await.expect("a fresh disk opens");
    (store, disk)
}

/// Bytes that do not compress and differ by seed.
pub(crate) fn noise(seed: u64, length: u64) -> Vec<u8> {
    use rand::{RngCore, SeedableRng, rngs::StdRng};
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// A key file with a text of its own, for as long as this lives.
pub(crate) struct Key {
    directory: tempfile::TempDir,
    pub(crate) secret: String,
}

impl Key {
    pub(crate) fn new(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let secret = format!("{name}: a secret that nobody else knows");
        std::fs::write(directory.path().join("key"), &secret).unwrap();
        Self { directory, secret }
    }

    pub(crate) fn source(&self) -> KeySource {
        KeySource::File(self.path())
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("key")
    }
}
