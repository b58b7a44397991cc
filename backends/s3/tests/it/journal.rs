//! The journal from outside: what it answers, how it slows down, what it refuses, and what becomes of its errors.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use nbdgate_api::{ByteRange, Kind, Op};
use nbdgate_s3::{
    CreateOptions, DiskState, FlushMode, JournalLevels, JournalOptions, Location, Observer, OpenOptions, Tuning,
    journal,
};
use object_store::ObjectStore;

use crate::{
    ask::{Asked, ask, flush, read, write},
    setup::{BLOCK, at, memory, noise, options},
    sim_disk::{Platter, SimDisk},
    sim_store::{Bucket, Faults, SimStore},
};

const RING: usize = 1 << 20;

/// Keeps the newest levels.
#[derive(Debug, Default)]
struct Gauge(Mutex<(JournalLevels, u64)>);

impl Gauge {
    fn now(&self) -> JournalLevels {
        self.0.lock().unwrap().0
    }
}

impl Observer for Gauge {
    fn journal(&self, levels: &JournalLevels) {
        let mut seen = self.0.lock().unwrap();
        *seen = (*levels, seen.1.max(levels.memory_bytes));
    }
}

/// A disk with a simulated journal on a simulated store.
struct World {
    client: Arc<SimStore>,
    platter: Arc<Platter>,
    device: Arc<SimDisk>,
    gauge: Arc<Gauge>,
    options: OpenOptions,
}

impl World {
    async fn new(seed: u64, ring: usize) -> Self {
        let client = Bucket::new(seed).client(Faults::default());
        let platter = Platter::new(seed, ring);
        let device = platter.attach();
        let gauge = Arc::new(Gauge::default());
        let options = OpenOptions { observer: gauge.clone(), ..options() };
        let world = Self { client, platter, device, gauge, options };
        make(&world.location(), FlushMode::Journal).await;
        world
    }

    fn location(&self) -> Location {
        let store: Arc<dyn ObjectStore> = self.client.clone();
        at(&store)
    }

    /// Opens the disk with the journal on `platter`.
    async fn open_on(&mut self, platter: &Arc<Platter>) -> Result<nbdgate_s3::Disk, nbdgate_s3::Error> {
        self.device = platter.attach();
        let options = OpenOptions { journal_medium: Some(self.device.clone()), ..self.options.clone() };
        nbdgate_s3::open(&self.location(), options).await
    }

    async fn open(&mut self) -> nbdgate_s3::Disk {
        let platter = Arc::clone(&self.platter);
        self.open_on(&platter).await.unwrap_or_else(|error| panic!("{}", error.chain()))
    }

    async fn refusal(&mut self, platter: &Arc<Platter>) -> nbdgate_s3::Error {
        self.open_on(platter).await.map(|_| ()).expect_err("it is refused")
    }

    fn store_is_down(&self, is_down: bool) {
        self.client.set_faults(if is_down { Faults { lost: 1000, ..Faults::default() } } else { Faults::default() });
    }
}

async fn make(location: &Location, flush: FlushMode) {
    // Without a lease, which a store that is down for long would not prove any more.
    let lease = Duration::ZERO;
    let options = CreateOptions { size: 64 << 20, segment_target: 64 << 10, flush, lease, ..CreateOptions::default() };
    nbdgate_s3::create(location, &options).await.expect("a new disk");
}

fn count(asked: &mut [Asked]) -> usize {
    asked.iter_mut().filter_map(Asked::try_answer).filter(|answer| answer.outcome.is_ok()).count()
}

#[tokio::test(start_paused = true)]
async fn a_flush_ends_while_the_store_hangs() {
    let mut world = World::new(1, RING).await;
    let disk = world.open().await;
    world.store_is_down(true);
    let before = tokio::time::Instant::now();
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    flush(&disk).await.unwrap();
    ask(&disk, Op::Write { offset: BLOCK, payload: noise(2, BLOCK).into(), fua: true }).answer().await.outcome.unwrap();
    assert!(before.elapsed() < Duration::from_millis(50), "{:?}", before.elapsed());
    assert!(world.device.syncs() > 0);
}

