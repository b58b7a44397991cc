//! The cache against a model that knows every line's bytes, on a medium that lies.

use std::{
    collections::HashMap,
    io,
    sync::atomic::{AtomicBool, AtomicU32},
};

use parking_lot::Mutex;
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::format::{Epoch, Nonce, Object, ObjectName, Seq, VolumeId, Writer};

/// Memory that fails by seed.
#[derive(Debug)]
struct Lying {
    bytes: Mutex<Vec<u8>>,
    random: Mutex<StdRng>,
    /// Chances in a thousand: a read or write fails; a write is torn; a read bit is flipped; a write is lost.
    faults: AtomicU32,
    dead: AtomicBool,
}

impl Lying {
    fn new(size: usize, seed: u64, faults: u32) -> Arc<Self> {
        Arc::new(Self {
            bytes: Mutex::new(vec![0; size]),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            faults: faults.into(),
            dead: false.into(),
        })
    }

    fn strikes(&self) -> bool {
        let chance = self.faults.load(Ordering::Relaxed);
        chance > 0 && self.random.lock().random_range(0..1000) < chance
    }

    fn refuse(&self) -> io::Result<()> {
        let fails = self.dead.load(Ordering::Relaxed) || self.strikes();
        if fails { Err(io::Error::other("the medium failed")) } else { Ok(()) }
    }
}

