//! What the object log tells of itself: one call per object request, one when its levels move.
//!
//! The labels are closed enums, so whoever turns them into metrics can register every handle once.
//! This crate depends on no metrics library; [`NoObserver`] listens to nothing.

use std::{fmt, sync::Arc, time::Duration};

use crate::probe::ProbeReport;

/// The kind of an object request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Create an object.
    Put,
    /// Read an object or a range of it.
    Get,
    /// List names.
    List,
    /// Delete an object.
    Delete,
}

impl Method {
    /// Every method, for registering handles.
    pub const ALL: [Self; 4] = [Self::Put, Self::Get, Self::List, Self::Delete];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }
}

/// What an object request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A log segment that was full or old being stored, or looked at again after an unclear outcome.
    Segment,
    /// A log segment that a FLUSH waits for.
    Flush,
    /// The manifest chain.
    Manifest,
    /// A map pack of a checkpoint.
    Pack,
    /// Closing the log of an earlier writer.
    Fence,
    /// Proving ownership while idle, or watching a store without put-if-absent.
    Lease,
    /// The capability probe.
    Probe,
    /// Names, descriptors and reference ledgers of disks.
    Directory,
    /// Segment metas and map packs read while a disk is opened.
    Recovery,
    /// The meta of a segment that a read needs.
    Index,
    /// Frames that a read needs.
    Data,
    /// Frames and metas read ahead.
    Prefetch,
    /// Garbage collection: reading, moving, deleting.
    Gc,
    /// Scrub, fsck and rebuild.
    Scrub,
    /// Import and export.
    Transfer,
}

impl Cause {
    /// Every cause, for registering handles.
    pub const ALL: [Self; 15] = [
        Self::Segment,
        Self::Flush,
        Self::Manifest,
        Self::Pack,
        Self::Fence,
        Self::Lease,
        Self::Probe,
        Self::Directory,
        Self::Recovery,
        Self::Index,
        Self::Data,
        Self::Prefetch,
        Self::Gc,
        Self::Scrub,
        Self::Transfer,
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Flush => "flush",
            Self::Manifest => "manifest",
            Self::Pack => "checkpoint",
            Self::Fence => "fence",
            Self::Lease => "lease",
            Self::Probe => "probe",
            Self::Directory => "directory",
            Self::Recovery => "recovery",
            Self::Index => "index",
            Self::Data => "read",
            Self::Prefetch => "prefetch",
            Self::Gc => "gc",
            Self::Scrub => "scrub",
            Self::Transfer => "transfer",
        }
    }
}

/// How an object request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// As asked.
    Ok,
    /// There is no such object.
    NotFound,
    /// The object is there already.
    Exists,
    /// The store refuses these credentials.
    Denied,
    /// Timeout, reset, 5xx, cut body: anything that may work later.
    Failed,
    /// Given up before it was answered: another answer came first, or the disk was closed.
    Cancelled,
}

impl Outcome {
    /// Every outcome, for registering handles.
    pub const ALL: [Self; 6] = [Self::Ok, Self::NotFound, Self::Exists, Self::Denied, Self::Failed, Self::Cancelled];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One request to the store, after it ended.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// What kind.
    pub method: Method,
    /// What for.
    pub cause: Cause,
    /// How it ended.
    pub outcome: Outcome,
    /// Body bytes sent.
    pub sent: u64,
    /// Body bytes received.
    pub received: u64,
    /// From the call to its end.
    pub duration: Duration,
    /// It repeats a request that failed before.
    pub retry: bool,
}

/// Where the write path of an open disk stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Bytes admitted and not yet committed to the store.
    pub dirty_bytes: u64,
    /// Segments on their way to the store.
    pub uploads: u32,
    /// Age of the oldest uncommitted mutation, in milliseconds; 0 if there is none.
    pub commit_lag_ms: u64,
    /// Mutations waiting for room in the dirty budget.
    pub waiting: u32,
}

/// How garbage stands in an open disk; counters are since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcLevels {
    /// Blocks of the disk's own segments that are in use and pinned by no snapshot.
    pub stored_blocks: u64,
    /// Those of them that are live; the rest is garbage.
    pub live_blocks: u64,
    /// Bytes of stored blocks by which collection is behind its first mark; 0 if it is not.
    pub behind_bytes: u64,
    /// Bytes of segments in use that a snapshot pins: not collected.
    pub pinned_bytes: u64,
    /// Bytes of dead objects that wait for their time.
    pub waiting_bytes: u64,
    /// Bytes of dead objects that snapshots need.
    pub deferred_bytes: u64,
    /// How many these are.
    pub deferred_objects: u64,
    /// Plain bytes moved.
    pub moved_bytes: u64,
    /// Objects deleted.
    pub deleted_objects: u64,
    /// Bytes of them.
    pub deleted_bytes: u64,
    /// Segments that could not be read and were left as they are.
    pub unreadable: u64,
}

/// Where an open disk stands (OBJECT-LOG §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Taking the disk: the store is probed, the manifest chain is read and claimed.
    Claiming,
    /// Closing the log of the writer before.
    Fencing,
    /// Waiting until the writer before can no longer answer reads from its lease.
    Waiting,
    /// Reading the map and the segments that are not under it.
    Recovering,
    /// Served.
    Open,
    /// Served, but the store answers nothing: what is in memory is read and written as far as the budgets reach.
    Stalled,
    /// Being closed.
    Draining,
    /// Closed.
    Closed,
    /// Taken over by another gateway; final.
    Fenced,
    /// Stopped after a failure that no retry can mend; final.
    Failed,
}

