//! Making a disk: beside its place first, so that there is a whole disk or none.

use std::{fs, os::unix::fs::DirBuilderExt, path::Path};

use nbdgate_api::{Error, Kind};
use rocksdb::WriteBatch;

use crate::{
    CreateOptions, DiskInfo, Shared, SharedOptions,
    admin::leftovers::{Purpose, clear_beside},
    database::{Database, Mode},
    info::info,
    layout::Layout,
    lock::{Hold, Lock},
    meta::Meta,
};

/// Memory for work on a disk that is not served, in bytes.
const MEMORY: u64 = 32 << 20;

/// Makes an empty disk in the directory `path`, which must not exist or be empty.
///
/// # Errors
/// Options out of bounds, something is there, or the file system refuses.
pub fn create(path: &Path, options: &CreateOptions) -> Result<DiskInfo, Error> {
    options.check()?;
    let layout = Layout::new(path);
    let name = layout.name();
    if layout.is_disk()? {
        return Err(Error::new(Kind::Invalid, format!("there is a disk at {name} already: choose another path")));
    }
    clear_beside(&layout, Purpose::New)?;
    let unfinished = Layout::new(&layout.beside(Purpose::New.word()));
    let made = make(&unfinished, options, &name).and_then(|lock| {
        let renamed = fs::rename(unfinished.root(), layout.root());
        renamed.map_err(|error| Error::from_io(error, format!("cannot create {name}")))?;
        drop(lock);
        sync_directory(parent(layout.root()))
    });
    if let Err(error) = made {
        let _what_was_begun = fs::remove_dir_all(unfinished.root());
        return Err(error);
    }
    info(path)
}

/// The lock is held as long as the disk is not at its place.
fn make(layout: &Layout, options: &CreateOptions, name: &str) -> Result<Lock, Error> {
    let failed = |error| Error::from_io(error, format!("cannot create {name}"));
    let directory = |path: &Path| fs::DirBuilder::new().mode(0o700).create(path).map_err(failed);
    directory(layout.root())?;
    fs::write(layout.lock(), "").map_err(failed)?;
    let lock = Lock::take(layout, Hold::Write)?;
    directory(&layout.database())?;
    directory(&layout.snapshots())?;
    let meta = Meta::new(options);
    let database = Database::open(&layout.database(), name, Mode::Create, meta.shape(), &private())?;
    let mut batch = WriteBatch::default();
    meta.put(&database, &mut batch);
    database.write(batch)?;
    database.sync()?;
    database.settle()?;
    drop(database);
    sync_directory(&layout.database())?;
    sync_directory(layout.root())?;
    Ok(lock)
}

/// Memory for work on a disk that is not served.
pub(crate) fn private() -> std::sync::Arc<Shared> {
    Shared::new(&SharedOptions { cache: MEMORY, write_memory: MEMORY })
}

/// The directory that a path is in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    let synced = fs::File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|error| Error::from_io(error, format!("cannot sync {}", path.display())))
}
