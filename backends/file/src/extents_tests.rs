//! The cache against a naive model: one state per byte, mutations and scans cut into steps that interleave.

use proptest::prelude::*;

use super::*;

/// Small enough that a byte array can be the truth: regions are forced to 64 bytes.
const SIZE: u64 = 200;
const REGION: u64 = 64;

fn small() -> ExtentCache {
    let regions = ByteRange::between(0, SIZE).pieces(REGION).map(Slot::unknown);
    ExtentCache { size: SIZE, region_size: REGION, regions: regions.collect() }
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::between(start, end)
}

fn hole(start: u64, end: u64) -> Extent {
    Extent { range: range(start, end), kind: ExtentKind::Hole }
}

/// Scans all of `cache` at once, as the truth says.
fn scan_all(cache: &ExtentCache, is_zero: impl Fn(u64) -> bool) {
    for start in (0..cache.size).step_by(usize::try_from(cache.region_size).unwrap()) {
        if let Some(scan) = cache.begin_scan(start, Asker::Status) {
            let holes = look(scan.range, &is_zero);
            cache.end_scan(&scan, &holes, scan.range.end());
        }
    }
}

fn look(range: ByteRange, is_zero: impl Fn(u64) -> bool) -> Vec<ByteRange> {
    let mut holes: Vec<ByteRange> = Vec::new();
    for at in (range.offset()..range.end()).filter(|at| is_zero(*at)) {
        match holes.last_mut() {
            Some(last) if last.end() == at => *last = ByteRange::between(last.offset(), at + 1),
            _ => holes.push(ByteRange::between(at, at + 1)),
        }
    }
    holes
}

#[test]
fn nothing_is_known_at_first() {
    let known = small().known(range(10, 150));
    assert!(known.zeros.is_empty());
    assert_eq!(known.unknown, Some(10));
}

#[test]
fn a_scan_makes_holes_known_across_regions() {
    let cache = small();
    scan_all(&cache, |at| (50..100).contains(&at));
    let known = cache.known(range(0, SIZE));
    assert_eq!((known.zeros, known.unknown), (vec![hole(50, 100)], None));
}

#[test]
fn a_write_during_a_scan_is_never_a_hole() {
    let cache = small();
    let scan = cache.begin_scan(0, Asker::Read).unwrap();
    let holes = look(scan.range, |_| true); // the scan looks before the write lands
    cache.set_data(range(10, 20));
    cache.end_scan(&scan, &holes, 64);
    assert_eq!(cache.known(range(0, 64)).zeros, vec![hole(0, 10), hole(20, 64)]);
}

#[test]
fn too_many_writes_during_a_scan_make_it_void() {
    let cache = ExtentCache::new(1 << 20);
    let scan = cache.begin_scan(0, Asker::Read).unwrap();
    for number in 0..=LOGGED as u64 {
        cache.set_data(range(1000 + number * 10, 1000 + number * 10 + 1));
    }
    cache.end_scan(&scan, &[range(0, 1 << 20)], 1 << 20);
    let known = cache.known(range(0, 1 << 20));
    assert!(known.zeros.is_empty());
    assert_eq!(known.unknown, Some(0));
    assert!(cache.begin_scan(0, Asker::Read).is_some(), "it can be scanned again");
}

#[test]
fn one_scan_of_a_region_at_a_time() {
    let cache = small();
    let scan = cache.begin_scan(5, Asker::Read).unwrap();
    assert!(cache.begin_scan(6, Asker::Status).is_none());
    assert!(cache.begin_scan(70, Asker::Status).is_some());
    cache.end_scan(&scan, &[], 64);
    assert!(cache.begin_scan(6, Asker::Status).is_none(), "all is known");
}

#[test]
fn a_region_is_calm_while_nothing_is_listed_and_nobody_scans() {
    let cache = small();
    let (slot, inner) = (&cache.regions[0], range(10, 20));
    assert!(slot.ignores_data(inner) && !slot.is_known_data(inner), "not known, so there is nothing to forget");
    assert!(!slot.ignores_data(range(0, 10)), "it continues what is known");
    let scan = cache.begin_scan(0, Asker::Read).unwrap();
    assert!(!slot.ignores_data(inner), "the scan has to hear of it");
    cache.end_scan(&scan, &[], 64);
    assert!(slot.ignores_data(inner) && slot.is_known_data(inner));
    cache.set_zeros(hole(30, 40));
    assert!(!slot.ignores_data(inner) && !slot.is_known_data(inner), "zeros are listed");
    cache.set_data(range(25, 45));
    assert!(slot.ignores_data(inner) && slot.is_known_data(inner));
}

#[test]
fn a_write_that_races_with_a_scan_on_another_thread_is_never_a_hole() {
    const RACES: u64 = 20_000;
    let cache = small();
    let start = std::sync::Barrier::new(2);
    let file = std::sync::atomic::AtomicBool::new(false);
    // Counted, since a panic would leave the other thread waiting.
    let mut wrong = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..RACES {
                start.wait();
                file.store(true, std::sync::atomic::Ordering::Relaxed);
                cache.set_data(range(10, 20));
                start.wait();
            }
        });
        for _ in 0..RACES {
            *cache.regions[0].region.lock() = Region::unknown(range(0, REGION));
            cache.regions[0].calm.store(0, Release);
            file.store(false, std::sync::atomic::Ordering::Relaxed);
            start.wait();
            let scan = cache.begin_scan(0, Asker::Status).unwrap();
            let hole = (!file.load(std::sync::atomic::Ordering::Relaxed)).then_some(scan.range);
            cache.end_scan(&scan, hole.as_slice(), REGION);
            start.wait();
            wrong += u32::from(!cache.known(range(10, 20)).zeros.is_empty());
        }
    });
    assert_eq!(wrong, 0, "races in which a write became a hole");
}

