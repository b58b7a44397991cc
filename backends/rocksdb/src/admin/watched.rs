//! What the snapshots of a disk hold back, for who asks again and again while the disk is served.
//!
//! When a snapshot was taken never changes, and only opening it tells: that is found out once. What it holds back is told by
//! the links of its files, and is looked at each time.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
};

use nbdgate_api::Error;

use super::{files, opened::Opened, snapshots::names_of};
use crate::layout::Layout;

/// The file of a database that is made with it and, as long as it is only read, never again.
const MADE_ONCE: &str = "CURRENT";

/// What is known of the snapshots of one disk.
#[derive(Debug, Default)]
pub struct WatchedSnapshots {
    /// By name.
    known: HashMap<String, Known>,
}

/// A look at them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotsSeen {
    /// How many there are.
    pub total: usize,
    /// The newest of them, oldest first.
    pub newest: Vec<SnapshotPins>,
}

/// A snapshot with what it holds back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPins {
    /// Its name.
    pub name: String,
    /// When it was taken, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// Bytes of its files that the disk no longer shares with it; other snapshots and clones may.
    pub pinned: u64,
    /// Bytes of its files that nobody shares.
    pub pinned_alone: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    made: Made,
    created_unix_ms: u64,
}

/// Tells a snapshot from another one that had its name: time, device and number of [`MADE_ONCE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Made {
    at: (i64, i64),
    file: (u64, u64),
}

impl WatchedSnapshots {
    /// Looks at the newest `most` snapshots of the disk at `path`, as long as it `goes_on`; `None` if it did not.
    ///
    /// # Errors
    /// There is no such disk, or a snapshot cannot be read.
    pub fn look(
        &mut self,
        path: &Path,
        most: usize,
        goes_on: impl Fn() -> bool,
    ) -> Result<Option<SnapshotsSeen>, Error> {
        let layout = Layout::new(path);
        layout.require()?;
        let disk = files::identities(&layout.database())?;
        let mut there: Vec<(Made, String)> = Vec::new();
        let names = names_of(&layout)?;
        let total = names.len();
        for name in names {
            // One without is damaged, or was removed since it was listed.
            if let Some(made) = made(&layout.snapshot(&name)) {
                there.push((made, name));
            }
        }
        there.sort_unstable();
        there.drain(..there.len().saturating_sub(most));
        self.known.retain(|known, _| there.iter().any(|(_, name)| name == known));
        let mut newest = Vec::with_capacity(there.len());
        for (made, name) in there {
            if !goes_on() {
                return Ok(None);
            }
            match self.look_at(&layout, made, &name, &disk) {
                Ok(seen) => newest.push(seen),
                // Removed since it was listed.
                Err(_) if !layout.snapshot(&name).exists() => {}
                Err(error) => return Err(error),
            }
        }
        newest.sort_by(|one, other| (one.created_unix_ms, &one.name).cmp(&(other.created_unix_ms, &other.name)));
        Ok(Some(SnapshotsSeen { total, newest }))
    }

    fn look_at(
        &mut self,
        layout: &Layout,
        made: Made,
        name: &str,
        disk: &HashSet<(u64, u64)>,
    ) -> Result<SnapshotPins, Error> {
        let directory = layout.snapshot(name);
        let known = self.known.get(name).filter(|known| known.made == made);
        let created_unix_ms = match known {
            Some(known) => known.created_unix_ms,
            None => Opened::read(&directory, &format!("{}@{name}", layout.name()))?.taken_unix_ms()?,
        };
        self.known.insert(name.to_owned(), Known { made, created_unix_ms });
        let pinned = files::pinned(&directory, disk)?;
        Ok(SnapshotPins { name: name.to_owned(), created_unix_ms, pinned: pinned.all, pinned_alone: pinned.alone })
    }
}

fn made(snapshot: &Path) -> Option<Made> {
    let of = fs::metadata(snapshot.join(MADE_ONCE)).ok()?;
    Some(Made { at: (of.mtime(), of.mtime_nsec()), file: (of.dev(), of.ino()) })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{
        CreateOptions,
        admin::{remove_snapshot, snapshot, snapshots},
        create,
    };

    fn disk(names: &[&str]) -> (tempfile::TempDir, std::path::PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("vm");
        create(&path, &CreateOptions { size: 1 << 20, ..CreateOptions::default() }).unwrap();
        for name in names {
            snapshot(&path, name).unwrap();
        }
        (place, path)
    }

    #[test]
    fn a_look_tells_what_the_list_tells_and_opens_each_snapshot_once() {
        let (_place, path) = disk(&["zero", "one"]);
        let listed = snapshots(&path).unwrap();
        let listed: Vec<_> = listed.iter().map(|of| (of.name.as_str(), of.created_unix_ms, of.pinned)).collect();
        let mut watched = WatchedSnapshots::default();
        let first = watched.look(&path, 8, || true).unwrap().expect("it goes on");
        let seen: Vec<_> = first.newest.iter().map(|of| (of.name.as_str(), of.created_unix_ms, of.pinned)).collect();
        assert_eq!((seen, first.total), (listed, 2));
        // It cannot be opened any more, and nobody does.
        for file in fs::read_dir(path.join("snapshots/zero")).unwrap() {
            let file = file.unwrap().path();
            if file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("MANIFEST-")) {
                let length = fs::metadata(&file).unwrap().len();
                fs::write(&file, vec![0; usize::try_from(length).unwrap()]).unwrap();
            }
        }
        assert_eq!(watched.look(&path, 8, || true).unwrap(), Some(first));
        WatchedSnapshots::default().look(&path, 8, || true).expect_err("it is damaged");
    }

    #[test]
    fn another_snapshot_of_the_same_name_is_looked_at_anew() {
        let (_place, path) = disk(&["daily"]);
        let mut watched = WatchedSnapshots::default();
        let mut look = || watched.look(&path, 8, || true).unwrap().expect("it goes on").newest.remove(0);
        let before = look();
        remove_snapshot(&path, "daily").unwrap();
        let taken = snapshot(&path, "daily").unwrap();
        let after = look();
        assert_eq!(after.created_unix_ms, taken.created_unix_ms);
        assert!(after.created_unix_ms > before.created_unix_ms, "{before:?}, {after:?}");
    }

    #[test]
    fn the_newest_are_told_and_all_are_counted() {
        let (_place, path) = disk(&["c", "b", "a"]);
        let mut watched = WatchedSnapshots::default();
        let seen = watched.look(&path, 2, || true).unwrap().expect("it goes on");
        let names: Vec<_> = seen.newest.iter().map(|of| of.name.as_str()).collect();
        assert_eq!((names, seen.total), (vec!["b", "a"], 3));
    }

    #[test]
    fn a_look_ends_between_two_snapshots() {
        let (_place, path) = disk(&["a", "b", "c"]);
        let asked = Cell::new(0);
        let until_the_second = || asked.replace(asked.get() + 1) < 1;
        let mut watched = WatchedSnapshots::default();
        assert_eq!(watched.look(&path, 8, until_the_second).unwrap(), None);
        assert_eq!((watched.known.len(), asked.get()), (1, 2), "what was found out is kept");
    }
}