impl Medium for Lying {
    fn size(&self) -> u64 {
        self.bytes.lock().len() as u64
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.refuse()?;
        let at = usize::try_from(offset).unwrap();
        let length = bytes.len();
        bytes.copy_from_slice(&self.bytes.lock()[at..at + length]);
        if self.strikes() {
            let at = self.random.lock().random_range(0..length);
            bytes[at] ^= 4;
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        let mut all = self.bytes.lock();
        if self.strikes() {
            let torn = self.random.lock().random_range(0..bytes.len());
            all[at..at + torn].copy_from_slice(&bytes[..torn]);
            return if self.strikes() { Err(io::Error::other("torn")) } else { Ok(()) };
        }
        self.refuse()?;
        all[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

fn object(number: u64) -> ObjectKey {
    let writer = Writer { epoch: Epoch(1), nonce: Nonce(2) };
    let name = ObjectName::Log { writer, seq: Seq(number) };
    ObjectKey::of(Object { volume: VolumeId(uuid::Uuid::from_u128(9)), name })
}

/// The only bytes that a line of an object may ever have.
fn content(number: u64, line: u32) -> Vec<u8> {
    let length = if line == 3 { 1000 } else { 64 << 10 };
    let mut bytes = vec![0; length];
    rand::RngCore::fill_bytes(&mut StdRng::seed_from_u64(number << 8 | u64::from(line)), &mut bytes[..512.min(length)]);
    bytes
}

fn open(medium: &Arc<Lying>) -> Result<Slots, Error> {
    Slots::open(Arc::<Lying>::clone(medium), "test")
}

/// What is found is what was kept, and says how many of so many lines were found.
fn check(slots: &Slots, lines: impl Iterator<Item = (u64, u32)>) -> usize {
    let mut found = 0;
    for (number, line) in lines {
        if let Some(bytes) = slots.read(object(number).line(line)) {
            assert!(bytes == content(number, line), "object {number} line {line} came back otherwise");
            found += 1;
        }
    }
    found
}

#[test]
fn what_was_kept_is_found_after_a_clean_restart() {
    let medium = Lying::new(4 << 20, 1, 0);
    let slots = open(&medium).unwrap();
    for number in 0..10 {
        (0..4).for_each(|line| slots.write(object(number).line(line), &content(number, line)));
    }
    let all = || (0..10).flat_map(|number| (0..4).map(move |line| (number, line)));
    assert_eq!(check(&slots, all()), 40);
    slots.sync();
    drop(slots);
    let slots = open(&medium).unwrap();
    assert_eq!(check(&slots, all()), 40);
    assert_eq!((slots.levels().hits, slots.levels().damaged), (40, 0));
}

#[test]
fn a_crash_forgets_little_and_confuses_nothing() {
    let medium = Lying::new(4 << 20, 1, 0);
    let slots = open(&medium).unwrap();
    for round in 0..20_u64 {
        // Far more than it holds, so that slots are used again under entries of the last page.
        for number in 0..37 {
            slots.write(object(round * 100 + number).line(0), &content(round * 100 + number, 0));
        }
        let crashed = open(&medium).unwrap();
        let kept = check(&crashed, (0..(round + 1) * 100).map(|number| (number, 0)));
        assert!(kept + 8 >= usize::try_from(slots.levels().used / LINE).unwrap() - 8, "{kept} in round {round}");
    }
    assert!(slots.levels().evicted > 100);
}

#[test]
fn another_size_or_another_file_begins_empty() {
    let medium = Lying::new(4 << 20, 1, 0);
    let slots = open(&medium).unwrap();
    slots.write(object(1).line(0), &content(1, 0));
    slots.sync();
    medium.bytes.lock().resize(8 << 20, 0);
    let slots = open(&medium).unwrap();
    assert_eq!((check(&slots, [(1, 0)].into_iter()), slots.levels().used), (0, 0));
    let error = open(&Lying::new(100 << 10, 1, 0)).unwrap_err();
    assert!(error.chain().contains("at least 1 MiB"), "{}", error.chain());
}

#[test]
fn a_medium_that_fails_again_and_again_is_given_up() {
    let medium = Lying::new(4 << 20, 1, 0);
    let slots = open(&medium).unwrap();
    slots.write(object(1).line(0), &content(1, 0));
    medium.dead.store(true, Ordering::Relaxed);
    for number in 2..20 {
        slots.write(object(number).line(0), &content(number, 0));
    }
    assert!(slots.levels().off);
    medium.dead.store(false, Ordering::Relaxed);
    assert_eq!(check(&slots, [(1, 0)].into_iter()), 0, "it stays off");
    assert_eq!(slots.levels().failures, u64::from(STRIKES));
}

#[test]
fn a_rotten_line_is_dropped_and_counted() {
    let medium = Lying::new(4 << 20, 1, 0);
    let slots = open(&medium).unwrap();
    slots.write(object(1).line(0), &content(1, 0));
    let line = content(1, 0);
    let at = medium.bytes.lock().chunks(4096).position(|page| page[..64] == line[..64]).unwrap() * 4096;
    medium.bytes.lock()[at + 5] ^= 1;
    assert_eq!(check(&slots, [(1, 0)].into_iter()), 0);
    assert_eq!((slots.levels().damaged, slots.levels().used), (1, 0));
    slots.write(object(1).line(0), &content(1, 0));
    assert_eq!(check(&slots, [(1, 0)].into_iter()), 1);
}

#[test]
fn two_gateways_cannot_share_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let options = CacheOptions { path: directory.path().join("cache"), size: 2 << 20 };
    let cache = Cache::open(&options).unwrap();
    let error = Cache::open(&options).unwrap_err();
    assert!(error.chain().contains("in use by another process"), "{}", error.chain());
    drop(cache);
    Cache::open(&options).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&options.path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "it holds what disks hold");
}

#[test]
fn bytes_in_any_pieces_become_lines_and_come_back_after_a_restart() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let options = CacheOptions { path: directory.path().join("cache"), size: 2 << 20 };
    let all: Vec<u8> = (0..4).flat_map(|line| content(5, line)).collect();
    let cache = Cache::open(&options).unwrap();
    let whole = Bytes::from(all);
    let cuts = [0, 10, 70_000, 70_001, 131_072, 190_000, whole.len()];
    let pieces = cuts.windows(2).map(|cut| whole.slice(cut[0]..cut[1])).collect();
    cache.keep(runtime.handle(), object(5), 0, pieces);
    for _ in 0..2000 {
        if cache.levels().kept == 4 {
            break;
        }
        std::thread::yield_now();
        runtime.block_on(async { tokio::task::spawn_blocking(|| ()).await.unwrap() });
    }
    drop(cache);
    let cache = Cache::open(&options).unwrap();
    let lines = runtime.block_on(cache.read(runtime.handle(), object(5), &[0, 1, 2, 3, 4]));
    for line in 0..4_u32 {
        assert!(lines[line as usize].as_ref().unwrap() == &content(5, line));
    }
    assert!(lines[4].is_none());
}

#[test]
fn a_scan_over_the_medium_leaves_the_hot_set() {
    let medium = Lying::new(8 << 20, 1, 0);
    let slots = open(&medium).unwrap();
    let hot = 0..60_u64;
    for number in hot.clone() {
        slots.write(object(number).line(0), &content(number, 0));
        slots.write(object(number + 500).line(0), &content(number + 500, 0));
        check(&slots, [(number, 0)].into_iter());
    }
    for number in 1000..3000 {
        slots.write(object(number).line(0), &content(number, 0));
        check(&slots, [(number, 0)].into_iter());
    }
    assert_eq!(check(&slots, hot.map(|number| (number, 0))), 60, "a scan of sixteen times the cache");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    /// The naive model: a line is either a miss or its only content, whatever failed before, at whatever point it was
    /// opened again; and on a sound medium what was just kept is there.
    #[test]
    fn a_line_is_a_miss_or_its_own_bytes(
        seed in any::<u64>(),
        faults in prop_oneof![Just(0_u32), Just(20), Just(100)],
        steps in proptest::collection::vec((0..30_u64, 0..4_u32, 0..20_u8), 1..200),
    ) {
        let medium = Lying::new(2 << 20, seed, faults);
        let Ok(mut slots) = open(&medium) else { return Ok(()) };
        let mut kept: HashMap<(u64, u32), u64> = HashMap::new();
        for (step, (number, line, what)) in (0_u64..).zip(steps) {
            match what {
                0 => {
                    slots.sync();
                    if let Ok(again) = open(&medium) { slots = again; }
                }
                1 => if let Ok(again) = open(&medium) { slots = again; kept.clear(); },
                2 => { slots.forget(object(number).line(line)); kept.remove(&(number, line)); }
                3..12 => {
                    slots.write(object(number).line(line), &content(number, line));
                    kept.insert((number, line), step);
                    if faults == 0 {
                        prop_assert!(slots.has(object(number).line(line)));
                    }
                }
                _ => {
                    let found = check(&slots, [(number, line)].into_iter());
                    if found == 1 && faults == 0 {
                        prop_assert!(kept.contains_key(&(number, line)) || what != 2);
                    }
                }
            }
        }
    }
}
