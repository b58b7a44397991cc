//! The journal of an encrypted disk: nothing readable in it, nothing lost, and nothing believed that this disk did not write.

use std::sync::Arc;

use nbdgate_api::Kind;
use nbdgate_s3::{CreateOptions, Disk, Error, FlushMode, Location, OnUnclean, OpenOptions, Tuning};
use object_store::ObjectStore;

use crate::{
    ask::{flush, read, write},
    setup::{BLOCK, Key, at, noise, options},
    sim_disk::Platter,
    sim_store::{Bucket, Faults, SimStore},
};

const RING: usize = 1 << 20;
const HEADERS: usize = 8192;

struct World {
    client: Arc<SimStore>,
    platter: Arc<Platter>,
    key: Option<Key>,
}

impl World {
    async fn new(seed: u64, key: Option<Key>) -> Self {
        let client = Bucket::new(seed).client(Faults::default());
        let world = Self { client, platter: Platter::new(seed, RING), key };
        let options = CreateOptions {
            size: 16 << 20,
            segment_target: 64 << 10,
            flush: FlushMode::Journal,
            key: world.key.as_ref().map(Key::source),
            ..CreateOptions::default()
        };
        nbdgate_s3::create(&world.location(), &options).await.expect("a new disk");
        world
    }

    async fn sealed(seed: u64) -> Self {
        Self::new(seed, Some(Key::new("the disk's key"))).await
    }

    fn location(&self) -> Location {
        let store: Arc<dyn ObjectStore> = self.client.clone();
        at(&store)
    }

    fn options(&self) -> OpenOptions {
        let tuning = Tuning { dirty_budget: 0, window: 1, ..options().tuning };
        OpenOptions {
            tuning,
            key: self.key.as_ref().map(Key::source),
            on_unclean: OnUnclean::Serve,
            journal_medium: Some(self.platter.attach()),
            ..options()
        }
    }

    async fn open(&self) -> Result<Disk, Error> {
        nbdgate_s3::open(&self.location(), self.options()).await
    }

    fn store_is_down(&self, is_down: bool) {
        self.client.set_faults(if is_down { Faults { lost: 1000, ..Faults::default() } } else { Faults::default() });
    }

    /// A disk that crashed with these writes of eight blocks in its journal only.
    async fn crashed(&self, seeds: std::ops::Range<u64>) {
        let disk = self.open().await.unwrap_or_else(|error| panic!("{}", error.chain()));
        self.store_is_down(true);
        for seed in seeds {
            write(&disk, seed * 8 * BLOCK, noise(seed, 8 * BLOCK)).await.unwrap();
        }
        flush(&disk).await.unwrap();
        drop(disk);
        self.store_is_down(false);
    }

    async fn check(&self, disk: &Disk, seeds: std::ops::Range<u64>) {
        for seed in seeds {
            assert!(read(disk, seed * 8 * BLOCK, 8 * BLOCK).await.unwrap() == noise(seed, 8 * BLOCK), "write {seed}");
        }
    }

