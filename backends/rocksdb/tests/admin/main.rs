//! What is done to disks that nobody serves, as whoever does it sees it: through the public functions, on real directories.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod clones;
mod crashes;
mod removal;
mod resizing;
mod snapshots;
mod transfers;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use nbdgate_api::{Backend, ByteRange, wait};
use nbdgate_rocksdb::{CreateOptions, DiskInfo, OpenOptions, RocksDisk, Shared, SharedOptions, create};
use rand::{RngCore, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// A folder for disks, gone with its content at the end.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A new disk.
    fn disk(&self, name: &str, size: u64) -> PathBuf {
        let path = self.path(name);
        create(&path, &CreateOptions { size, ..CreateOptions::default() }).unwrap();
        path
    }

    /// What is in the folder, sorted.
    fn names(&self) -> Vec<String> {
        names(self.0.path())
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The names in a directory that have this extension, sorted.
fn names_with(directory: &Path, extension: &str) -> Vec<String> {
    let mut names = names(directory);
    names.retain(|name| Path::new(name).extension().is_some_and(|there| there == extension));
    names
}

/// All files below a directory, with their content.
fn content(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for name in names(directory) {
        let path = directory.join(name);
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn shared() -> std::sync::Arc<Shared> {
    Shared::new(&SharedOptions { cache: 16 << 20, write_memory: 16 << 20 })
}

fn open(path: &Path) -> RocksDisk {
    RocksDisk::open(path, &OpenOptions::new(shared())).unwrap()
}

fn open_snapshot(path: &Path, name: &str) -> RocksDisk {
    let options = OpenOptions { snapshot: Some(name.to_owned()), ..OpenOptions::new(shared()) };
    RocksDisk::open(path, &options).unwrap()
}

/// Opens a disk, writes, and closes it.
fn write(path: &Path, offset: u64, bytes: &[u8]) {
    let disk = open(path);
    for (index, piece) in bytes.chunks(1 << 20).enumerate() {
        wait::write(&disk, offset + index as u64 * MIB, piece.to_vec()).unwrap();
    }
    disk.close().unwrap();
}

/// Reads all of an open disk, and closes it.
fn drain(disk: &RocksDisk) -> Vec<u8> {
    let whole = ByteRange::between(0, disk.info().size);
    let bytes = whole.pieces(MIB).flat_map(|piece| wait::read(disk, piece).unwrap()).collect();
    disk.close().unwrap();
    bytes
}

/// All bytes of a disk.
fn read(path: &Path) -> Vec<u8> {
    drain(&open(path))
}

/// All bytes of a snapshot.
fn read_snapshot(path: &Path, name: &str) -> Vec<u8> {
    drain(&open_snapshot(path, name))
}

/// Bytes that do not compress.
fn noise(seed: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

fn info(path: &Path) -> DiskInfo {
    nbdgate_rocksdb::info(path).unwrap()
}