#[test]
fn memory_is_bounded_however_fragmented_the_image_is() {
    let cache = ExtentCache::new(SMALLEST_REGION);
    cache.set_zeros(hole(0, SMALLEST_REGION));
    for number in 0..10_000 {
        cache.set_data(range(number * 100, number * 100 + 50));
        assert!(cache.regions[0].region.lock().zeros.len() <= STRETCHES);
    }
    let known = cache.known(range(0, SMALLEST_REGION));
    assert!(known.unknown.is_some(), "the end was forgotten");
    assert!(known.zeros.iter().all(|extent| extent.range.offset() % 100 == 50));
}

#[test]
fn a_huge_image_has_few_regions() {
    let cache = ExtentCache::new(1 << 50);
    assert_eq!(cache.regions.len() as u64, REGIONS);
    assert_eq!(cache.known(range((1 << 50) - 1, 1 << 50)).unknown, Some((1 << 50) - 1));
}

#[derive(Clone, Debug)]
enum Step {
    /// A mutation lands in the file; only `Tell` lets the cache know.
    Write(u64, u64),
    Punch(u64, u64),
    Tell,
    BeginScan(u64),
    /// The oldest scan looks at the file.
    Look,
    EndScan,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let span = || (0..SIZE, 1..60_u64).prop_map(|(start, length)| (start, (start + length).min(SIZE)));
    let step = prop_oneof![
        4 => span().prop_map(|(start, end)| Step::Write(start, end)),
        4 => span().prop_map(|(start, end)| Step::Punch(start, end)),
        8 => Just(Step::Tell),
        2 => (0..SIZE).prop_map(Step::BeginScan),
        2 => Just(Step::Look),
        2 => Just(Step::EndScan),
    ];
    proptest::collection::vec(step, 1..120)
}

/// The file, the cache, and what is under way.
struct Model {
    cache: ExtentCache,
    zero: Vec<bool>,
    /// Mutations that landed and were not told.
    pending: Vec<(ByteRange, bool)>,
    scans: Vec<(Scan, Option<Vec<ByteRange>>)>,
}

impl Model {
    fn land(&mut self, range: ByteRange, zero: bool) {
        // C3: mutations in flight do not overlap.
        if self.pending.iter().all(|(other, _)| !other.overlaps(range)) {
            (range.offset()..range.end()).for_each(|at| self.zero[usize::try_from(at).unwrap()] = zero);
            self.pending.push((range, zero));
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Write(start, end) => self.land(range(start, end), false),
            Step::Punch(start, end) => self.land(range(start, end), true),
            Step::Tell if self.pending.is_empty() => {}
            Step::Tell => match self.pending.remove(0) {
                (range, true) => self.cache.set_zeros(Extent { range, kind: ExtentKind::Hole }),
                (range, false) => self.cache.set_data(range),
            },
            Step::BeginScan(at) => self.scans.extend(self.cache.begin_scan(at, Asker::Status).map(|scan| (scan, None))),
            Step::Look => {
                let zero = &self.zero;
                if let Some((scan, seen)) = self.scans.iter_mut().find(|(_, seen)| seen.is_none()) {
                    *seen = Some(look(scan.range, |at| zero[usize::try_from(at).unwrap()]));
                }
            }
            Step::EndScan => {
                if let Some(at) = self.scans.iter().position(|(_, seen)| seen.is_some()) {
                    let (scan, seen) = self.scans.remove(at);
                    self.cache.end_scan(&scan, &seen.unwrap(), scan.range.end());
                }
            }
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let known = self.cache.known(range(0, SIZE));
        let mut end = 0;
        for extent in &known.zeros {
            prop_assert!(extent.range.offset() >= end && !extent.range.is_empty(), "in order: {known:?}");
            end = extent.range.end();
            for at in extent.range.offset()..end {
                let in_flight = self.pending.iter().any(|(other, _)| other.contains(range(at, at + 1)));
                prop_assert!(in_flight || self.zero[usize::try_from(at).unwrap()], "data at {at} is listed as zeros");
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn what_is_listed_reads_as_zeros(initial in proptest::collection::vec(any::<bool>(), usize::try_from(SIZE).unwrap()), steps in steps()) {
        let mut model = Model { cache: small(), zero: initial, pending: Vec::new(), scans: Vec::new() };
        for step in &steps {
            model.step(step);
            model.check()?;
        }
    }

    #[test]
    fn without_concurrency_the_cache_is_exact(initial in proptest::collection::vec(any::<bool>(), usize::try_from(SIZE).unwrap()), steps in steps()) {
        let mut model = Model { cache: small(), zero: initial, pending: Vec::new(), scans: Vec::new() };
        scan_all(&model.cache, |at| model.zero[usize::try_from(at).unwrap()]);
        for step in steps.iter().filter(|step| matches!(step, Step::Write(..) | Step::Punch(..))) {
            model.step(step);
            model.step(&Step::Tell);
            let listed = model.cache.known(range(0, SIZE));
            prop_assert_eq!(listed.unknown, None);
            let expected = look(range(0, SIZE), |at| model.zero[usize::try_from(at).unwrap()]);
            prop_assert_eq!(listed.zeros.iter().map(|extent| extent.range).collect::<Vec<_>>(), expected);
        }
    }
}
