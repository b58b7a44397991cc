//! A disk as extents in a RocksDB of its own: compressed, checksummed, thin, for machines without an object store.
//!
//! ```text
//!  RocksDisk (Backend) ── read ── pinned ────────────┐
//!        │                                           ├── database ── RocksDB
//!        ├── committer ── draft, bases, pace ────────┤
//!        └── flush (shared sync) ── flushed ─────────┘
//!
//!  create, open, admin, transfer ── layout, lock, meta
//! ```
//!
//! What a disk looks like on its file system is in [`layout`], the keys of its database in [`meta`] and [`presence`], the
//! options of RocksDB with their reasons in [`tuning`]. docs/ROCKSDB.md has the measurements.
//!
//! Invariants: a WRITE that ended is in RocksDB's log, never in this process's memory alone; data and presence change in one
//! batch; an extent that is said to be there and is not, or not whole, is an error, never zeros.
//!
//! Absent by design: the NBD protocol, metrics libraries, and snapshots inside the database.

pub mod admin;
mod bases;
mod bits;
mod commit;
mod create;
mod database;
mod disk;
mod draft;
mod failure;
mod flushed;
mod info;
mod layout;
mod levels;
mod lock;
mod meta;
mod open;
mod options;
mod pace;
mod pinned;
mod presence;
mod queue;
mod read;
mod recovery;
mod room;
mod shared;
mod status;
pub mod transfer;
mod tuning;

pub use admin::SnapshotInfo;
pub use create::create;
pub use disk::RocksDisk;
pub use info::{DiskInfo, info};
pub use levels::{Levels, Watch};
pub use nbdgate_api::{Error, NoProgress, Progress};
pub use options::{Compression, CreateOptions, OpenOptions, SharedOptions, Wanted};
pub use shared::{Shared, SharedLevels};

/// The smallest extent, in bytes.
pub const MIN_EXTENT: u32 = 4 << 10;
/// The largest extent, in bytes.
pub const MAX_EXTENT: u32 = 64 << 10;
/// The size of extents unless told otherwise, in bytes.
pub const DEFAULT_EXTENT: u32 = 16 << 10;
/// The largest disk: 64 TiB.
pub const MAX_SIZE: u64 = 64 << 40;