    async fn damaged(&self, why: &str) {
        let error = self.open().await.expect_err("a refusal");
        assert_eq!(error.kind(), Kind::Io);
        let text = error.chain();
        assert!(text.contains("damaged at offset") && text.contains(why) && text.contains("abandon-journal"), "{text}");
    }
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Changes a byte of the record at `record` with this payload, and makes its crcs match: what only malice does.
fn tamper(platter: &Platter, record: usize, payload: usize, at: usize) -> Arc<Platter> {
    let mut bytes = platter.contents();
    bytes[record + at] ^= 1;
    let crc = crc32c::crc32c(&bytes[record + 4096..record + 4096 + payload]);
    bytes[record + 60..record + 64].copy_from_slice(&crc.to_le_bytes());
    bytes[record + 72..record + 76].fill(0);
    let crc = crc32c::crc32c(&bytes[record..record + 4096]);
    bytes[record + 72..record + 76].copy_from_slice(&crc.to_le_bytes());
    Platter::holding(bytes)
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_not_found_in_the_journal_of_an_encrypted_disk() {
    for is_sealed in [false, true] {
        let world = World::new(1, is_sealed.then(|| Key::new("a key"))).await;
        world.crashed(0..6).await;
        let bytes = world.platter.contents();
        for seed in 0..6 {
            let plain = noise(seed, 8 * BLOCK);
            assert_eq!(holds(&bytes, &plain[5000..5032]), !is_sealed);
            let crc = crc32c::crc32c(&plain).to_le_bytes();
            assert_eq!(holds(&bytes, &crc), !is_sealed, "a checksum tells what it is of");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_encrypted_disk_replays_its_journal_life_after_life() {
    let world = World::sealed(2).await;
    for life in 0..3 {
        // The store is down all the time: the records of all lives are in the ring, each under a key of its own.
        world.crashed(life * 2..life * 2 + 2).await;
        let disk = world.open().await.unwrap_or_else(|error| panic!("{}", error.chain()));
        world.check(&disk, 0..life * 2 + 2).await;
        world.store_is_down(true);
        drop(disk);
        world.store_is_down(false);
    }
    let disk = world.open().await.unwrap();
    world.check(&disk, 0..6).await;
    disk.shutdown().await.unwrap();
    let disk = world.open().await.unwrap();
    world.check(&disk, 0..6).await;
}

#[tokio::test(start_paused = true)]
async fn blocks_that_are_only_in_a_sealed_journal_are_read_from_it_in_any_pieces() {
    let world = World::sealed(3).await;
    let disk = world.open().await.unwrap();
    world.store_is_down(true);
    let mut expected = noise(9, 100 * BLOCK);
    for piece in 0..10 {
        let start = piece * 40960;
        write(&disk, start as u64, expected[start..start + 40960].to_vec()).await.unwrap();
    }
    // Pieces of pieces, and an unaligned write into what is not in memory.
    write(&disk, 83 * BLOCK + 100, vec![7; 5000]).await.unwrap();
    let at = 83 * 4096 + 100;
    expected[at..at + 5000].fill(7);
    write(&disk, 25 * BLOCK, vec![8; 4096]).await.unwrap();
    expected[25 * 4096..26 * 4096].fill(8);
    for (offset, length) in [(0, 409_600), (3 * 4096, 4096), (27 * 4096, 8192), (17 * 4096 + 17, 100_000)] {
        let got = read(&disk, offset as u64, length as u64).await.unwrap();
        assert!(got == expected[offset..offset + length], "{length} bytes at {offset}");
    }
    world.store_is_down(false);
    disk.shutdown().await.unwrap();
    let disk = world.open().await.unwrap();
    assert!(read(&disk, 0, 409_600).await.unwrap() == expected);
}

#[tokio::test(start_paused = true)]
async fn tampering_with_a_sealed_journal_is_noticed_though_the_crcs_match() {
    let mut world = World::sealed(4).await;
    world.crashed(0..2).await;
    let good = Arc::clone(&world.platter);
    // Its sequence, its extent's first block, its payload.
    for at in [76, 112, 4096 + 99] {
        world.platter = tamper(&good, HEADERS, 8 * 4096, at);
        world.damaged("is not what was").await;
    }
    world.platter = good;
    let disk = world.open().await.unwrap();
    world.check(&disk, 0..2).await;
}

#[tokio::test(start_paused = true)]
async fn damage_of_a_sealed_extent_is_an_error_for_who_reads_it_and_never_other_bytes() {
    let world = World::sealed(5).await;
    let disk = world.open().await.unwrap();
    world.store_is_down(true);
    for seed in 0..6 {
        write(&disk, seed * 8 * BLOCK, noise(seed, 8 * BLOCK)).await.unwrap();
    }
    // Of the fourth record, which is not in memory any more.
    let record = HEADERS + 3 * 9 * 4096;
    world.platter.rot(record + 4096 + 5000);
    let error = read(&disk, 3 * 8 * BLOCK, BLOCK).await.expect_err("the whole extent is sealed together");
    assert!(error.chain().contains("does not hold what was written"), "{}", error.chain());
    world.check(&disk, 4..6).await;
}

#[tokio::test(start_paused = true)]
async fn clear_records_and_sealed_ones_are_never_taken_for_each_other() {
    let (sealed, clear) = (World::sealed(6).await, World::new(6, None).await);
    sealed.crashed(0..2).await;
    clear.crashed(0..2).await;
    let (mut one, mut other) = (sealed.platter.contents(), clear.platter.contents());
    // Each record claims to be of the other journal, which it is chained to from the start.
    for (into, from) in [(&mut one, clear.platter.contents()), (&mut other, sealed.platter.contents())] {
        into[HEADERS..HEADERS + 9 * 4096].copy_from_slice(&from[HEADERS..HEADERS + 9 * 4096]);
        let journal = into[8..24].to_vec();
        into[HEADERS + 8..HEADERS + 24].copy_from_slice(&journal);
    }
    let tampered =
        |bytes| tamper(&tamper(&Platter::holding(bytes), HEADERS, 8 * 4096, 0x400 * 3), HEADERS, 8 * 4096, 0x400 * 3);
    let sealed = World { platter: tampered(one), ..sealed };
    sealed.damaged("is in clear, and the disk is encrypted").await;
    let clear = World { platter: tampered(other), ..clear };
    clear.damaged("is sealed, and the disk is not encrypted").await;
}
