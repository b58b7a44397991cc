//! Snapshots: databases of their own in `PATH/snapshots`, which share files with the disk's by hard links.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use nbdgate_api::{Error, Kind};

use super::{
    files::{self, rename_durably},
    leftovers::{Purpose, clear_snapshots, in_snapshots},
    names,
    opened::Opened,
    tree::Tree,
};
use crate::{
    NoProgress,
    create::sync_directory,
    layout::Layout,
    lock::{Hold, Lock},
    meta::now_unix_ms,
};

/// Most snapshots of one disk.
pub const MAX_SNAPSHOTS: usize = 4096;

/// A snapshot of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its name, unique among the snapshots of its disk.
    pub name: String,
    /// When it was taken, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// Bytes of the disk then.
    pub size: u64,
    /// Bytes of the extents that it has.
    pub allocated: u64,
    /// Bytes of its files that the disk no longer shares with it; other snapshots and clones may.
    pub pinned: u64,
    /// Bytes of its files that nobody shares: what removing it frees.
    pub pinned_alone: u64,
}

/// Takes a snapshot of a disk that nobody has open. No data is copied.
///
/// # Errors
/// The name is taken or is none, the disk has [`MAX_SNAPSHOTS`], somebody has it open, or it is damaged.
pub fn snapshot(path: &Path, name: &str) -> Result<SnapshotInfo, Error> {
    names::check(name)?;
    let layout = Layout::new(path);
    layout.require()?;
    let lock = Lock::take(&layout, Hold::Write)?;
    clear_snapshots(&layout, Purpose::New)?;
    check_new(&layout, name)?;
    make_directory(&layout)?;
    let opened = Opened::write(&layout)?;
    opened.put_taken(now_unix_ms())?;
    let new = in_snapshots(&layout, Purpose::New);
    let made = opened.database.checkpoint(&new).and_then(|()| settle(&new));
    drop(opened);
    let taken = made.and_then(|()| rename_durably(&new, &layout.snapshot(name)));
    if let Err(error) = taken {
        // The error of the work is the one to tell.
        let _ = clear_snapshots(&layout, Purpose::New);
        return Err(error);
    }
    let info = describe(&layout, name, &files::identities(&layout.database())?);
    drop(lock);
    tracing::info!(disk = %layout.name(), snapshot = name, "snapshot taken");
    info
}

/// The snapshots of a disk, oldest first, also while it is served.
///
/// # Errors
/// There is no such disk, or a snapshot cannot be read.
pub fn snapshots(path: &Path) -> Result<Vec<SnapshotInfo>, Error> {
    let layout = Layout::new(path);
    layout.require()?;
    let disk = files::identities(&layout.database())?;
    let mut infos = Vec::new();
    for name in names_of(&layout)? {
        match describe(&layout, &name, &disk) {
            Ok(info) => infos.push(info),
            // Removed since it was listed.
            Err(_) if !layout.snapshot(&name).exists() => {}
            Err(error) => return Err(error),
        }
    }
    infos.sort_by(|one, other| (one.created_unix_ms, &one.name).cmp(&(other.created_unix_ms, &other.name)));
    Ok(infos)
}

/// Removes a snapshot, also while its disk is served; returns the bytes that are free now. Clones of it stay what they are.
///
/// # Errors
/// There is no such snapshot, or somebody has it open.
pub fn remove_snapshot(path: &Path, name: &str) -> Result<u64, Error> {
    let layout = Layout::new(path);
    layout.require()?;
    clear_snapshots(&layout, Purpose::Removed)?;
    let directory = find(&layout, name)?;
    let lock = Lock::take_snapshot(&layout, name, Hold::Write)?;
    Tree::of_database(&directory)?;
    let gone = in_snapshots(&layout, Purpose::Removed);
    rename_durably(&directory, &gone)?;
    let removed = Tree::of_database(&gone)?.delete(&NoProgress)?;
    drop(lock);
    tracing::info!(disk = %layout.name(), snapshot = name, bytes = removed.bytes, "snapshot removed");
    Ok(removed.bytes)
}

