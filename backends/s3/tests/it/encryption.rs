//! An encrypted disk: it comes back with its key and with no other, nothing readable leaves the host, and no damage
//! makes it serve other bytes.

use std::sync::{Arc, atomic::Ordering};

use nbdgate_api::Kind;
use nbdgate_s3::{
    Argon2Cost, Codec, CreateOptions, DiskState, Error, KeySource, Location, OnUnclean, OpenOptions, Root, Secret,
};
use object_store::ObjectStore;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    ask::{flush, read, write},
    sealed_objects::seal_of,
    setup::{BLOCK, Key, at, create, noise, options},
    sim_store::{Bucket, Faults, SimStore},
};

const SIZE: u64 = 1 << 20;

pub(crate) struct World {
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) client: Arc<SimStore>,
    pub(crate) location: Location,
    pub(crate) key: Key,
}

impl World {
    /// A new encrypted disk.
    pub(crate) async fn new() -> Self {
        let key = Key::new("the disk's key");
        Self::with(key.source(), key, Codec::Lz4).await
    }

    async fn with(source: KeySource, key: Key, codec: Codec) -> Self {
        let bucket = Bucket::new(1);
        let client = bucket.client(Faults::default());
        let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(&client);
        let location = at(&store);
        let options = CreateOptions { size: SIZE, key: Some(source), codec, ..CreateOptions::default() };
        nbdgate_s3::create(&location, &options).await.expect("a new encrypted disk");
        Self { bucket, client, location, key }
    }

    pub(crate) fn options(&self) -> OpenOptions {
        OpenOptions { key: Some(self.key.source()), on_unclean: OnUnclean::Serve, ..options() }
    }

    /// Writes noise of this seed at 8 blocks per seed, and closes.
    pub(crate) async fn fill(&self, options: OpenOptions, seeds: std::ops::Range<u64>) {
        let disk = nbdgate_s3::open(&self.location, options).await.unwrap();
        for seed in seeds {
            write(&disk, seed * 8 * BLOCK, noise(seed, 8 * BLOCK)).await.unwrap();
            flush(&disk).await.unwrap();
        }
        disk.shutdown().await.unwrap();
    }

    /// Opens, reads it all back, and closes.
    pub(crate) async fn check(&self, options: OpenOptions, seeds: std::ops::Range<u64>) -> Result<(), Error> {
        let disk = nbdgate_s3::open(&self.location, options).await?;
        for seed in seeds {
            let bytes = read(&disk, seed * 8 * BLOCK, 8 * BLOCK).await?;
            assert!(bytes == noise(seed, 8 * BLOCK), "other bytes than were written");
        }
        disk.shutdown().await
    }

    pub(crate) fn puts(&self) -> u64 {
        self.client.counts.puts.load(Ordering::Relaxed)
    }

    /// Opening with these options is refused, and nothing is put before.
    pub(crate) async fn refused(&self, options: OpenOptions) -> Error {
        let before = self.puts();
        let error = nbdgate_s3::open(&self.location, options).await.expect_err("a refusal");
        assert_eq!(self.puts(), before, "{}", error.chain());
        error
    }
}

fn passphrase(text: &Key) -> KeySource {
    let cost = Argon2Cost { memory_kib: 64, passes: 1, lanes: 1 };
    KeySource::Passphrase { from: Secret::File(text.path()), cost }
}

