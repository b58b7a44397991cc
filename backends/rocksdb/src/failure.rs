//! RocksDB's errors in the contract's words.

use nbdgate_api::{Error, Kind};

/// Texts of the operating system that RocksDB passes on, and what they are.
const TOLD: [(&str, Kind); 4] = [
    ("No space left on device", Kind::NoSpace),
    ("Disk quota exceeded", Kind::NoSpace),
    ("Permission denied", Kind::Permission),
    ("Read-only file system", Kind::Permission),
];

/// What RocksDB said when `tried` was tried.
pub(crate) fn failed(tried: String, error: rocksdb::Error) -> Error {
    let text = error.as_ref();
    let told = TOLD.iter().find(|(said, _)| text.contains(said));
    Error::new(told.map_or(Kind::Io, |(_, kind)| *kind), tried).with_source(error)
}

/// Whether RocksDB would have had to wait for a device, and was told not to.
pub(crate) fn would_wait(error: &rocksdb::Error) -> bool {
    error.kind() == rocksdb::ErrorKind::Incomplete
}

/// Whether what was read fails its check.
pub(crate) fn is_corruption(error: &rocksdb::Error) -> bool {
    error.kind() == rocksdb::ErrorKind::Corruption
}
