//! What is known of the image's holes, so that a read of a hole asks no disk and no file system.
//!
//! The image is cut into at most [`REGIONS`] regions. Of each, a prefix is known: its zero stretches are listed, the
//! rest of the prefix is data. What lies behind is not known and counts as data. Scans extend the prefix,
//! mutations keep it true, and a region with more than [`STRETCHES`] stretches is cut back, so memory is bounded.
//!
//! Invariant: what is listed reads as zeros, unless a mutation that covers it has not ended. Mutations are told
//! *after* they changed the file and before their reply ends. A scan looks at the file without a lock, so a
//! write may slip in behind its eyes; every write that is told while a scan runs is logged with the region, and
//! what is logged is taken out of what the scan found.
//!
//! ```text
//!  region   |0000data0000000data|????????????????|
//!           start               known            end
//! ```
//!
//! Most regions of most images are calm: nothing is listed, nobody scans. Requests see that without taking the lock,
//! so that they do not fight for it. A write that finds its region calm tells nobody. That is right because a scan
//! first ends the calm and then looks, a write first changes the file and then looks whether it is calm, and a
//! fence stands between the two steps of both: either the scan sees what was written, or the write sees the scan.
//!
//! Not in here: the file, and who scans when.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release, SeqCst},
    fence,
};

use nbdgate_api::{ByteRange, Extent, ExtentKind};
use parking_lot::Mutex;

/// Regions of an image at most.
const REGIONS: u64 = 4096;
/// Bytes of a region at least; a power of two.
const SMALLEST_REGION: u64 = 16 << 20;
/// Zero stretches listed of one region at most.
pub(crate) const STRETCHES: usize = 128;
/// Writes logged during one scan at most; more make the scan void.
const LOGGED: usize = 64;
/// Scans of one region that reads may ask for.
const SCANS_FOR_READS: u8 = 4;

/// The cache of one image.
#[derive(Debug)]
pub(crate) struct ExtentCache {
    size: u64,
    region_size: u64,
    regions: Box<[Slot]>,
}

/// A region, and what is seen of it without its lock.
#[derive(Debug)]
struct Slot {
    /// End of the known prefix where the region is calm, else `BUSY`. Changed under the lock.
    calm: AtomicU64,
    region: Mutex<Region>,
}

/// Behind every image.
const BUSY: u64 = u64::MAX;

#[derive(Debug)]
struct Region {
    range: ByteRange,
    /// End of the known prefix.
    known: u64,
    /// Disjoint, in order, inside the known prefix, neighbours of one kind joined.
    zeros: Vec<Extent>,
    scan: Option<Log>,
    scans: u8,
}

/// What was written while a scan runs.
#[derive(Debug, Default)]
struct Log {
    written: Vec<ByteRange>,
    void: bool,
}

/// What is known of a range.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Zero stretches, in order, cut to the range.
    pub(crate) zeros: Vec<Extent>,
    /// Where something not known starts.
    pub(crate) unknown: Option<u64>,
}

/// Permission to scan `range`; given back with what was found.
#[derive(Debug)]
#[must_use = "a scan that is not ended keeps others from scanning the region"]
pub(crate) struct Scan {
    index: usize,
    /// What to look at.
    pub(crate) range: ByteRange,
}

/// Who wants a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A read, which goes on without it.
    Read,
    /// A request that needs the answer.
    Status,
}

impl ExtentCache {
    pub(crate) fn new(size: u64) -> Self {
        let region_size = size.div_ceil(REGIONS).next_power_of_two().max(SMALLEST_REGION);
        let regions = ByteRange::between(0, size).pieces(region_size).map(Slot::unknown);
        Self { size, region_size, regions: regions.collect() }
    }

    /// What is known of `range`.
    pub(crate) fn known(&self, range: ByteRange) -> Known {
        let mut known = Known::default();
        for index in self.indices(range) {
            let slot = &self.regions[index];
            if slot.is_known_data(range) {
                continue;
            }
            let region = slot.region.lock();
            let part = region.part(range);
            for extent in &region.zeros[region.first_ending_after(part.offset())..] {
                let Some(range) = extent.range.intersect(part) else { break };
                Extent { range, ..*extent }.push_onto(&mut known.zeros);
            }
            if region.known < part.end() {
                known.unknown.get_or_insert(region.known.max(part.offset()));
            }
        }
        known
    }

    /// A mutation has changed `range` to something else than zeros, or may have.
    pub(crate) fn set_data(&self, range: ByteRange) {
        // The file has changed before this, for every scan that begins after it.
        fence(SeqCst);
        for index in self.indices(range) {
            let slot = &self.regions[index];
            if slot.ignores_data(range) {
                continue;
            }
            slot.update(|region| {
                let part = region.part(range);
                region.log(part);
                region.remove(part);
                region.extend(part);
                region.cut_back();
            });
        }
    }

    /// A mutation has made `extent`, which is a hole or zeros.
    pub(crate) fn set_zeros(&self, extent: Extent) {
        debug_assert!(extent.kind.reads_zero());
        for index in self.indices(extent.range) {
            self.regions[index].update(|region| {
                let part = region.part(extent.range);
                region.extend(part);
                region.insert(Extent { range: part, kind: extent.kind });
                region.cut_back();
            });
        }
    }

    /// Starts to scan what is not known of the region at `offset`; `None` if there is nothing to do or somebody is
    /// at it.
    pub(crate) fn begin_scan(&self, offset: u64, asker: Asker) -> Option<Scan> {
        let index = self.index(offset);
        let range = self.regions[index].update(|region| region.begin_scan(asker))?;
        // The calm has ended before this, for every write that changes the file after it.
        fence(SeqCst);
        Some(Scan { index, range })
    }

