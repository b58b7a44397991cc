//! Where the journal of a disk is.

use std::path::PathBuf;

/// A ring of records on local storage (OBJECT-LOG §11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    /// A file, created if it does not exist, or a block device.
    pub path: PathBuf,
    /// Bytes of a file that is created; a device is used whole.
    pub size: u64,
}

impl JournalOptions {
    /// The size of a journal that nobody asked to be otherwise: 8 GiB.
    pub const SIZE: u64 = 8 << 30;
}
