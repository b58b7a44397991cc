//! Disks for tests, in folders of their own.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use nbdgate_api::{Backend, ByteRange, Error, Op, wait};
use nbdgate_rocksdb::{CreateOptions, Levels, OpenOptions, RocksDisk, Shared, SharedOptions};

/// Time for RocksDB to do in the background what a test waits for.
const PATIENCE: Duration = Duration::from_mins(1);

/// A folder that is gone with the test.
#[derive(Debug)]
pub(crate) struct Place {
    folder: tempfile::TempDir,
    next: AtomicU64,
    shared: Arc<Shared>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::with_cache(32 << 20)
    }

    /// One whose disks share a cache of so many bytes.
    pub(crate) fn with_cache(cache: u64) -> Self {
        let shared = Shared::new(&SharedOptions { cache, write_memory: 64 << 20 });
        Self { folder: tempfile::tempdir().unwrap(), next: AtomicU64::new(0), shared }
    }

    /// A path where nothing is.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(format!("disk{}", self.next.fetch_add(1, Relaxed)))
    }

    pub(crate) fn options(&self) -> OpenOptions {
        OpenOptions::new(self.shared.clone())
    }

    /// Opens a disk that exists.
    #[track_caller]
    pub(crate) fn open(&self, path: &Path) -> RocksDisk {
        match RocksDisk::open(path, &self.options()) {
            Ok(disk) => disk,
            Err(error) => panic!("{}", error.chain()),
        }
    }

    /// The error of opening a disk.
    #[track_caller]
    pub(crate) fn refusal(&self, path: &Path) -> Error {
        match RocksDisk::open(path, &self.options()) {
            Ok(_) => panic!("it was opened"),
            Err(error) => error,
        }
    }

    /// Makes and opens a disk of so many bytes in extents of so many.
    #[track_caller]
    pub(crate) fn create(&self, path: &Path, size: u64, extent: u32) -> RocksDisk {
        nbdgate_rocksdb::create(path, &CreateOptions { size, extent, ..CreateOptions::default() }).unwrap();
        self.open(path)
    }
}

pub(crate) fn range(offset: u64, length: u64) -> ByteRange {
    ByteRange::new(offset, length).unwrap()
}

#[track_caller]
pub(crate) fn read(disk: &RocksDisk, offset: u64, length: u64) -> Vec<u8> {
    match wait::read(disk, range(offset, length)) {
        Ok(bytes) => bytes,
        Err(error) => panic!("reading {offset}+{length}: {}", error.chain()),
    }
}

#[track_caller]
pub(crate) fn write(disk: &RocksDisk, offset: u64, bytes: impl Into<nbdgate_api::Payload>) {
    if let Err(error) = wait::write(disk, offset, bytes) {
        panic!("writing at {offset}: {}", error.chain());
    }
}

pub(crate) fn trim(disk: &RocksDisk, offset: u64, length: u64) -> Result<(), Error> {
    wait::call(disk, Op::Trim { range: range(offset, length), fua: false }).outcome
}

/// Ends a disk as a crash of its process does: what RocksDB has not written to its log is gone.
pub(crate) fn crash(disk: RocksDisk) {
    drop(disk);
}

#[track_caller]
pub(crate) fn close(disk: RocksDisk) {
    let outcome = disk.close();
    drop(disk);
    if let Err(error) = outcome {
        panic!("closing: {}", error.chain());
    }
}

#[track_caller]
pub(crate) fn levels(disk: &RocksDisk) -> Levels {
    disk.watch().levels().expect("it is open")
}

/// Bytes that do not compress, different for each number.
pub(crate) fn noise(number: u64, length: usize) -> Vec<u8> {
    use rand::{RngCore, SeedableRng};
    let mut bytes = vec![0; length];
    rand::rngs::StdRng::seed_from_u64(number).fill_bytes(&mut bytes);
    bytes
}

/// Waits for something that RocksDB does in the background.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_there() {
        assert!(Instant::now() < deadline, "{what} has not come");
        std::thread::yield_now();
    }
}

/// The files of a disk's database whose names end like that, oldest first.
pub(crate) fn files(path: &Path, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path.join("db")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(end));
    files.sort();
    files
}

/// Everything in a directory but RocksDB's own diary, by path.
pub(crate) fn content(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut all, mut directories) = (Vec::new(), vec![path.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if !path.file_name().unwrap().to_string_lossy().starts_with("LOG") {
                let bytes = std::fs::read(&path).unwrap();
                all.push((path, bytes));
            }
        }
    }
    all.sort();
    all
}

/// Runs one of these tests as a process of its own, by way of `launcher`.
pub(crate) fn again(mut launcher: Command, test: &str, variable: &str, value: &Path) -> Output {
    launcher.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(variable, value);
    launcher.output().unwrap()
}

/// Copies the disk in one directory to another.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Cuts a file.
pub(crate) fn cut(file: &Path, length: u64) {
    std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(length).unwrap();
}

/// Turns bits of a file over, in 64 bytes from `at` on.
pub(crate) fn flip(file: &Path, at: u64) {
    let mut bytes = std::fs::read(file).unwrap();
    let at = usize::try_from(at).unwrap();
    let end = bytes.len().min(at + 64);
    assert!(at < end, "there is something to damage");
    bytes[at..end].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(file, bytes).unwrap();
}
