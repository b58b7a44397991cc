//! What a disk is, for people.

use std::{fs, path::Path};

use nbdgate_api::Error;
use uuid::Uuid;

use crate::{
    Compression,
    admin::{opened::Opened, snapshot_names},
    layout::Layout,
    lock::Lock,
};

/// How often the database of a disk that is in use is looked at: files may go while they are opened.
const LOOKS: u32 = 5;

/// See [`info`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskInfo {
    /// Of the disk; a clone has its own.
    pub uuid: Uuid,
    /// Bytes.
    pub size: u64,
    /// Bytes of an extent.
    pub extent: u32,
    /// How extents are compressed.
    pub compression: Compression,
    /// Of the database's content.
    pub format: u32,
    /// Milliseconds since 1970.
    pub created_unix_ms: u64,
    /// For a clone, what it was made of.
    pub parent: Option<String>,
    /// Whether somebody has it open for writing.
    pub in_use: bool,
    /// Bytes of the extents that are there.
    pub allocated: u64,
    /// Bytes of the database's files.
    pub stored: u64,
    /// How many snapshots it has.
    pub snapshots: u32,
}

/// What the disk at `path` is; also while it is served.
///
/// # Errors
/// There is no disk, or it is damaged.
pub fn info(path: &Path) -> Result<DiskInfo, Error> {
    let layout = Layout::new(path);
    layout.require()?;
    let mut left = LOOKS;
    loop {
        left -= 1;
        let in_use = !Lock::is_free(&layout);
        match look(&layout, in_use) {
            Err(_) if in_use && left > 0 => {}
            outcome => return outcome,
        }
    }
}

fn look(layout: &Layout, in_use: bool) -> Result<DiskInfo, Error> {
    let opened = Opened::read(&layout.database(), &layout.name())?;
    let allocated = opened.allocated()?;
    let meta = opened.meta;
    let stored = bytes_in(&layout.database())?;
    let snapshots = snapshot_names(layout)?.len();
    Ok(DiskInfo {
        uuid: meta.uuid,
        size: meta.size,
        extent: meta.extent,
        compression: meta.compression,
        format: meta.format,
        created_unix_ms: meta.created_unix_ms,
        parent: meta.parent,
        in_use,
        allocated,
        stored,
        snapshots: u32::try_from(snapshots).unwrap_or(u32::MAX),
    })
}

/// Bytes of the files in a directory.
fn bytes_in(directory: &Path) -> Result<u64, Error> {
    let failed = |error| Error::from_io(error, format!("cannot list {}", directory.display()));
    let mut bytes = 0;
    for entry in fs::read_dir(directory).map_err(failed)? {
        match entry.map_err(failed)?.metadata() {
            Ok(metadata) => bytes += metadata.len(),
            // Files of a disk that is in use come and go.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(bytes)
}
