//! A file or block device as a journal.
//!
//! Invariants: two processes never use one journal (an exclusive lock for as long as it is open); a file has all its space
//! before it is used, so a full file system is noticed when it is created and never later.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Seek, SeekFrom},
    ops::Range,
    os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread::JoinHandle,
};

use bytes::Bytes;
use nbdgate_api::{Error, Kind};
use parking_lot::Mutex;
use rustix::fs::{Advice, FallocateFlags, FlockOperation};
use tokio::runtime::Handle;

use super::{
    Done, MIN_SIZE, Medium,
    writer::{self, Order},
};
use crate::JournalOptions;

/// Zeros written at once where a file system cannot reserve space.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// See the [module](self).
#[derive(Debug)]
pub(super) struct FileMedium {
    path: PathBuf,
    file: Arc<File>,
    size: u64,
    orders: Mutex<Option<Sender<Option<Order>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    runtime: Handle,
}

impl FileMedium {
    /// Opens or creates the journal, and starts its thread. Blocks; reads are executed by `runtime`.
    pub(super) fn open(options: &JournalOptions, runtime: Handle) -> Result<Self, Error> {
        let path = options.path.clone();
        let (file, size) = open(options)?;
        let file = Arc::new(file);
        let (orders, inbox) = channel();
        let name = format!("journal {}", path.file_name().unwrap_or_default().to_string_lossy());
        let writing = Arc::clone(&file);
        let thread = std::thread::Builder::new().name(name.chars().take(15).collect());
        let thread = thread
            .spawn(move || writer::run(&writing, &inbox))
            .map_err(|error| Error::from_io(error, format!("starting the writer of the journal {}", path.display())))?;
        Ok(Self { path, file, size, orders: Mutex::new(Some(orders)), thread: Mutex::new(Some(thread)), runtime })
    }

    fn order(&self, order: Order) {
        if let Some(orders) = self.orders.lock().as_ref() {
            // The thread ends only after this sender is gone; if it panicked, the order is dropped with its `done`.
            let _ = orders.send(Some(order));
        }
    }
}

impl Medium for FileMedium {
    fn size(&self) -> u64 {
        self.size
    }

    fn write(&self, offset: u64, slices: Vec<Bytes>, done: Done<()>) {
        self.order(Order::Write(offset, slices, done));
    }

    fn sync(&self, done: Done<()>) {
        self.order(Order::Sync(done));
    }

    fn read(&self, range: Range<u64>, done: Done<Bytes>) {
        let file = Arc::clone(&self.file);
        self.runtime.spawn_blocking(move || {
            let length = usize::try_from(range.end - range.start).expect("a range in memory");
            let mut bytes = vec![0; length];
            done(file.read_exact_at(&mut bytes, range.start).map(|()| bytes.into()));
        });
    }

    fn close(&self) {
        let Some(orders) = self.orders.lock().take() else { return };
        // Behind what is being executed; what comes after it was cut off above.
        let _ = orders.send(None);
        let thread = self.thread.lock().take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            // A panic of the thread was told where it happened.
            let _ = thread.join();
        }
        if let Err(error) = rustix::fs::flock(&*self.file, FlockOperation::Unlock) {
            tracing::warn!(%error, path = %self.path.display(), "the journal could not be unlocked");
        }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

impl Drop for FileMedium {
    fn drop(&mut self) {
        self.close();
    }
}

fn open(options: &JournalOptions) -> Result<(File, u64), Error> {
    let path = &options.path;
    let failed = |error| Error::from_io(error, format!("opening the journal {}", path.display()));
    let mut flags = OpenOptions::new();
    flags.read(true).write(true);
    match flags.clone().mode(0o600).create_new(true).open(path) {
        Ok(file) => return create(file, options).inspect_err(|_| drop(std::fs::remove_file(path))),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let kind = std::fs::metadata(path).map_err(failed)?.file_type();
    let refuse = |what: &str| Error::new(Kind::Invalid, format!("the journal {} is {what}", path.display()));
    if !kind.is_file() && !kind.is_block_device() {
        return Err(refuse("neither a file nor a block device"));
    }
    if kind.is_block_device() {
        // The kernel then refuses devices that are mounted or part of another one.
        flags.custom_flags(i32::try_from(rustix::fs::OFlags::EXCL.bits()).expect("a small flag"));
    }
    let mut file = flags.open(path).map_err(failed)?;
    lock(&file, path)?;
    let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
    if size == 0 && kind.is_file() {
        return create(file, options);
    }
    if size < MIN_SIZE {
        return Err(refuse(&format!("too small: {size} bytes, it needs {MIN_SIZE} at least")));
    }
    // What an earlier process wrote and did not sync becomes stable, or fails, now. Then nothing is read from memory that
    // the device does not have.
    rustix::fs::fdatasync(&file).map_err(|error| failed(error.into()))?;
    if let Err(error) = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed) {
        tracing::debug!(%error, "the journal is read through the page cache");
    }
    Ok((file, size))
}

/// Two descriptors exclude each other, whether of one process or of two.
fn lock(file: &File, path: &Path) -> Result<(), Error> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let text =
                format!("the journal {} is in use: another gateway, or another disk of this one", path.display());
            Err(Error::new(Kind::Permission, text))
        }
        Err(error) => Err(Error::from_io(error.into(), format!("locking the journal {}", path.display()))),
    }
}