#[tokio::test(start_paused = true)]
async fn a_flush_of_what_is_stable_needs_no_sync_and_waiting_ones_share_one() {
    let mut world = World::new(2, RING).await;
    let disk = world.open().await;
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    flush(&disk).await.unwrap();
    let before = world.device.syncs();
    flush(&disk).await.unwrap();
    assert_eq!(world.device.syncs(), before);
    let mut flushes = Vec::new();
    for number in 0..50 {
        drop(ask(&disk, Op::Write { offset: number * BLOCK, payload: noise(number, BLOCK).into(), fua: false }));
        flushes.push(ask(&disk, Op::Flush));
    }
    for flush in flushes {
        flush.answer().await.outcome.unwrap();
    }
    let used = world.device.syncs() - before;
    assert!(used <= 3, "50 flushes took {used} syncs");
}

#[tokio::test(start_paused = true)]
async fn writes_go_on_while_the_store_is_down_until_the_journal_is_full_and_resume() {
    let mut world = World::new(3, RING).await;
    world.options.tuning.dirty_budget = 64 << 10;
    let disk = world.open().await;
    world.store_is_down(true);
    let put =
        |number: u64| Op::Write { offset: number * 16 * BLOCK, payload: noise(number, 16 * BLOCK).into(), fua: false };
    let mut asked: Vec<_> = (0..30).map(|number| ask(&disk, put(number))).collect();
    tokio::time::sleep(Duration::from_mins(1)).await;
    let answered = count(&mut asked);
    assert!((10..16).contains(&answered), "{answered} writes of 64 KiB went into 1 MiB");
    assert!(world.gauge.now().used_bytes > 700 << 10, "{:?}", world.gauge.now());
    // What is in the journal is read from there, and what is in memory stays small.
    for number in 0..10 {
        assert_eq!(read(&disk, number * 16 * BLOCK, 16 * BLOCK).await.unwrap(), noise(number, 16 * BLOCK));
    }
    let memory = world.gauge.now().memory_bytes;
    assert!(memory < 700 << 10, "{memory} bytes in memory");
    world.store_is_down(false);
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(answered + count(&mut asked), 30, "all writes were answered without a restart");
    flush(&disk).await.unwrap();
    disk.shutdown().await.unwrap();
    let disk = world.open().await;
    for number in 0..30 {
        assert_eq!(read(&disk, number * 16 * BLOCK, 16 * BLOCK).await.unwrap(), noise(number, 16 * BLOCK));
    }
}

#[tokio::test(start_paused = true)]
async fn unaligned_writes_meet_blocks_that_are_only_in_the_journal() {
    let mut world = World::new(4, RING).await;
    world.options.tuning = Tuning { dirty_budget: 0, window: 1, ..world.options.tuning.clone() };
    let disk = world.open().await;
    world.store_is_down(true);
    let mut expected = noise(1, 40 * BLOCK);
    // Several segments, so that the later ones wait unbuilt.
    for number in 0..40 {
        let start = usize::try_from(number * BLOCK).unwrap();
        write(&disk, number * BLOCK, expected[start..start + 4096].to_vec()).await.unwrap();
    }
    assert!(world.gauge.now().memory_bytes < 40 * BLOCK, "{:?}", world.gauge.now());
    write(&disk, 37 * BLOCK + 100, vec![7; 4096]).await.unwrap();
    let at = 37 * 4096 + 100;
    expected[at..at + 4096].fill(7);
    assert_eq!(read(&disk, 0, 40 * BLOCK).await.unwrap(), expected);
    assert_eq!(read(&disk, 37 * BLOCK + 50, 200).await.unwrap(), expected[at - 50..at + 150]);
    world.store_is_down(false);
    disk.shutdown().await.unwrap();
    let disk = world.open().await;
    assert_eq!(read(&disk, 0, 40 * BLOCK).await.unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn with_an_rpo_a_flush_waits_for_a_bucket_that_lags() {
    let mut world = World::new(5, RING).await;
    world.options.rpo = Some(Duration::from_secs(10));
    let disk = world.open().await;
    world.store_is_down(true);
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    flush(&disk).await.unwrap();
    tokio::time::sleep(Duration::from_secs(11)).await;
    write(&disk, BLOCK, noise(2, BLOCK)).await.unwrap();
    let mut waiting = ask(&disk, Op::Flush);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(waiting.try_answer().is_none(), "the bucket is a minute behind");
    let before = tokio::time::Instant::now();
    for number in 2..22 {
        write(&disk, number * BLOCK, noise(number, BLOCK)).await.unwrap();
    }
    assert!(before.elapsed() >= Duration::from_millis(900), "writes were not slowed down: {:?}", before.elapsed());
    world.store_is_down(false);
    waiting.answer().await.outcome.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.gauge.now().delay_ms, 0);
}

#[tokio::test(start_paused = true)]
async fn without_an_rpo_the_store_catches_up_by_itself() {
    let mut world = World::new(6, RING).await;
    let disk = world.open().await;
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    assert!(world.gauge.now().lag_bytes > 0);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.gauge.now().lag_bytes, 0, "unflushed writes are stored after the upload delay");
    drop(disk);
}

