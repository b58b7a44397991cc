//! What is done to disks that nobody serves: size, removal, snapshots, clones.
//!
//! Every function takes the disk's lock for as long as it works on the disk itself. A snapshot has a lock of its own, and is
//! never written to: it can be listed, cloned and removed while its disk is served.
//!
//! What takes several steps is made beside its place and renamed to it, or renamed away before it is deleted: an
//! interrupted command leaves the old state or the new one, and perhaps a leftover, whose name says what it was
//! ([`leftovers`]). The next command of the kind deletes leftovers that nobody works on.

mod clone;
mod files;
pub(crate) mod leftovers;
mod names;
pub(crate) mod opened;
mod remove;
mod resize;
mod snapshots;
mod tree;
mod watched;

pub use self::{
    clone::{Cloned, clone},
    remove::{Removed, remove},
    resize::{Shrink, resize},
    snapshots::{MAX_SNAPSHOTS, SnapshotInfo, remove_snapshot, snapshot, snapshots},
    watched::{SnapshotPins, SnapshotsSeen, WatchedSnapshots},
};
pub(crate) use self::{
    files::rename_durably,
    snapshots::{find as find_snapshot, names_of as snapshot_names},
    tree::Tree,
};
