//! The disks that cases run on: small, so that what is measured is the path and not the cache misses of the data.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use nbdgate::{export::Export, scheduler::permits::Budget};
use nbdgate_api::Backend;
use nbdgate_file::{FileDisk, OpenOptions};
use nbdgate_memory::Memory;
use tempfile::TempDir;

use crate::WIDE;

/// Bytes of every disk.
pub const DISK_BYTES: u64 = 1 << 20;

/// Storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// The memory backend, every byte written.
    Memory,
    /// The memory backend, nothing written.
    Hole,
    /// An image file, every byte written and in the page cache.
    File,
}

/// An export, and where its image lies.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) export: Arc<Export>,
    /// Dropped after the export, which has the image open.
    _directory: Option<TempDir>,
}

impl Disk {
    pub(crate) fn new(kind: DiskKind, directory: &Path) -> anyhow::Result<Self> {
        let (backend, directory): (Arc<dyn Backend>, _) = match kind {
            DiskKind::Memory | DiskKind::Hole => (Arc::new(Memory::new(DISK_BYTES)?), None),
            DiskKind::File => {
                let folder = TempDir::new_in(directory)
                    .with_context(|| format!("cannot make a folder in {}", directory.display()))?;
                let options = OpenOptions { create_size: Some(DISK_BYTES), ..OpenOptions::default() };
                (Arc::new(FileDisk::open(folder.path().join("image"), options)?), Some(folder))
            }
        };
        let name = "disk".parse().context("cannot name the export")?;
        let export = Export::new(name, String::new(), backend, false, Budget::new(WIDE));
        Ok(Self { export: Arc::new(export), _directory: directory })
    }
}