#[tokio::test(start_paused = true)]
async fn a_failed_journal_is_final_and_what_was_answered_goes_to_the_bucket() {
    let mut world = World::new(7, RING).await;
    let disk = world.open().await;
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    flush(&disk).await.unwrap();
    write(&disk, BLOCK, noise(2, BLOCK)).await.unwrap();
    world.device.fail_after(0);
    let error = flush(&disk).await.unwrap_err();
    assert!(error.chain().contains("journal"), "{}", error.chain());
    assert!(flush(&disk).await.is_err(), "an error of a sync is final");
    assert!(write(&disk, 0, noise(3, BLOCK)).await.is_err());
    assert!(ask(&disk, Op::Trim { range: ByteRange::between(0, 4096), fua: true }).answer().await.outcome.is_err());
    assert!(world.gauge.now().failed);
    assert_eq!(read(&disk, BLOCK, BLOCK).await.unwrap(), noise(2, BLOCK), "reads go on");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.gauge.now().lag_bytes, 0, "it was not left to its upload delay");
    disk.shutdown().await.unwrap();
    // The journal could not be told that it is spent; that its last writer closed the disk says so too.
    let disk = world.open().await;
    assert_eq!(read(&disk, 0, 2 * BLOCK).await.unwrap(), [noise(1, BLOCK), noise(2, BLOCK)].concat());
}