#[tokio::test(start_paused = true)]
async fn an_encrypted_disk_comes_back_closed_or_crashed() {
    let world = World::new().await;
    world.fill(world.options(), 0..3).await;
    world.check(world.options(), 0..3).await.unwrap();
    let disk = nbdgate_s3::open(&world.location, world.options()).await.unwrap();
    write(&disk, 24 * BLOCK, noise(3, 8 * BLOCK)).await.unwrap();
    flush(&disk).await.unwrap();
    drop(disk);
    world.check(world.options(), 0..4).await.unwrap();
    world.check(OpenOptions { read_only: true, ..world.options() }, 0..4).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wrong_key_is_refused_before_anything_is_written() {
    let world = World::new().await;
    let other = Key::new("another key");
    let error = world.refused(OpenOptions { key: Some(other.source()), ..world.options() }).await;
    assert_eq!(error.kind(), Kind::Permission, "{}", error.chain());
    assert!(error.chain().contains("is not the key of the disk"), "{}", error.chain());
    world.check(world.options(), 0..0).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wrong_passphrase_is_refused_before_anything_is_written() {
    let key = Key::new("a passphrase");
    let world = World::with(passphrase(&key), key, Codec::Lz4).await;
    let right = OpenOptions { key: Some(passphrase(&world.key)), ..world.options() };
    world.fill(right.clone(), 0..1).await;
    let other = Key::new("another passphrase");
    let error = world.refused(OpenOptions { key: Some(passphrase(&other)), ..world.options() }).await;
    assert_eq!(error.kind(), Kind::Permission, "{}", error.chain());
    let error = world.refused(world.options()).await;
    assert!(error.chain().contains("opened with a passphrase"), "{}", error.chain());
    // The cost that opens a disk is the one it was made with.
    let source = KeySource::passphrase(Secret::File(world.key.path()));
    world.check(OpenOptions { key: Some(source), ..right }, 0..1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_missing_and_a_superfluous_key_are_refused_before_anything_is_written() {
    let world = World::new().await;
    let puts = world.client.counts.puts.load(Ordering::Relaxed);
    let error = world.refused(OpenOptions { key: None, ..world.options() }).await;
    assert!(error.chain().contains("is encrypted: give its"), "{}", error.chain());
    assert_eq!(world.client.counts.puts.load(Ordering::Relaxed), puts);
    let clear = Bucket::new(2).client(Faults::default());
    let store: Arc<dyn ObjectStore> = Arc::<SimStore>::clone(&clear);
    create(&at(&store), SIZE).await;
    let (puts, total) = (clear.counts.puts.load(Ordering::Relaxed), clear.counts.total());
    let error = nbdgate_s3::open(&at(&store), world.options()).await.expect_err("a disk in clear");
    assert!(error.chain().contains("is not encrypted"), "{}", error.chain());
    assert_eq!(clear.counts.puts.load(Ordering::Relaxed), puts);
    assert_eq!(clear.counts.total() - total, 2);
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_key_makes_no_disk() {
    let bucket = Bucket::new(1);
    let store: Arc<dyn ObjectStore> = bucket.client(Faults::default());
    for (source, says) in [
        (KeySource::File("/nonexistent/key".into()), "/nonexistent/key"),
        (KeySource::passphrase(Secret::Env("NBDGATE_TEST_UNSET".to_owned())), "NBDGATE_TEST_UNSET is not set"),
        (KeySource::Command(Vec::new()), "command is empty"),
        (KeySource::Command(vec!["/bin/echo".to_owned(), "short".to_owned()]), "at least 32"),
    ] {
        let options = CreateOptions { size: SIZE, key: Some(source), ..CreateOptions::default() };
        let error = nbdgate_s3::create(&at(&store), &options).await.expect_err("no key, no disk");
        assert!(error.chain().contains(says), "{}", error.chain());
        assert_eq!(bucket.names().await, Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_opens_what_a_key_file_sealed() {
    let world = World::new().await;
    let path = world.key.path().display().to_string();
    let command = KeySource::Command(vec!["/bin/cat".to_owned(), path]);
    assert_eq!(format!("{command:?}"), "KeySource(the key command /bin/cat)", "arguments are not shown");
    world.check(OpenOptions { key: Some(command), ..world.options() }, 0..0).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_of_data_or_key_is_in_any_object_or_text() {
    const CANARY: &[u8] = b"the canary sings in clear only";
    for codec in [Codec::Raw, Codec::Lz4, Codec::Zstd] {
        let key = Key::new("the canary's key");
        let world = World::with(key.source(), key, codec).await;
        let disk = nbdgate_s3::open(&world.location, world.options()).await.unwrap();
        let block: Vec<u8> = CANARY.iter().copied().cycle().take(4 * 4096).collect();
        for round in 0..4 {
            write(&disk, round * 4 * BLOCK, block.clone()).await.unwrap();
            flush(&disk).await.unwrap();
        }
        assert!(!format!("{disk:?}").contains(&world.key.secret));
        disk.shutdown().await.unwrap();
        let shown = format!(
            "{:?} {:?}",
            world.options(),
            CreateOptions { key: world.options().key, ..CreateOptions::default() }
        );
        assert!(!shown.contains(&world.key.secret), "{shown}");
        let mut sealed = 0;
        for (name, bytes) in world.bucket.objects().await {
            for secret in [&CANARY[..12], &world.key.secret.as_bytes()[..12]] {
                assert!(!bytes.windows(12).any(|window| window == secret), "{codec:?}: {name} shows a secret");
            }
            sealed += u32::from(seal_of(&bytes).is_some());
        }
        assert!(sealed >= 6, "segments, a pack and manifests are sealed: {sealed}");
        let disk = nbdgate_s3::open(&world.location, world.options()).await.unwrap();
        assert!(read(&disk, 0, 4 * BLOCK).await.unwrap() == block);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flipped_byte_anywhere_is_an_error_or_changes_nothing() {
    let seed = rand::rng().random_range(0..1 << 40);
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let world = World::new().await;
    world.fill(world.options(), 0..3).await;
    let read_only = || OpenOptions { read_only: true, ..world.options() };
    let mut errors = 0;
    for (name, bytes) in world.bucket.objects().await {
        for _ in 0..12 {
            let at = random.random_range(0..bytes.len());
            world.bucket.damage(&name, |bytes| bytes[at] ^= 1 << (at % 8)).await;
            // `check` panics on other bytes than were written.
            errors += u32::from(world.check(read_only(), 0..3).await.is_err());
            world.bucket.damage(&name, |bytes| bytes[at] ^= 1 << (at % 8)).await;
        }
    }
    assert!(errors > 12 * 5, "name, descriptor, newest manifest, pack and segments matter: {errors}");
    world.check(read_only(), 0..3).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_object_in_clear_is_refused_on_an_encrypted_disk() {
    let (sealed, clear) = (World::new().await, Bucket::new(3));
    sealed.fill(sealed.options(), 0..3).await;
    let store: Arc<dyn ObjectStore> = clear.client(Faults::default());
    create(&at(&store), SIZE).await;
    let disk = nbdgate_s3::open(&at(&store), options()).await.unwrap();
    write(&disk, 0, noise(9, 8 * BLOCK)).await.unwrap();
    disk.shutdown().await.unwrap();
    let manifests = |objects: Vec<(String, bytes::Bytes)>| objects.into_iter().rfind(|(name, _)| name.contains("/m/"));
    let (newest, ours) = manifests(sealed.bucket.objects().await).unwrap();
    let (_, theirs) = manifests(clear.objects().await).unwrap();
    // As a forger would: their manifest at our place.
    sealed
        .bucket
        .damage(&newest, |bytes| {
            *bytes = theirs.to_vec();
            bytes[8..40].copy_from_slice(&ours[8..40]);
            let crc = crc32c::crc32c(&bytes[..60]);
            bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        })
        .await;
    let error = sealed.refused(sealed.options()).await;
    assert!(error.chain().contains("holds no key"), "{}", error.chain());
}

#[tokio::test]
async fn a_disk_is_listed_and_described_without_its_key() {
    let (key, directory) = (Key::new("listed"), tempfile::tempdir().unwrap());
    let root: Root = format!("dir:{}", directory.path().display()).parse().unwrap();
    let location = root.disk("secret-disk").unwrap();
    let options = CreateOptions { size: SIZE, key: Some(key.source()), ..CreateOptions::default() };
    let made = nbdgate_s3::create(&location, &options).await.unwrap();
    assert!(made.encrypted);
    let listed = nbdgate_s3::list(&root).await.unwrap();
    let info = nbdgate_s3::info(&location).await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&info));
    assert_eq!((info.size, info.state, info.encrypted), (SIZE, DiskState::Closed, true));
}
