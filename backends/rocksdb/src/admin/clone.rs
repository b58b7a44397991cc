//! A new disk out of a snapshot.
//!
//! ```text
//!  snapshot/*.sst, *.blob ── hard links ──┐
//!  snapshot/the rest ─────── copies ──────┴─► TARGET.new-ID/db ─► own uuid, parent ─► rename to TARGET
//! ```
//!
//! Neither database changes a table or a blob file that it has, so both may have the same; each deletes only its own name of
//! it. On another file system they are copied.
//!
//! The snapshot is locked meanwhile, so that nobody removes it; its disk is not, and may be served.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use nbdgate_api::{Error, Kind};
use rocksdb::WriteBatch;
use uuid::Uuid;

use super::{
    files::{is_database_file, is_shared, rename_durably},
    leftovers::{Purpose, clear_beside},
    opened::Opened,
    snapshots::find,
    tree::Tree,
};
use crate::{
    DiskInfo, NoProgress,
    create::sync_directory,
    layout::Layout,
    lock::{Hold, Lock},
    meta::now_unix_ms,
};

/// What a clone came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloned {
    /// The new disk.
    pub disk: DiskInfo,
    /// Bytes of data that were copied because they could not be shared, as between two file systems; otherwise 0.
    pub copied: u64,
}

/// Makes the disk `target` out of a snapshot of the disk at `path`, which may be served. It can be written, and depends on
/// neither afterwards.
///
/// # Errors
/// There is no such snapshot, something is at `target`, or it cannot be made there; then nothing is.
pub fn clone(path: &Path, snapshot: &str, target: &Path) -> Result<Cloned, Error> {
    let source = Layout::new(path);
    source.require()?;
    let from = find(&source, snapshot)?;
    let held = Lock::take_snapshot(&source, snapshot, Hold::Read)?;
    let target = Layout::new(target);
    if target.is_disk()? {
        return Err(Error::new(Kind::Invalid, format!("{} exists already", target.name())));
    }
    clear_beside(&target, Purpose::New)?;
    let parent = format!("{}@{snapshot}", fs::canonicalize(path).as_deref().unwrap_or(path).display());
    let new = Layout::new(&target.beside(Purpose::New.word()));
    let made = make(&from, &new, parent).and_then(|made| {
        rename_durably(new.root(), target.root())?;
        Ok(made)
    });
    let (copied, lock) = made.inspect_err(|_| {
        // What failed is what counts.
        let _ = Tree::of_disk(new.root()).and_then(|tree| tree.delete(&NoProgress));
    })?;
    drop((lock, held));
    tracing::info!(disk = %source.name(), snapshot, clone = %target.name(), copied, "clone made");
    Ok(Cloned { disk: crate::info(target.root())?, copied })
}

/// The whole disk but for its name; bytes copied, and the lock.
fn make(from: &Path, new: &Layout, parent: String) -> Result<(u64, Lock), Error> {
    let failed = |error: io::Error| Error::from_io(error, format!("cannot make {}", new.name()));
    let directory = |path: &Path| fs::DirBuilder::new().mode(0o700).create(path).map_err(failed);
    directory(new.root())?;
    File::create_new(new.lock()).map_err(failed)?;
    let lock = Lock::take(new, Hold::Write)?;
    directory(&new.database())?;
    let copied = share(from, &new.database())?;
    sync_directory(&new.database())?;
    let mut opened = Opened::write(new)?;
    opened.meta.uuid = Uuid::new_v4();
    opened.meta.created_unix_ms = now_unix_ms();
    opened.meta.parent = Some(parent);
    let mut batch = WriteBatch::default();
    opened.meta.put(&opened.database, &mut batch);
    opened.delete_taken(&mut batch);
    opened.commit(new, batch)?;
    drop(opened);
    sync_directory(&new.database())?;
    sync_directory(new.root())?;
    Ok((copied, lock))
}

/// Fills the directory `to`; returns the bytes of data that were copied.
fn share(from: &Path, to: &Path) -> Result<u64, Error> {
    let unlisted = |error| Error::from_io(error, format!("cannot list {}", from.display()));
    let mut copied = 0;
    for entry in fs::read_dir(from).map_err(unlisted)? {
        let entry = entry.map_err(unlisted)?;
        let name = entry.file_name();
        // The log of what RocksDB did there stays there.
        if !is_database_file(&name) || name.as_encoded_bytes().starts_with(b"LOG") {
            continue;
        }
        let (source, target) = (entry.path(), to.join(&name));
        let failed = |error| Error::from_io(error, format!("cannot take over {}", source.display()));
        if !is_shared(&name) {
            copy(&source, &target).map_err(failed)?;
        } else if !link(&source, &target).map_err(failed)? {
            copied += copy(&source, &target).map_err(failed)?;
        }
    }
    Ok(copied)
}

/// Whether both names are of one file now; if not, that is not possible there.
fn link(source: &Path, target: &Path) -> io::Result<bool> {
    match fs::hard_link(source, target) {
        Ok(()) => Ok(true),
        // Another file system, no more links of this file, or no links at all.
        Err(error) => match error.kind() {
            io::ErrorKind::CrossesDevices
            | io::ErrorKind::TooManyLinks
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::Unsupported => Ok(false),
            _ => Err(error),
        },
    }
}

/// A durable copy; its bytes.
fn copy(source: &Path, target: &Path) -> io::Result<u64> {
    let mut copy = File::create_new(target)?;
    let bytes = io::copy(&mut File::open(source)?, &mut copy)?;
    copy.sync_all()?;
    Ok(bytes)
}