/// The directory of a snapshot that there is.
pub(crate) fn find(layout: &Layout, name: &str) -> Result<PathBuf, Error> {
    let directory = layout.snapshot(name);
    if names::check(name).is_ok() && directory.is_dir() {
        return Ok(directory);
    }
    let there: Vec<String> = names_of(layout)?.into_iter().take(16).collect();
    let there = if there.is_empty() { "it has none".to_owned() } else { format!("it has {}", there.join(", ")) };
    let text = format!("{} has no snapshot `{}`: {there}", layout.name(), name.escape_default());
    Err(Error::new(Kind::Invalid, text))
}

/// The names of all snapshots, in the order of names.
pub(crate) fn names_of(layout: &Layout) -> Result<Vec<String>, Error> {
    let failed = |error| Error::from_io(error, format!("cannot list the snapshots of {}", layout.name()));
    let entries = match fs::read_dir(layout.snapshots()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
    let names: io::Result<Vec<Option<String>>> = names.collect();
    let names = names.map_err(failed)?.into_iter().flatten();
    let mut names: Vec<String> = names.filter(|name| names::check(name).is_ok()).collect();
    names.sort();
    Ok(names)
}

fn check_new(layout: &Layout, name: &str) -> Result<(), Error> {
    let there = names_of(layout)?;
    if there.iter().any(|other| other == name) {
        return Err(Error::new(Kind::Invalid, format!("{} has a snapshot {name} already", layout.name())));
    }
    if there.len() >= MAX_SNAPSHOTS {
        let text = format!("{} has {MAX_SNAPSHOTS} snapshots, and no more are possible: remove some", layout.name());
        return Err(Error::new(Kind::Invalid, text));
    }
    Ok(())
}

fn make_directory(layout: &Layout) -> Result<(), Error> {
    let path = layout.snapshots();
    match fs::DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => sync_directory(layout.root()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::from_io(error, format!("cannot make the directory {}", path.display()))),
    }
}

/// Makes a checkpoint durable: its tables are, and the rest is small.
fn settle(directory: &Path) -> Result<(), Error> {
    let failed = |error| Error::from_io(error, format!("cannot sync {}", directory.display()));
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !files::is_shared(&entry.file_name()) {
            fs::File::open(entry.path()).and_then(|file| file.sync_all()).map_err(failed)?;
        }
    }
    sync_directory(directory)
}

fn describe(layout: &Layout, name: &str, disk: &HashSet<(u64, u64)>) -> Result<SnapshotInfo, Error> {
    let directory = layout.snapshot(name);
    let opened = Opened::read(&directory, &format!("{}@{name}", layout.name()))?;
    let pinned = files::pinned(&directory, disk)?;
    Ok(SnapshotInfo {
        name: name.to_owned(),
        created_unix_ms: opened.taken_unix_ms()?,
        size: opened.meta.size,
        allocated: opened.allocated()?,
        pinned: pinned.all,
        pinned_alone: pinned.alone,
    })
}

#[cfg(test)]
mod tests {
    use nbdgate_api::{Backend, wait};

    use super::*;
    use crate::{CreateOptions, OpenOptions, RocksDisk, create, create::private};

    const SIZE: u64 = 16 << 20;

    /// Writes every byte of a disk; no two extents of it are alike.
    fn fill(path: &Path, seed: u64) {
        let disk = RocksDisk::open(path, &OpenOptions::new(private())).unwrap();
        let mut noise = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed);
        for offset in (0..SIZE).step_by(1 << 20) {
            let mut bytes = vec![0; 1 << 20];
            rand::RngCore::fill_bytes(&mut noise, &mut bytes);
            wait::write(&disk, offset, bytes).unwrap();
        }
        disk.close().unwrap();
    }

    #[test]
    fn what_is_pinned_grows_as_the_disk_is_overwritten_and_compacted() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("vm");
        create(&path, &CreateOptions { size: SIZE, ..CreateOptions::default() }).unwrap();
        fill(&path, 1);
        let fresh = snapshot(&path, "monday").unwrap();
        assert!(fresh.pinned < 1 << 20, "all data is shared: {fresh:?}");
        fill(&path, 2);
        let opened = Opened::write(&Layout::new(&path)).unwrap();
        opened.database.compact(0);
        drop(opened);
        let later = snapshots(&path).unwrap().remove(0);
        assert!(later.pinned >= SIZE && later.pinned_alone >= SIZE, "nothing is shared any more: {later:?}");
        assert_eq!(remove_snapshot(&path, "monday").unwrap(), later.pinned_alone);
    }
}
