//! The knobs of creating and opening a disk, with their defaults.

mod gc;
mod journal;
mod reading;
mod tuning;

use std::{sync::Arc, time::Duration};

use crate::{
    Cache, Memory, Root,
    format::{Codec, manifest::FlushMode},
    journal::Medium,
    keys::KeySource,
    observer::{NoObserver, Observer},
};

pub use self::{
    gc::GcRules,
    journal::JournalOptions,
    reading::ReadRules,
    tuning::{CheckpointRules, Tuning},
};

/// How a new disk is laid out; fixed for its life.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Bytes; a multiple of 4096, more than 0, at most [`MAX_SIZE`](crate::MAX_SIZE).
    pub size: u64,
    /// The unit of compression and checksum, in bytes: a power of two from 4 KiB to 256 KiB.
    pub frame_max: u32,
    /// Stored bytes at which a log segment is closed: 64 KiB to 64 MiB.
    pub segment_target: u32,
    /// What FLUSH waits for. It can be changed whenever the disk is closed.
    pub flush: FlushMode,
    /// How log segments are compressed; frames that do not shrink are stored as they are, and moved data as zstd.
    pub codec: Codec,
    /// What wraps the keys of an encrypted disk; a disk without is in clear for good.
    pub key: Option<KeySource>,
    /// Where the log goes, if not beside everything else: a faster store, as S3 Express, for what FLUSH waits for.
    /// Garbage collection moves it to the disk's root in the end. Recorded in the disk; whoever opens it uses the same.
    pub log_root: Option<Root>,
    /// How long a writer may answer reads after its last proof of ownership; zero for ever, without requests while idle.
    pub lease: Duration,
}

impl Default for CreateOptions {
    /// No size (it must be given), frames of 16 KiB, segments of 8 MiB, FLUSH to the bucket, lz4, no encryption, a
    /// lease of 10 s.
    fn default() -> Self {
        Self {
            size: 0,
            frame_max: 16 << 10,
            segment_target: 8 << 20,
            flush: FlushMode::Object,
            codec: Codec::Lz4,
            key: None,
            log_root: None,
            lease: Duration::from_secs(10),
        }
    }
}

/// What to do with a disk whose last writer on this host did not close it: acknowledged writes that were
/// never flushed may be gone, and a client that reconnects by itself cannot know (docs/DURABILITY.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnclean {
    /// Stay down until someone confirms.
    #[default]
    Refuse,
    /// Serve what was flushed: for orchestrators that restart the client together with the gateway.
    Serve,
}

/// What to do with a store that does not honour put-if-absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fencing {
    /// Refuse it.
    #[default]
    Require,
    /// Serve from it all the same: nothing but the operator keeps two writers apart.
    Advisory,
}

/// How a disk is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Serve the state found at open, claim nothing, refuse mutations.
    pub read_only: bool,
    /// See [`OnUnclean`].
    pub on_unclean: OnUnclean,
    /// Take the disk over from another host that holds it open.
    pub steal: bool,
    /// Serve this snapshot instead of the disk; only together with `read_only`.
    pub snapshot: Option<String>,
    /// What opens an encrypted disk.
    pub key: Option<KeySource>,
    /// The local journal of a disk with `flush=journal`.
    pub journal: Option<JournalOptions>,
    /// What the journal is written to, in place of a path: for simulations.
    pub journal_medium: Option<Arc<dyn Medium>>,
    /// Give up what only the journal of another host holds: the prefix in the bucket becomes the truth.
    pub abandon_journal: bool,
    /// With a journal: the longest that the bucket may lag behind it before FLUSH and writes wait for the bucket.
    pub rpo: Option<Duration>,
    /// See [`Fencing`].
    pub fencing: Fencing,
    /// The read cache on local storage; the same one for all disks of a process.
    pub cache: Option<Arc<Cache>>,
    /// The memory that all disks of a process share; without it each has its own limits only.
    pub memory: Option<Arc<Memory>>,
    /// Budgets, delays and deadlines.
    pub tuning: Tuning,
    /// Who listens.
    pub observer: Arc<dyn Observer>,
    /// The name of this host in the manifest; the kernel's host name if not given.
    pub host: Option<String>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            on_unclean: OnUnclean::default(),
            steal: false,
            snapshot: None,
            key: None,
            journal: None,
            journal_medium: None,
            abandon_journal: false,
            rpo: None,
            fencing: Fencing::default(),
            cache: None,
            memory: None,
            tuning: Tuning::default(),
            observer: Arc::new(NoObserver),
            host: None,
        }
    }
}