impl Phase {
    /// Every phase, for registering handles.
    pub const ALL: [Self; 10] = [
        Self::Claiming,
        Self::Fencing,
        Self::Waiting,
        Self::Recovering,
        Self::Open,
        Self::Stalled,
        Self::Draining,
        Self::Closed,
        Self::Fenced,
        Self::Failed,
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claiming => "claiming",
            Self::Fencing => "fencing",
            Self::Waiting => "waiting",
            Self::Recovering => "recovering",
            Self::Open => "open",
            Self::Stalled => "stalled",
            Self::Draining => "draining",
            Self::Closed => "closed",
            Self::Fenced => "fenced",
            Self::Failed => "failed",
        }
    }
}

/// The uploads of this process to one bucket, those of other disks included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadLevels {
    /// Uploads that may be under way: halved when the store refuses one for its load, then slowly raised again.
    pub limit: u32,
    /// Uploads under way.
    pub uploads: u32,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Uploads that wait for their turn.
    pub waiting: u32,
    /// Requests that the store refused for its load so far (503, 429).
    pub refusals: u64,
}

/// The serving lease of an open disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseLevels {
    /// Whether reads are answered now.
    pub held: bool,
    /// Reads that wait for a proof of ownership.
    pub waiting: u32,
}

/// Where the journal of an open disk stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalLevels {
    /// Bytes of its ring.
    pub size_bytes: u64,
    /// Bytes of the ring that cannot be written: what the bucket lacks, and what is about to be given back.
    pub used_bytes: u64,
    /// Bytes that no sync has covered yet, those that wait for their record among them.
    pub unsynced_bytes: u64,
    /// Bytes of mutations that the bucket lacks.
    pub lag_bytes: u64,
    /// Age of the oldest of them, in milliseconds; 0 if there is none.
    pub lag_ms: u64,
    /// Bytes of data that wait in memory; the rest of what the bucket lacks is only in the journal.
    pub memory_bytes: u64,
    /// How long each write is held back because the journal fills up, or because the bucket lags, in milliseconds.
    pub delay_ms: u64,
    /// A write or sync of it failed: the disk answers no mutation and no FLUSH any more.
    pub failed: bool,
}

/// What the read path of an open disk did so far; a disk that is closed tells its last figures once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadLevels {
    /// Frames that reads found in memory.
    pub frame_hits: u64,
    /// Frames that reads had to wait for.
    pub frame_misses: u64,
    /// Bytes of blocks read ahead.
    pub ahead_bytes: u64,
    /// Of these, the bytes that a read used.
    pub ahead_used_bytes: u64,
    /// Of these, the bytes that were let go unused.
    pub ahead_wasted_bytes: u64,
    /// Bytes of indexes, frames and blocks read ahead that are in memory now.
    pub memory_bytes: u64,
    /// Bytes on their way from the store now, read-ahead among them.
    pub in_flight_bytes: u64,
}

/// How far the scrubbing of an open disk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubLevels {
    /// Rounds over all segments that are complete.
    pub rounds: u64,
    /// Bytes of this round that are verified.
    pub done_bytes: u64,
    /// Bytes of this round.
    pub total_bytes: u64,
    /// Segments of this round with data that cannot be read.
    pub damaged_segments: u64,
    /// Bytes of the disk that cannot be read because of them.
    pub damaged_bytes: u64,
}

/// Listens to an object log. Calls come from many threads and must be cheap.
pub trait Observer: Send + Sync + fmt::Debug {
    /// A request to the store ended.
    fn request(&self, request: &Request) {
        let _ = request;
    }

    /// Garbage was looked at, moved or deleted.
    fn collected(&self, levels: &GcLevels) {
        let _ = levels;
    }

    /// The disk came to another phase.
    fn phase(&self, phase: Phase) {
        let _ = phase;
    }

    /// The store was probed.
    fn probed(&self, report: &ProbeReport) {
        let _ = report;
    }

    /// The uploads to a bucket of this disk moved.
    fn uploads(&self, levels: &UploadLevels) {
        let _ = levels;
    }

    /// The serving lease was lost or won again, or more reads wait for it.
    fn lease(&self, levels: &LeaseLevels) {
        let _ = levels;
    }

    /// The levels of the write path moved.
    fn levels(&self, levels: &Levels) {
        let _ = levels;
    }

    /// The levels of the journal moved.
    fn journal(&self, levels: &JournalLevels) {
        let _ = levels;
    }

    /// The figures of the read path moved; told at most every few events.
    fn reads(&self, levels: &ReadLevels) {
        let _ = levels;
    }

    /// A GET was sent twice because its answer was late; `won` if the second was answered first.
    fn hedge(&self, won: bool) {
        let _ = won;
    }

    /// Scrubbing went on.
    fn scrubbed(&self, levels: &ScrubLevels) {
        let _ = levels;
    }
}

/// Hands on what it hears, with one cause for every request: of work that uses paths which others use too.
#[derive(Clone, Debug)]
pub(crate) struct Attributed {
    pub(crate) to: Arc<dyn Observer>,
    pub(crate) cause: Cause,
}

impl Observer for Attributed {
    fn request(&self, request: &Request) {
        self.to.request(&Request { cause: self.cause, ..*request });
    }
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}
