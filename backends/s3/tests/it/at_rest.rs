//! Work on disks in journal mode that nobody serves: a clean one needs no journal, and of another nothing answered is lost.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use nbdgate_api::{Error, Kind};
use nbdgate_s3::{
    CreateOptions, Disk, DiskState, FlushMode, JournalOptions, Location, NoProgress, OpenOptions,
    admin::{self, Shrink},
    journal,
    rebuild::{RebuildOptions, rebuild},
    transfer::{RawSource, Source, import},
};

use crate::{
    ask::{flush, read, write},
    setup::{BLOCK, Key, at, memory, noise, options},
};

const SIZE: u64 = 1 << 20;

/// What is done with a disk as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Snapshot,
    RemoveSnapshot,
    Resize,
    Rollback,
    Collect,
    Remove,
}

const ALL: [Work; 6] =
    [Work::Snapshot, Work::RemoveSnapshot, Work::Resize, Work::Rollback, Work::Collect, Work::Remove];

impl Work {
    async fn run(self, location: &Location, options: &OpenOptions) -> Result<(), Error> {
        match self {
            Self::Snapshot => admin::snapshot(location, "now", options).await.map(drop),
            Self::RemoveSnapshot => admin::remove_snapshot(location, "first", options).await,
            Self::Resize => admin::resize(location, 2 * SIZE, Shrink::Refuse, options).await,
            Self::Rollback => admin::rollback(location, "first", options).await.map(drop),
            Self::Collect => admin::gc(location, options, &NoProgress).await.map(drop),
            Self::Remove => admin::remove(location, options, &NoProgress).await.map(drop),
        }
    }
}

/// A disk in journal mode that holds one block, as a snapshot `first` does.
struct World {
    directory: tempfile::TempDir,
    location: Location,
}

impl World {
    async fn new() -> Self {
        let world = Self { directory: tempfile::tempdir().unwrap(), location: at(&memory()) };
        make(&world.location, None).await;
        let disk = world.serve().await;
        write(&disk, 0, noise(1, BLOCK)).await.unwrap();
        disk.snapshot("first").await.unwrap();
        disk.shutdown().await.unwrap();
        world
    }

    fn journal(&self) -> PathBuf {
        self.directory.path().join("journal")
    }

    fn with_journal(&self) -> OpenOptions {
        with_journal(&self.journal())
    }

    async fn serve(&self) -> Disk {
        let served = nbdgate_s3::open(&self.location, self.with_journal()).await;
        served.unwrap_or_else(|error| panic!("{}", error.chain()))
    }

    /// The gateway dies with a block that was flushed, and that nothing but the journal has.
    async fn die(&self) {
        let disk = self.serve().await;
        write(&disk, BLOCK, noise(2, BLOCK)).await.unwrap();
        flush(&disk).await.unwrap();
        drop(disk);
    }

    async fn state(&self) -> DiskState {
        nbdgate_s3::info(&self.location).await.unwrap().state
    }
}

fn with_journal(path: &Path) -> OpenOptions {
    let journal = JournalOptions { path: path.to_owned(), size: journal::MIN_SIZE };
    let mut options = OpenOptions { journal: Some(journal), ..options() };
    options.tuning.upload_delay = Duration::from_hours(1);
    options
}

async fn make(location: &Location, key: Option<&Key>) {
    let key = key.map(Key::source);
    let options = CreateOptions { size: SIZE, flush: FlushMode::Journal, key, ..CreateOptions::default() };
    nbdgate_s3::create(location, &options).await.unwrap();
}

async fn bring_in(image: &Path, location: &Location, options: &OpenOptions) -> Result<(), Error> {
    let source: Arc<dyn Source> = Arc::new(RawSource::open(image).unwrap());
    import(&source, location, &CreateOptions::default(), &NoProgress, options).await.map(drop)
}

