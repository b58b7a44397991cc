//! What an interrupted command left behind.
//!
//! | name | what |
//! |---|---|
//! | `PATH.new-ID` | a disk that was being made |
//! | `PATH.removed-ID` | a disk that was being deleted |
//! | `PATH/snapshots/.new-ID` | a snapshot that was being taken |
//! | `PATH/snapshots/.removed-ID` | a snapshot that was being deleted |
//!
//! Whoever works on a directory beside a disk holds the lock in it, so one that is free is a leftover. A snapshot that is
//! being taken is a leftover for whoever holds the disk's lock, one that is being deleted for whoever gets its own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nbdgate_api::Error;

use super::tree::{Removed, Tree};
use crate::{
    NoProgress,
    create::parent,
    layout::Layout,
    lock::{Hold, Lock},
};

/// What a directory beside a disk, or beside a snapshot, is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    New,
    Removed,
}

impl Purpose {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Removed => "removed",
        }
    }
}

/// A fresh name inside the directory of snapshots.
pub(super) fn in_snapshots(layout: &Layout, purpose: Purpose) -> PathBuf {
    layout.snapshot(&format!(".{}-{}", purpose.word(), uuid::Uuid::new_v4().simple()))
}

/// Deletes what was left of disks at the same path; how much that was, `None` if there was nothing.
///
/// # Errors
/// A leftover cannot be deleted, or has something foreign in it.
pub(crate) fn clear_beside(layout: &Layout, purpose: Purpose) -> Result<Option<Removed>, Error> {
    let mut removed = None;
    for path in beside(layout, purpose)? {
        let left = Layout::new(&path);
        let lock = match Lock::take(&left, Hold::Write) {
            Ok(lock) => Some(lock),
            // The lock is the first file of a disk that is made, and the last of one that is deleted.
            Err(_) if !left.lock().exists() && (purpose == Purpose::Removed || is_empty(&path)) => None,
            Err(_) => continue,
        };
        tracing::info!(path = %path.display(), "deleting what an interrupted command left");
        removed.get_or_insert_with(Removed::default).add(Tree::of_disk(&path)?.delete(&NoProgress)?);
        drop(lock);
    }
    Ok(removed)
}

/// Deletes what was left of snapshots. For [`Purpose::New`] the disk's lock must be held.
///
/// # Errors
/// A leftover cannot be deleted, or has something foreign in it.
pub(super) fn clear_snapshots(layout: &Layout, purpose: Purpose) -> Result<(), Error> {
    let Ok(entries) = fs::read_dir(layout.snapshots()) else { return Ok(()) };
    let failed = |error| Error::from_io(error, format!("cannot list the snapshots of {}", layout.name()));
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(&format!(".{}-", purpose.word())) {
            continue;
        }
        if let Ok(_lock) = Lock::take_snapshot(layout, &name, Hold::Write) {
            tracing::info!(path = %path.display(), "deleting what an interrupted command left");
            Tree::of_database(&path)?.delete(&NoProgress)?;
        }
    }
    Ok(())
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

fn beside(layout: &Layout, purpose: Purpose) -> Result<Vec<PathBuf>, Error> {
    let parent = parent(layout.root());
    let mut prefix = layout.root().file_name().unwrap_or_default().to_owned();
    prefix.push(format!(".{}-", purpose.word()));
    let Ok(entries) = fs::read_dir(parent) else { return Ok(Vec::new()) };
    let failed = |error| Error::from_io(error, format!("cannot list {}", parent.display()));
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let rest = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        if rest.is_some_and(|id| id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit)) {
            found.push(layout.root().with_file_name(&name));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(layout: &Layout, purpose: Purpose) -> PathBuf {
        let path = layout.beside(purpose.word());
        fs::create_dir_all(path.join("db")).unwrap();
        fs::write(path.join("lock"), "").unwrap();
        fs::write(path.join("db/CURRENT"), "").unwrap();
        path
    }

    #[test]
    fn leftovers_of_the_same_path_and_purpose_are_deleted_unless_someone_works_on_them() {
        let place = tempfile::tempdir().unwrap();
        let layout = Layout::new(&place.path().join("vm"));
        let gone = left(&layout, Purpose::Removed);
        let used = left(&layout, Purpose::Removed);
        let other_purpose = left(&layout, Purpose::New);
        let other_path = left(&Layout::new(&place.path().join("vm.removed")), Purpose::Removed);
        let lock = Lock::take(&Layout::new(&used), Hold::Write).unwrap();
        let removed = clear_beside(&layout, Purpose::Removed).unwrap().expect("there was one");
        assert_eq!(removed.files, 2);
        assert!(!gone.exists());
        assert!(used.exists() && other_purpose.exists() && other_path.exists());
        drop(lock);
        assert!(clear_beside(&layout, Purpose::Removed).unwrap().is_some());
        assert!(clear_beside(&layout, Purpose::Removed).unwrap().is_none(), "nothing is left");
    }

    #[test]
    fn without_a_lock_only_what_was_being_deleted_is_sure_to_be_left() {
        let place = tempfile::tempdir().unwrap();
        let layout = Layout::new(&place.path().join("vm"));
        let (new, removed) = (left(&layout, Purpose::New), left(&layout, Purpose::Removed));
        fs::remove_file(new.join("lock")).unwrap();
        fs::remove_file(removed.join("lock")).unwrap();
        let empty = layout.beside(Purpose::New.word());
        fs::create_dir(&empty).unwrap();
        clear_beside(&layout, Purpose::New).unwrap();
        clear_beside(&layout, Purpose::Removed).unwrap();
        assert!(new.exists() && !removed.exists() && !empty.exists());
    }

    #[test]
    fn a_leftover_with_something_foreign_stays_and_is_named() {
        let place = tempfile::tempdir().unwrap();
        let layout = Layout::new(&place.path().join("vm"));
        let path = left(&layout, Purpose::Removed);
        fs::write(path.join("notes.txt"), "").unwrap();
        let error = clear_beside(&layout, Purpose::Removed).unwrap_err().to_string();
        assert!(error.contains("notes.txt") && path.join("lock").exists(), "{error}");
    }
}
