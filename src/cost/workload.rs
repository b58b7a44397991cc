//! A workload described in a few numbers, and what it asks of the store.

use serde::Deserialize;

use super::{GIB, Item, MONTH_SECONDS, Usage};

/// Bytes of a log segment, and of one of moved data.
const SEGMENT: f64 = (8 << 20) as f64;
const MOVED_SEGMENT: f64 = (32 << 20) as f64;
/// Stored bytes that one request of a collection reads.
const COLLECTED: f64 = (4 << 20) as f64;
/// What garbage collection moves, beside what clients write: uniform overwriting at the default watermarks.
const MOVED: f64 = 1.05;
/// Space over what is live: the garbage between the watermarks.
const SPACE: f64 = 1.38;
/// Seconds between checkpoints, each of them a pack, a manifest and a LIST.
const CHECKPOINT_SECONDS: f64 = 900.0;
/// Seconds between proofs of ownership while nothing is written; two requests each.
const LEASE_SECONDS: f64 = 3.0;
/// Reads of segment metas per read of data.
const INDEX_MISSES: f64 = 0.02;

/// What a FLUSH waits for.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum FlushTo {
    /// The local journal: the store sees nothing of a FLUSH.
    Journal,
    /// The bucket: a segment for each group of FLUSHes.
    #[default]
    Object,
    /// Nothing.
    None,
}

/// A disk's day. Keys of the file are these names with dashes.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Workload {
    /// GiB that the guest's files take.
    pub live_gib: f64,
    /// GiB written in a day.
    pub written_gib_day: f64,
    /// FLUSH requests that find something to flush, per second.
    #[serde(default)]
    pub flushes_second: f64,
    /// Reads in a day that no cache answers.
    #[serde(default)]
    pub missed_reads_day: f64,
    /// KiB that such a read fetches.
    #[serde(default = "default_read_kib")]
    pub read_kib: f64,
    /// Plain bytes for each byte stored.
    #[serde(default = "default_compression")]
    pub compression: f64,
    /// Seconds that a write waits before it is sent.
    #[serde(default = "default_delay")]
    pub upload_delay_seconds: f64,
    /// See [`FlushTo`].
    #[serde(default)]
    pub flush: FlushTo,
    /// Whether a lease protects reads.
    #[serde(default = "default_lease")]
    pub lease: bool,
}

fn default_read_kib() -> f64 {
    64.0
}

fn default_compression() -> f64 {
    1.6
}

fn default_delay() -> f64 {
    5.0
}

fn default_lease() -> bool {
    true
}

impl Workload {
    /// Why the numbers make no workload.
    pub fn problem(&self) -> Option<&'static str> {
        let all = [self.live_gib, self.written_gib_day, self.flushes_second, self.missed_reads_day, self.read_kib];
        if all.iter().any(|number| !number.is_finite() || *number < 0.0) {
            return Some("a number of the workload is negative or none");
        }
        let positive = |number: f64| number.is_finite() && number > 0.0;
        (!positive(self.compression) || !positive(self.upload_delay_seconds))
            .then_some("compression and upload-delay-seconds must be above 0")
    }

    /// What it uses in a month.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage { stored: self.live_gib * GIB / self.compression * SPACE, ..Usage::default() };
        let written = self.written_gib_day * 30.0 * GIB / self.compression;
        let full = written / SEGMENT;
        let writes = self.written_gib_day > 0.0;
        // As many as their size asks for, or as the clock does.
        let timed = if writes { MONTH_SECONDS / self.upload_delay_seconds } else { 0.0 };
        let flushed = if self.flush == FlushTo::Object { self.flushes_second * MONTH_SECONDS } else { 0.0 };
        let segments = full.max(timed).max(flushed);
        let put = |puts: f64, sent: f64| Item { puts, sent, ..Item::default() };
        if flushed > full.max(timed) {
            usage.add("flush", &put(segments, written));
        } else {
            usage.add("segment", &put(segments, written));
        }
        let moved = written * MOVED;
        let collection = Item {
            puts: moved / MOVED_SEGMENT,
            gets: moved / COLLECTED,
            // Every segment that is written is deleted at some time.
            deletes: segments + moved / MOVED_SEGMENT,
            sent: moved,
            received: moved,
        };
        usage.add("gc", &collection);
        if writes {
            let checkpoints = MONTH_SECONDS / CHECKPOINT_SECONDS;
            usage.add("checkpoint", &put(checkpoints, 0.0));
            usage.add("manifest", &put(2.0 * checkpoints, 0.0));
        }
        let reads = self.missed_reads_day * 30.0;
        let received = reads * self.read_kib * 1024.0;
        usage.add("read", &Item { gets: reads, received, ..Item::default() });
        usage.add("index", &Item { gets: reads * INDEX_MISSES, ..Item::default() });
        if self.lease {
            // A segment that is stored proves ownership too.
            let idle = (MONTH_SECONDS / LEASE_SECONDS - segments).max(0.0);
            usage.add("lease", &Item { gets: 2.0 * idle, ..Item::default() });
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference workload of the design study: 500 GiB, 60 GiB a day, 5 FLUSH a second, 1 M missed reads a day.
    fn reference(flush: FlushTo) -> Workload {
        let flush = match flush {
            FlushTo::Journal => "journal",
            FlushTo::Object => "object",
            FlushTo::None => "none",
        };
        let text = format!(
            "live-gib = 500\nwritten-gib-day = 60\nflushes-second = 5\nmissed-reads-day = 1e6\nflush = {flush:?}\n\
             lease = false\n"
        );
        toml::from_str(&text).expect("a workload")
    }

    fn bill(flush: FlushTo) -> f64 {
        let prices = super::super::PriceList::built_in();
        super::super::Bill::new(&reference(flush).usage(), prices.get("aws").expect("there")).total_cost
    }

    #[test]
    fn the_reference_workload_costs_what_the_study_found() {
        let (journal, object) = (bill(FlushTo::Journal), bill(FlushTo::Object));
        assert!((20.0..30.0).contains(&journal), "the study has 25.74: {journal}");
        assert!((80.0..95.0).contains(&object), "the study has 88.29: {object}");
    }

    #[test]
    fn an_idle_disk_without_a_lease_costs_its_storage() {
        let workload =
            Workload { written_gib_day: 0.0, missed_reads_day: 0.0, flushes_second: 0.0, ..reference(FlushTo::Object) };
        let total = workload.usage().total();
        assert_eq!((total.puts, total.gets, total.deletes), (0.0, 0.0, 0.0));
    }

    #[test]
    fn numbers_that_make_no_workload_are_told() {
        let wrong = Workload { compression: 0.0, ..reference(FlushTo::Object) };
        assert!(wrong.problem().is_some());
        assert!(Workload { live_gib: -1.0, ..reference(FlushTo::Object) }.problem().is_some());
        assert!(reference(FlushTo::Object).problem().is_none());
    }
}
