//! Blobs and the table of them that is a pack's meta (§4.5).
//!
//! ```text
//! count u32, then per blob: type u8, pad[3], id u32, off u64, stored_len u32, raw_len u32, crc u32
//! ```
//!
//! Offsets count from the start of the body; blobs follow each other without gaps. The crc is crc32c of the stored
//! bytes. A blob is zstd-compressed exactly if `stored_len < raw_len`; of a sealed one `stored_len` has 16 bytes of tag
//! besides.

use crate::format::object::decompress;
use crate::format::prelude::SEAL_TAG_LEN;
use crate::format::seal::{ObjectKey, PieceKind};
use crate::format::{FormatError, FormatErrorKind, Reader};
use bytes::{BufMut, Bytes};

/// Most bytes in a blob, uncompressed. The largest is ROOT, with 16 bytes for 4 GiB of disk.
pub(super) const MAX_BLOB_LEN: u32 = 64 << 20;
/// Blobs below this are stored as they are.
const COMPRESS_FROM: usize = 128;
const BLOB_LEVEL: i32 = 1;
const ENTRY_LEN: usize = 28;

/// What a blob holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlobType {
    /// The extents of one page.
    Page,
    /// 1024 page locators.
    Dir,
    /// 1024 segments.
    SegTab,
    /// 1024 packs.
    PackTab,
    /// Deferred deletes.
    Defer,
    /// The root.
    Root,
}

impl BlobType {
    const ALL: [Self; 6] = [Self::Page, Self::Dir, Self::SegTab, Self::PackTab, Self::Defer, Self::Root];

    fn to_byte(self) -> u8 {
        match self {
            Self::Page => 1,
            Self::Dir => 2,
            Self::SegTab => 3,
            Self::PackTab => 4,
            Self::Defer => 5,
            Self::Root => 6,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.to_byte() == byte)
    }
}

/// One blob of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobEntry {
    /// What it holds.
    pub kind: BlobType,
    /// Page or chunk number; 0 for DEFER and ROOT.
    pub id: u32,
    /// Offset within the pack's body.
    pub offset: u32,
    /// Stored length, with its tag if it is sealed.
    pub len: u32,
    /// Uncompressed length.
    pub raw_len: u32,
    /// crc32c of the stored bytes.
    pub crc: u32,
}

impl BlobEntry {
    /// Verifies, opens and decompresses the stored bytes; `number` counts the blobs of the pack.
    pub(super) fn decode(&self, stored: &Bytes, number: u64, key: Option<&ObjectKey>) -> Result<Bytes, FormatError> {
        let corrupt = |problem| FormatError::corrupt(format!("{:?} blob {} {problem}", self.kind, self.id));
        if stored.len() != self.len as usize || crc32c::crc32c(stored) != self.crc {
            return Err(corrupt("does not match its crc"));
        }
        let stored = match key {
            None => stored.clone(),
            Some(key) => key
                .open_piece(number, self.piece_kind(), stored)
                .ok_or_else(|| corrupt("is not what was sealed here"))?,
        };
        if stored.len() == self.raw_len as usize {
            return Ok(stored);
        }
        decompress(&stored, self.raw_len as usize, "blob")
    }

    fn piece_kind(&self) -> PieceKind {
        piece_kind(self.kind, self.id)
    }
}

/// How a blob is authenticated besides its place.
pub(super) fn piece_kind(kind: BlobType, id: u32) -> PieceKind {
    PieceKind { tag: kind.to_byte(), value: id }
}

/// The stored form of a blob, if another than the blob itself.
pub(super) fn compress(raw: &[u8]) -> Option<Vec<u8>> {
    if raw.len() < COMPRESS_FROM {
        return None;
    }
    zstd::bulk::compress(raw, BLOB_LEVEL).ok().filter(|stored| stored.len() < raw.len())
}

/// The meta of a pack.
pub(super) fn encode_entries(entries: &[BlobEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + entries.len() * ENTRY_LEN);
    out.put_u32_le(u32::try_from(entries.len()).expect("packs are bounded"));
    for entry in entries {
        out.put_u8(entry.kind.to_byte());
        out.put_bytes(0, 3);
        out.put_u32_le(entry.id);
        out.put_u64_le(u64::from(entry.offset));
        out.put_u32_le(entry.len);
        out.put_u32_le(entry.raw_len);
        out.put_u32_le(entry.crc);
    }
    out
}

/// Reads the meta of a pack whose body has `body_len` bytes.
pub(super) fn parse_entries(meta: &[u8], body_len: u64, sealed: bool) -> Result<Vec<BlobEntry>, FormatError> {
    let tag = if sealed { SEAL_TAG_LEN } else { 0 };
    let mut fields = Reader::new(meta, "pack meta");
    let count = fields.count(ENTRY_LEN)?;
    let mut entries = Vec::with_capacity(count);
    let mut end = 0_u64;
    for _ in 0..count {
        let kind = fields.u8()?;
        let Some(kind) = BlobType::from_byte(kind) else {
            return Err(FormatError::new(FormatErrorKind::FutureVersion, format!("blob type {kind} is not known")));
        };
        fields.reserved(3)?;
        let id = fields.u32()?;
        let offset = fields.u64()?;
        let (len, raw_len, crc) = (fields.u32()?, fields.u32()?, fields.u32()?);
        if offset != end || len <= tag || len - tag > raw_len || raw_len > MAX_BLOB_LEN {
            return Err(fields.corrupt("has a blob out of place or of impossible length"));
        }
        end += u64::from(len);
        let offset = u32::try_from(offset).map_err(|_| fields.corrupt("has a blob out of bounds"))?;
        entries.push(BlobEntry { kind, id, offset, len, raw_len, crc });
    }
    if end != body_len {
        return Err(fields.corrupt("does not add up to the body"));
    }
    fields.end()?;
    Ok(entries)
}