#[tokio::test]
async fn a_new_disk_takes_an_import_with_and_without_its_journal() {
    let directory = tempfile::tempdir().unwrap();
    let (image, path) = (directory.path().join("image"), directory.path().join("journal"));
    std::fs::write(&image, noise(1, SIZE)).unwrap();
    for options in [options(), with_journal(&path)] {
        let location = at(&memory());
        make(&location, None).await;
        bring_in(&image, &location, &options).await.unwrap();
        assert!(!path.exists(), "an import writes to the bucket alone");
        assert_eq!(nbdgate_s3::info(&location).await.unwrap().state, DiskState::Closed);
        let disk = nbdgate_s3::open(&location, with_journal(&directory.path().join("served"))).await.unwrap();
        assert!(read(&disk, 0, SIZE).await.unwrap() == noise(1, SIZE));
        disk.shutdown().await.unwrap();
        std::fs::remove_file(directory.path().join("served")).unwrap();
    }
}

#[tokio::test]
async fn a_disk_whose_journal_is_spent_takes_an_import_and_its_journal_again() {
    let directory = tempfile::tempdir().unwrap();
    let (image, path) = (directory.path().join("image"), directory.path().join("journal"));
    std::fs::write(&image, noise(1, SIZE)).unwrap();
    let location = at(&memory());
    make(&location, None).await;
    nbdgate_s3::open(&location, with_journal(&path)).await.unwrap().shutdown().await.unwrap();
    bring_in(&image, &location, &options()).await.unwrap();
    let disk = nbdgate_s3::open(&location, with_journal(&path)).await.unwrap();
    assert!(read(&disk, 0, SIZE).await.unwrap() == noise(1, SIZE));
}

#[tokio::test]
async fn a_disk_that_was_closed_needs_no_journal_for_work_at_rest() {
    for work in ALL {
        for is_given in [false, true] {
            let world = World::new().await;
            let options = if is_given { world.with_journal() } else { options() };
            let worked = work.run(&world.location, &options).await;
            worked.unwrap_or_else(|error| panic!("{work:?}, journal {is_given}: {}", error.chain()));
            if work == Work::Remove {
                continue;
            }
            assert_eq!(world.state().await, DiskState::Closed, "{work:?}, journal {is_given}");
            let disk = world.serve().await;
            assert_eq!(read(&disk, 0, BLOCK).await.unwrap(), noise(1, BLOCK), "{work:?}, journal {is_given}");
            disk.shutdown().await.unwrap();
        }
    }
}

#[tokio::test]
async fn without_its_journal_a_disk_that_was_not_closed_is_left_as_it_is() {
    let world = World::new().await;
    world.die().await;
    let before = world.state().await;
    let image = world.directory.path().join("image");
    std::fs::write(&image, noise(3, SIZE)).unwrap();
    bring_in(&image, &world.location, &options()).await.unwrap_err();
    for work in ALL {
        let error = work.run(&world.location, &options()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Permission, "{work:?}");
        assert!(error.chain().contains("may hold writes"), "{work:?}: {}", error.chain());
        assert!(error.chain().contains("`--journal PATH`"), "{work:?}: {}", error.chain());
    }
    let how = RebuildOptions { force: true, ..RebuildOptions::default() };
    let error = rebuild(&world.location, &how, &NoProgress, &options()).await.unwrap_err();
    assert!(error.chain().contains("may hold writes"), "{}", error.chain());
    assert_eq!(world.state().await, before, "nothing was claimed");
    let disk = world.serve().await;
    assert_eq!(read(&disk, BLOCK, BLOCK).await.unwrap(), noise(2, BLOCK));
}

#[tokio::test]
async fn with_its_journal_a_disk_that_was_not_closed_is_replayed_before_work_at_rest() {
    for work in ALL.into_iter().filter(|&work| work != Work::Remove) {
        let world = World::new().await;
        world.die().await;
        let worked = work.run(&world.location, &world.with_journal()).await;
        worked.unwrap_or_else(|error| panic!("{work:?}: {}", error.chain()));
        assert_eq!(world.state().await, DiskState::Closed, "{work:?}");
        // All of it is in the bucket now: a view of that knows no journal.
        let view = OpenOptions { read_only: true, ..options() };
        let disk = nbdgate_s3::open(&world.location, view).await.unwrap();
        let expected = if work == Work::Rollback { vec![0; 4096] } else { noise(2, BLOCK) };
        assert_eq!(read(&disk, BLOCK, BLOCK).await.unwrap(), expected, "{work:?}");
        if work == Work::Snapshot {
            let view = OpenOptions { read_only: true, snapshot: Some("now".to_owned()), ..options() };
            let disk = nbdgate_s3::open(&world.location, view).await.unwrap();
            assert_eq!(read(&disk, BLOCK, BLOCK).await.unwrap(), noise(2, BLOCK));
        }
    }
}

