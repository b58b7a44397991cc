//! The object log: a disk as an immutable log of segments in an object store.
//!
//! ```text
//!  Disk (Backend) ── driver ── engine          sans-I/O: requests, batches, commits, reads
//!                      │
//!  open ── ownership ── recovery ── store      the manifest chain; the retrying store
//!             │             │
//!           format, map, checkpoint, segment_builder      pure
//! ```
//!
//! The design and its reasons are in docs/OBJECT-LOG.md, the protocol between writers in
//! docs/OBJECT-LOG-PROTOCOL.md, what a FLUSH promises in docs/DURABILITY.md. Credentials come from the environment.
//!
//! Absent by design: the NBD protocol, metrics libraries, and any mutable object in the store.

pub mod admin;
mod attach_profile;
mod cache;
mod changes;
pub mod checked;
pub mod checkpoint;
mod directory;
mod disk;
mod driver;
mod engine;
pub mod format;
pub mod fsck;
pub mod gc;
mod head;
mod heat;
mod inspect;
pub mod journal;
pub mod keys;
mod ledger;
mod location;
pub mod map;
mod memory;
pub mod observer;
mod offline;
mod open;
mod options;
mod ownership;
mod probe;
pub mod rebuild;
mod recovery;
pub mod scrub;
pub mod segment_builder;
mod snapshot;
mod store;
pub mod transfer;
pub mod usage;

pub use admin::{DiskInfo, DiskState, create, info, info_with_key, list};
pub use cache::{Cache, CacheLevels, CacheOptions, Medium};
pub use disk::Disk;
pub use format::{Codec, manifest::FlushMode};
pub use fsck::{FsckOptions, FsckReport, fsck};
pub use heat::{Heat, HeatCell, SnapshotPins};
pub use keys::{Argon2Cost, KeySource, Secret};
pub use location::{Location, Root};
pub use memory::{Memory, MemoryLevels};
pub use nbdgate_api::{Error, NoProgress, Progress};
pub use observer::{
    Cause, GcLevels, JournalLevels, LeaseLevels, Levels, Method, NoObserver, Observer, Outcome, Phase, ReadLevels,
    Request, ScrubLevels, UploadLevels,
};
pub use open::open;
pub use options::{
    CheckpointRules, CreateOptions, Fencing, GcRules, JournalOptions, OnUnclean, OpenOptions, ReadRules, Tuning,
};
pub use probe::{Capability, ProbeReport};
pub use snapshot::{MAX_SNAPSHOTS, SnapshotInfo};

/// The largest disk: 256 TiB.
pub const MAX_SIZE: u64 = 256 << 40;
