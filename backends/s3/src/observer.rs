//! What the object log tells of itself: one call per object request, one when its levels move.
//!
//! The labels are closed enums, so whoever turns them into metrics can register every handle once.
//! This crate depends on no metrics library; [`NoObserver`] listens to nothing.

use std::{fmt, time::Duration};

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

/// Listens to an object log. Calls come from many threads and must be cheap.
pub trait Observer: Send + Sync + fmt::Debug {
    /// A request to the store ended.
    fn request(&self, request: &Request) {
        let _ = request;
    }

    /// The levels of the write path moved.
    fn levels(&self, levels: &Levels) {
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
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}