#[tokio::test]
async fn an_abandoned_journal_is_no_longer_asked_for() {
    for work in ALL {
        let world = World::new().await;
        world.die().await;
        let given_up = OpenOptions { abandon_journal: true, ..options() };
        let worked = work.run(&world.location, &given_up).await;
        worked.unwrap_or_else(|error| panic!("{work:?}: {}", error.chain()));
        if work == Work::Remove {
            continue;
        }
        let error = nbdgate_s3::open(&world.location, world.with_journal()).await.map(|_| ()).unwrap_err();
        assert!(error.chain().contains("is parked"), "{work:?}: {}", error.chain());
        work_again(&world).await;
    }
}

async fn work_again(world: &World) {
    Work::Collect.run(&world.location, &options()).await.unwrap();
    assert_eq!(world.state().await, DiskState::Closed);
}

#[tokio::test]
async fn a_key_is_changed_of_a_closed_disk_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (Key::new("old"), Key::new("new"));
    let location = at(&memory());
    make(&location, Some(&old)).await;
    let keyed = OpenOptions { key: Some(old.source()), ..options() };
    let served = OpenOptions { key: Some(old.source()), ..with_journal(&directory.path().join("journal")) };
    let disk = nbdgate_s3::open(&location, served.clone()).await.unwrap();
    write(&disk, 0, noise(1, BLOCK)).await.unwrap();
    drop(disk);
    let error = admin::rekey(&location, &new.source(), &keyed).await.unwrap_err();
    assert!(error.chain().contains("close it first"), "{}", error.chain());
    nbdgate_s3::open(&location, served).await.unwrap().shutdown().await.unwrap();
    admin::rekey(&location, &new.source(), &keyed).await.unwrap();
    let view = OpenOptions { key: Some(new.source()), read_only: true, ..options() };
    let disk = nbdgate_s3::open(&location, view).await.unwrap();
    assert_eq!(read(&disk, 0, BLOCK).await.unwrap(), noise(1, BLOCK));
}

#[tokio::test]
async fn refusals_name_options_and_flags_and_tell_times_for_people() {
    let world = World::new().await;
    let served = async |options| nbdgate_s3::open(&world.location, options).await.map(|_| ()).unwrap_err().chain();
    let text = served(options()).await;
    assert!(text.contains("`journal=PATH`") && text.contains("`--journal PATH`"), "{text}");
    world.die().await;
    let text = served(options()).await;
    assert!(text.contains("`journal=PATH`") && text.contains("`--journal PATH`"), "{text}");
    is_recent(&text, "the manifest is of ");
    let location = at(&memory());
    nbdgate_s3::create(&location, &CreateOptions { size: SIZE, ..CreateOptions::default() }).await.unwrap();
    drop(nbdgate_s3::open(&location, options()).await.unwrap());
    let other = OpenOptions { host: Some("host-b".to_owned()), ..options() };
    let held = nbdgate_s3::open(&location, other).await.map(|_| ()).unwrap_err().chain();
    is_recent(&held, "is held by host-a since ");
    let unclean = nbdgate_s3::open(&location, options()).await.map(|_| ()).unwrap_err().chain();
    assert!(unclean.contains("`on-unclean=serve`") && unclean.contains("`--on-unclean serve`"), "{unclean}");
    is_recent(&unclean, "(host-a) since ");
}

/// The time behind `before` is one of RFC 3339, and within this minute or so.
fn is_recent(text: &str, before: &str) {
    let (_, behind) = text.split_once(before).unwrap_or_else(|| panic!("no {before:?} in: {text}"));
    let time = behind.split_inclusive('Z').next().unwrap();
    let time = humantime::parse_rfc3339(time).unwrap_or_else(|error| panic!("{error} in: {text}"));
    let age = SystemTime::now().duration_since(time).unwrap();
    assert!(age < Duration::from_mins(10), "{text}");
}
