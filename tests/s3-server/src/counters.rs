//! What was asked of the store.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Counts since the start or the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// PUTs that were applied.
    pub puts: u64,
    /// PUTs that found their name taken.
    pub refused_puts: u64,
    /// PUTs that replaced an object by other bytes.
    pub overwrites: u64,
    /// GETs that were answered with an object.
    pub gets: u64,
    /// HEADs.
    pub heads: u64,
    /// LISTs.
    pub lists: u64,
    /// Objects deleted.
    pub deletes: u64,
    /// Requests for objects that are not there.
    pub missing: u64,
    /// Bytes of PUT bodies that were applied.
    pub bytes_up: u64,
    /// Bytes of GET bodies.
    pub bytes_down: u64,
    /// Requests of any kind, the failed ones too.
    pub requests: u64,
    /// Requests that an injected fault happened to.
    pub faults: u64,
}

/// The cells behind [`Counts`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) puts: AtomicU64,
    pub(crate) refused_puts: AtomicU64,
    pub(crate) overwrites: AtomicU64,
    pub(crate) gets: AtomicU64,
    pub(crate) heads: AtomicU64,
    pub(crate) lists: AtomicU64,
    pub(crate) deletes: AtomicU64,
    pub(crate) missing: AtomicU64,
    pub(crate) bytes_up: AtomicU64,
    pub(crate) bytes_down: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) faults: AtomicU64,
}

/// One more.
pub(crate) fn count(cell: &AtomicU64) {
    cell.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    /// The counts so far; with `reset` they start again.
    pub(crate) fn read(&self, reset: bool) -> Counts {
        let read =
            |cell: &AtomicU64| if reset { cell.swap(0, Ordering::Relaxed) } else { cell.load(Ordering::Relaxed) };
        Counts {
            puts: read(&self.puts),
            refused_puts: read(&self.refused_puts),
            overwrites: read(&self.overwrites),
            gets: read(&self.gets),
            heads: read(&self.heads),
            lists: read(&self.lists),
            deletes: read(&self.deletes),
            missing: read(&self.missing),
            bytes_up: read(&self.bytes_up),
            bytes_down: read(&self.bytes_down),
            requests: read(&self.requests),
            faults: read(&self.faults),
        }
    }
}