/// Gives a new file all its space, and makes its name stable.
fn create(file: File, options: &JournalOptions) -> Result<(File, u64), Error> {
    let (path, size) = (&options.path, options.size / 4096 * 4096);
    lock(&file, path)?;
    if size < MIN_SIZE {
        let text =
            format!("a journal cannot have {} bytes: {} needs {MIN_SIZE} at least", options.size, path.display());
        return Err(Error::new(Kind::Invalid, text));
    }
    let failed = |error| {
        let text = format!("reserving {size} bytes for the journal {}", path.display());
        Error::from_io(error, text)
    };
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size) {
        Ok(()) => {}
        Err(rustix::io::Errno::OPNOTSUPP) => fill(&file, size).map_err(failed)?,
        Err(error) => return Err(failed(error.into())),
    }
    file.sync_all().map_err(failed)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
    Ok((file, size))
}

fn fill(file: &File, size: u64) -> std::io::Result<()> {
    for offset in (0..size).step_by(ZEROS.len()) {
        let length = usize::try_from(size - offset).unwrap_or(ZEROS.len()).min(ZEROS.len());
        file.write_all_at(&ZEROS[..length], offset)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::medium::io;

    fn options(path: &Path) -> JournalOptions {
        JournalOptions { path: path.to_owned(), size: MIN_SIZE }
    }

    fn refusal(options: &JournalOptions) -> Error {
        FileMedium::open(options, Handle::current()).map(|_| ()).expect_err("it is refused")
    }

    #[tokio::test]
    async fn a_new_journal_has_its_space_and_keeps_what_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let medium = FileMedium::open(&options(&path), Handle::current()).unwrap();
        assert_eq!((medium.size(), std::fs::metadata(&path).unwrap().len()), (MIN_SIZE, MIN_SIZE));
        assert!(std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path).unwrap()) * 512 >= MIN_SIZE);
        io::write(&medium, 8192, Bytes::from(vec![7; 8192])).await.unwrap();
        io::sync(&medium).await.unwrap();
        assert_eq!(io::read(&medium, 4096..12_288).await.unwrap()[..], [vec![0; 4096], vec![7; 4096]].concat());
        medium.close();
        assert!(io::sync(&medium).await.is_err(), "nothing is executed after the end");
        let again = FileMedium::open(&options(&path), Handle::current()).unwrap();
        assert_eq!(io::read(&again, 8192..16_384).await.unwrap()[..], [7; 8192]);
    }

    #[tokio::test]
    async fn a_journal_in_use_is_refused_until_it_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let options = options(&directory.path().join("journal"));
        let first = FileMedium::open(&options, Handle::current()).unwrap();
        assert!(refusal(&options).chain().contains("in use"));
        first.close();
        FileMedium::open(&options, Handle::current()).unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_a_journal_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("small");
        std::fs::write(&path, b"something dear").unwrap();
        assert!(refusal(&options(&path)).chain().contains("too small"));
        assert_eq!(std::fs::read(&path).unwrap(), b"something dear");
        assert_eq!(refusal(&options(directory.path())).kind(), Kind::Invalid);
        let small = JournalOptions { path: directory.path().join("new"), size: 1 << 20 };
        assert!(refusal(&small).chain().contains("cannot have"));
        assert!(!small.path.exists());
        let missing = JournalOptions { path: directory.path().join("no/such/directory"), size: MIN_SIZE };
        assert!(refusal(&missing).chain().contains("opening the journal"));
    }

    #[tokio::test]
    async fn a_journal_that_does_not_fit_is_refused_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let huge = JournalOptions { path: directory.path().join("journal"), size: 1 << 60 };
        assert!(refusal(&huge).chain().contains("reserving"), "{}", refusal(&huge).chain());
        assert!(!huge.path.exists());
    }
}
