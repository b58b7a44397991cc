//! The table of blobs of one pack, read from its head.

use super::blob::{BlobEntry, BlobType, parse_entries};
use crate::format::seal::ObjectKey;
use crate::format::{FormatError, Head, PackName, Sealing};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// What is where in a pack.
#[derive(Clone, Debug)]
pub struct PackIndex {
    name: PackName,
    body_offset: u64,
    key: Option<Arc<ObjectKey>>,
    entries: Vec<BlobEntry>,
}

impl PackIndex {
    /// Verifies the head of a pack; `bytes` as for [`Head::open`].
    ///
    /// # Errors
    ///
    /// As [`Head::open`], naming the object.
    pub fn parse(name: PackName, bytes: &Bytes, sealing: &Sealing) -> Result<Self, FormatError> {
        let parse = || {
            let Head { prelude, meta, key } = Head::open(name.object(), name.volume, bytes, sealing)?;
            let entries = parse_entries(&meta, prelude.body_len, prelude.sealed)?;
            Ok(Self { name, body_offset: prelude.body_offset(), key, entries })
        };
        parse().map_err(|error: FormatError| error.in_object(name.object()))
    }

    /// Its blobs, in order of offset.
    pub fn entries(&self) -> &[BlobEntry] {
        &self.entries
    }

    /// The blob at an offset, which must be what a locator says it is.
    pub(super) fn find(&self, kind: BlobType, id: u32, offset: u32, len: u32) -> Result<BlobEntry, FormatError> {
        let at = self.entries.binary_search_by_key(&offset, |entry| entry.offset).ok();
        let found = at.map(|at| self.entries[at]);
        found.filter(|entry| entry.kind == kind && entry.id == id && entry.len == len).ok_or_else(|| {
            let what = format!("holds no {kind:?} blob {id} at {offset}");
            FormatError::corrupt(what).in_object(self.name.object())
        })
    }

    /// Byte range of a blob within the object.
    pub fn range(&self, entry: &BlobEntry) -> Range<u64> {
        let start = self.body_offset + u64::from(entry.offset);
        start..start + u64::from(entry.len)
    }

    /// Verifies, opens and decompresses the stored bytes of a blob of this pack.
    ///
    /// # Errors
    ///
    /// `Corrupt`, naming object and blob.
    pub fn decode(&self, entry: &BlobEntry, stored: &Bytes) -> Result<Bytes, FormatError> {
        let number = self.entries.partition_point(|other| other.offset < entry.offset);
        let decoded = entry.decode(stored, number as u64, self.key.as_deref());
        decoded.map_err(|error| error.in_object(self.name.object()))
    }
}