    /// Ends a scan that found `holes`, in order, in its range up to `until`.
    pub(crate) fn end_scan(&self, scan: &Scan, holes: &[ByteRange], until: u64) {
        self.regions[scan.index].update(|region| region.end_scan(holes, until));
    }

    fn index(&self, offset: u64) -> usize {
        assert!(offset < self.size, "offset {offset} in an image of {}", self.size);
        usize::try_from(offset / self.region_size).expect("fewer than REGIONS")
    }

    fn indices(&self, range: ByteRange) -> std::ops::RangeInclusive<usize> {
        assert!(!range.is_empty(), "ranges are not empty (C1)");
        self.index(range.offset())..=self.index(range.end() - 1)
    }
}

impl Slot {
    fn unknown(range: ByteRange) -> Self {
        Self { calm: AtomicU64::new(range.offset()), region: Mutex::new(Region::unknown(range)) }
    }

    /// Whether all of `range` that lies in the region is known to be data.
    fn is_known_data(&self, range: ByteRange) -> bool {
        let known = self.calm.load(Acquire);
        known != BUSY && range.end() <= known
    }

    /// Whether new data in `range` changes nothing of what is known.
    fn ignores_data(&self, range: ByteRange) -> bool {
        let known = self.calm.load(Acquire);
        known != BUSY && (range.offset() > known || range.end() <= known)
    }

    fn update<T>(&self, act: impl FnOnce(&mut Region) -> T) -> T {
        let mut region = self.region.lock();
        let result = act(&mut region);
        let calm = region.zeros.is_empty() && region.scan.is_none();
        self.calm.store(if calm { region.known } else { BUSY }, Release);
        result
    }
}

impl Region {
    fn unknown(range: ByteRange) -> Self {
        Self { range, known: range.offset(), zeros: Vec::new(), scan: None, scans: 0 }
    }

    fn part(&self, range: ByteRange) -> ByteRange {
        self.range.intersect(range).expect("indices are of regions that overlap the range")
    }

    /// What is to be scanned.
    fn begin_scan(&mut self, asker: Asker) -> Option<ByteRange> {
        let exhausted = asker == Asker::Read && self.scans >= SCANS_FOR_READS;
        if exhausted || self.scan.is_some() || self.known == self.range.end() || self.zeros.len() >= STRETCHES {
            return None;
        }
        self.scans = self.scans.saturating_add(1);
        self.scan = Some(Log::default());
        Some(ByteRange::between(self.known, self.range.end()))
    }

    fn end_scan(&mut self, holes: &[ByteRange], until: u64) {
        let Some(log) = self.scan.take() else { return };
        if log.void || until <= self.known {
            return;
        }
        // Mutations that were told meanwhile may have extended the prefix; they know better than the scan.
        let fresh = ByteRange::between(self.known, until);
        self.known = until;
        for hole in holes.iter().filter_map(|hole| hole.intersect(fresh)) {
            self.insert(Extent { range: hole, kind: ExtentKind::Hole });
        }
        for written in log.written.iter().filter_map(|written| written.intersect(fresh)) {
            self.remove(written);
        }
        self.cut_back();
    }

    /// The first listed stretch that ends behind `offset`.
    fn first_ending_after(&self, offset: u64) -> usize {
        self.zeros.partition_point(|extent| extent.range.end() <= offset)
    }

    fn log(&mut self, range: ByteRange) {
        let Some(log) = &mut self.scan else { return };
        if let Some(last) = log.written.last_mut()
            && last.end() == range.offset()
        {
            *last = ByteRange::between(last.offset(), range.end());
        } else if log.written.len() >= LOGGED {
            log.void = true;
        } else {
            log.written.push(range);
        }
    }

    /// The known prefix grows over a range that continues it.
    fn extend(&mut self, range: ByteRange) {
        if range.offset() <= self.known {
            self.known = self.known.max(range.end());
        }
    }

    fn remove(&mut self, range: ByteRange) {
        let first = self.first_ending_after(range.offset());
        let last = self.zeros.partition_point(|extent| extent.range.offset() < range.end());
        if first >= last {
            return;
        }
        let (head, tail) = (self.zeros[first], self.zeros[last - 1]);
        let before = (head.range.offset() < range.offset())
            .then(|| Extent { range: ByteRange::between(head.range.offset(), range.offset()), ..head });
        let after = (range.end() < tail.range.end())
            .then(|| Extent { range: ByteRange::between(range.end(), tail.range.end()), ..tail });
        self.zeros.splice(first..last, before.into_iter().chain(after));
    }

    /// Lists `extent` as far as it lies in the known prefix.
    fn insert(&mut self, extent: Extent) {
        let prefix = ByteRange::between(self.range.offset(), self.known);
        let Some(mut range) = extent.range.intersect(prefix) else { return };
        self.remove(range);
        let at = self.first_ending_after(range.offset());
        let (mut from, mut to) = (at, at);
        if let Some(previous) = at.checked_sub(1).map(|before| self.zeros[before])
            && previous.kind == extent.kind
            && previous.range.end() == range.offset()
        {
            range = ByteRange::between(previous.range.offset(), range.end());
            from -= 1;
        }
        if let Some(next) = self.zeros.get(at)
            && next.kind == extent.kind
            && next.range.offset() == range.end()
        {
            range = ByteRange::between(range.offset(), next.range.end());
            to += 1;
        }
        self.zeros.splice(from..to, [Extent { range, kind: extent.kind }]);
    }

    /// Forgets the end of the prefix where too much is listed.
    fn cut_back(&mut self) {
        while self.zeros.len() > STRETCHES {
            let last = self.zeros.pop().expect("longer than the limit");
            self.known = last.range.offset();
        }
    }
}

#[cfg(test)]
#[path = "extents_tests.rs"]
mod tests;