#[tokio::test(start_paused = true)]
async fn a_failed_record_fails_the_writes_that_wait_for_it() {
    let mut world = World::new(8, RING).await;
    let disk = world.open().await;
    world.device.fail_after(0);
    let asked: Vec<_> = (0..5)
        .map(|number| {
            ask(&disk, Op::Write { offset: number * BLOCK, payload: noise(1, BLOCK).into(), fua: number == 2 })
        })
        .collect();
    for asked in asked {
        assert!(asked.answer().await.outcome.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_clean_close_leaves_nothing_behind() {
    let mut world = World::new(9, RING).await;
    let disk = world.open().await;
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    disk.shutdown().await.unwrap();
    assert_eq!(nbdgate_s3::info(&world.location()).await.unwrap().state, DiskState::Closed);
    // Any journal will do now, and the old one as well afterwards.
    let disk = world.open_on(&Platter::new(90, RING)).await.unwrap();
    write(&disk, BLOCK, noise(2, BLOCK)).await.unwrap();
    disk.shutdown().await.unwrap();
    let disk = world.open().await;
    assert_eq!(read(&disk, 0, 2 * BLOCK).await.unwrap(), [noise(1, BLOCK), noise(2, BLOCK)].concat());
}

#[tokio::test(start_paused = true)]
async fn without_its_journal_a_disk_that_was_not_closed_is_refused_until_it_is_abandoned() {
    let mut world = World::new(10, RING).await;
    let disk = world.open().await;
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    world.store_is_down(true);
    drop(disk);
    world.store_is_down(false);
    let blank = Platter::new(100, RING);
    let error = world.refusal(&blank).await;
    assert_eq!(error.kind(), Kind::Permission);
    assert!(error.chain().contains("host-a") && error.chain().contains("abandon"), "{}", error.chain());
    let nothing = nbdgate_s3::open(&world.location(), world.options.clone()).await.map(|_| ()).unwrap_err();
    assert!(nothing.chain().contains("may hold writes"), "{}", nothing.chain());
    // Another host gives it up.
    world.options = OpenOptions { abandon_journal: true, host: Some("host-b".into()), ..world.options.clone() };
    let disk = world.open_on(&blank).await.unwrap();
    assert_eq!(read(&disk, 0, BLOCK).await.unwrap(), vec![0; 4096], "the bucket is the truth");
    disk.shutdown().await.unwrap();
    // The old host comes back.
    let (old, before) = (Arc::clone(&world.platter), world.platter.contents());
    world.options = OpenOptions { abandon_journal: false, host: Some("host-a".into()), ..world.options.clone() };
    let error = world.refusal(&old).await;
    assert!(error.chain().contains("parked"), "{}", error.chain());
    assert!(world.platter.contents() == before, "a parked journal is not touched");
}

#[tokio::test(start_paused = true)]
async fn an_old_copy_of_the_journal_is_not_replayed() {
    let mut world = World::new(11, RING).await;
    let disk = world.open().await;
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    drop(disk);
    let copy = world.platter.copy();
    let disk = world.open().await;
    world.store_is_down(true);
    write(&disk, 0, noise(2, BLOCK)).await.unwrap();
    drop(disk);
    world.store_is_down(false);
    let error = world.refusal(&copy).await;
    assert!(error.chain().contains("old copy"), "{}", error.chain());
    let disk = world.open().await;
    assert_eq!(read(&disk, 0, BLOCK).await.unwrap(), noise(2, BLOCK));
}

#[tokio::test(start_paused = true)]
async fn damage_in_what_was_stable_is_told_from_the_end_of_the_chain() {
    let mut world = World::new(12, RING).await;
    let disk = world.open().await;
    world.store_is_down(true);
    for number in 0..4 {
        write(&disk, number * BLOCK, noise(number, BLOCK)).await.unwrap();
        flush(&disk).await.unwrap();
    }
    drop(disk);
    world.store_is_down(false);
    // Records of two blocks each behind the superblocks: a payload of the second, or the header of the third.
    for (offset, survivors) in [(8192 + 3 * 4096 + 17, 1_u64), (8192 + 4 * 4096 + 40, 2)] {
        let mut world = World { platter: world.platter.copy(), options: world.options.clone(), ..fork(&world) };
        world.platter.rot(offset);
        let platter = Arc::clone(&world.platter);
        let error = world.refusal(&platter).await;
        assert!(error.chain().contains("damaged at offset"), "{}", error.chain());
        if survivors == 2 {
            world.options.abandon_journal = true;
            let disk = world.open().await;
            assert_eq!(read(&disk, 0, BLOCK).await.unwrap(), noise(0, BLOCK));
            assert_eq!(read(&disk, BLOCK, BLOCK).await.unwrap(), noise(1, BLOCK));
            assert_eq!(read(&disk, 2 * BLOCK, 2 * BLOCK).await.unwrap(), vec![0; 8192]);
        }
    }
}

fn fork(world: &World) -> World {
    World {
        client: Arc::clone(&world.client),
        platter: Arc::clone(&world.platter),
        device: Arc::clone(&world.device),
        gauge: Arc::clone(&world.gauge),
        options: world.options.clone(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_without_a_journal_mode_leaves_a_given_one_alone() {
    for mode in [FlushMode::Object, FlushMode::None] {
        let store = memory();
        make(&at(&store), mode).await;
        let platter = Platter::new(13, RING);
        let options = OpenOptions { journal_medium: Some(platter.attach()), ..options() };
        let disk = nbdgate_s3::open(&at(&store), options).await.unwrap();
        write(&disk, 0, noise(1, BLOCK)).await.unwrap();
        flush(&disk).await.unwrap();
        disk.shutdown().await.unwrap();
        assert!(platter.contents().iter().all(|&byte| byte == 0));
    }
}

#[tokio::test(start_paused = true)]
async fn without_flushing_a_flush_waits_for_nothing_and_a_clean_close_keeps_all() {
    let client = Bucket::new(14).client(Faults::default());
    let store: Arc<dyn ObjectStore> = client.clone();
    make(&at(&store), FlushMode::None).await;
    let disk = nbdgate_s3::open(&at(&store), options()).await.unwrap();
    client.set_faults(Faults { lost: 1000, ..Faults::default() });
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    flush(&disk).await.unwrap();
    ask(&disk, Op::Write { offset: BLOCK, payload: noise(2, BLOCK).into(), fua: true }).answer().await.outcome.unwrap();
    client.set_faults(Faults::default());
    disk.shutdown().await.unwrap();
    let disk = nbdgate_s3::open(&at(&store), options()).await.unwrap();
    assert_eq!(read(&disk, 0, 2 * BLOCK).await.unwrap(), [noise(1, BLOCK), noise(2, BLOCK)].concat());
}

#[tokio::test(start_paused = true)]
async fn a_disk_in_journal_mode_needs_a_journal() {
    let store = memory();
    make(&at(&store), FlushMode::Journal).await;
    let error = nbdgate_s3::open(&at(&store), options()).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.chain().contains("local journal"), "{}", error.chain());
}

fn file(path: &Path) -> OpenOptions {
    let journal = JournalOptions { path: path.to_owned(), size: journal::MIN_SIZE };
    OpenOptions { journal: Some(journal), ..options() }
}

#[tokio::test]
async fn a_journal_file_survives_its_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.journal");
    let store = memory();
    make(&at(&store), FlushMode::Journal).await;
    let mut options = file(&path);
    // Nothing but the journal has it.
    options.tuning.upload_delay = Duration::from_hours(1);
    let disk = nbdgate_s3::open(&at(&store), options.clone()).await.unwrap();
    for number in 0..20 {
        write(&disk, number * BLOCK, noise(number, BLOCK)).await.unwrap();
    }
    let in_use = nbdgate_s3::open(&at(&store), OpenOptions { steal: true, ..options.clone() }).await;
    assert!(in_use.map(|_| ()).unwrap_err().chain().contains("in use"));
    drop(disk);
    let disk = nbdgate_s3::open(&at(&store), options.clone()).await.unwrap();
    for number in 0..20 {
        assert_eq!(read(&disk, number * BLOCK, BLOCK).await.unwrap(), noise(number, BLOCK));
    }
    flush(&disk).await.unwrap();
    disk.shutdown().await.unwrap();
    assert_eq!(nbdgate_s3::info(&at(&store)).await.unwrap().state, DiskState::Closed);
}

#[tokio::test]
async fn a_mistyped_journal_is_not_created_and_a_foreign_one_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let (path, other) = (directory.path().join("journal"), directory.path().join("other"));
    let store = memory();
    make(&at(&store), FlushMode::Journal).await;
    drop(nbdgate_s3::open(&at(&store), file(&path)).await.unwrap());
    let error = nbdgate_s3::open(&at(&store), file(&other)).await.map(|_| ()).unwrap_err();
    assert!(error.chain().contains("may hold writes") && !other.exists(), "{}", error.chain());
    std::fs::write(&other, vec![7; 17 << 20]).unwrap();
    let error = nbdgate_s3::open(&at(&store), file(&other)).await.map(|_| ()).unwrap_err();
    assert!(error.chain().contains("something else"), "{}", error.chain());
    assert!(std::fs::read(&other).unwrap() == vec![7; 17 << 20]);
    // The journal of this disk does not serve another one.
    let second = Location::in_store(Arc::clone(&store), "root", "second");
    make(&second, FlushMode::Journal).await;
    let error = nbdgate_s3::open(&second, file(&path)).await.map(|_| ()).unwrap_err();
    assert!(error.chain().contains("another disk"), "{}", error.chain());
    nbdgate_s3::open(&at(&store), file(&path)).await.unwrap().shutdown().await.unwrap();
}
