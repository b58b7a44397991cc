//! Deleting a disk with its snapshots.
//!
//! ```text
//!  lock ─► look at all files ─► rename to PATH.removed-ID ─► delete them, the lock last
//! ```
//!
//! From the rename on the disk is gone. A removal that was cut short is finished by asking for it again.

use std::{fs, path::Path};

use nbdgate_api::Error;

pub use super::tree::Removed;
use super::{
    files::rename_durably,
    leftovers::{Purpose, clear_beside},
    snapshots::names_of,
    tree::Tree,
};
use crate::{
    Progress,
    layout::Layout,
    lock::{Hold, Lock},
};

/// Deletes the disk at `path` and its snapshots; clones of them stay what they are. Nobody may have it open,
/// nor a snapshot of it.
///
/// # Errors
/// There is no disk, somebody has it open, or there is something in its directory that is not of a disk: nothing was
/// changed then. A file could not be deleted: the disk is gone, and asking again goes on.
pub fn remove(path: &Path, progress: &dyn Progress) -> Result<Removed, Error> {
    // Behind a symbolic link it is the disk that goes, not the link.
    let layout = Layout::new(&fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()));
    let left = clear_beside(&layout, Purpose::Removed)?;
    if let (Some(removed), false) = (left, layout.is_disk()?) {
        return Ok(removed);
    }
    layout.require()?;
    let lock = Lock::take(&layout, Hold::Write)?;
    for snapshot in names_of(&layout)? {
        Lock::take_snapshot(&layout, &snapshot, Hold::Write)?;
    }
    Tree::of_disk(layout.root())?;
    let gone = layout.beside(Purpose::Removed.word());
    rename_durably(layout.root(), &gone)?;
    let mut removed = Tree::of_disk(&gone)?.delete(progress)?;
    drop(lock);
    removed.add(left.unwrap_or_default());
    tracing::info!(disk = %layout.name(), files = removed.files, bytes = removed.bytes, "disk removed");
    Ok(removed)
}
