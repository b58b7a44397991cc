//! The head of an object: prelude and meta together.

use super::error::FormatError;
use super::prelude::{Expected, Place, Prelude};
use bytes::Bytes;

/// What a reader fetches first of any object: enough for the whole meta of an 8 MiB segment of 16 KiB frames.
pub const HEAD_FETCH: u64 = 64 << 10;
/// Meta below this is stored as it is.
const COMPRESS_META_FROM: usize = 4096;
const META_LEVEL: i32 = 1;

/// A verified head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The prelude.
    pub prelude: Prelude,
    /// The meta, uncompressed.
    pub meta: Bytes,
}

impl Head {
    /// Prelude and stored meta of an object with `body_len` bytes to follow. Meta of 4 KiB and more is compressed
    /// where that saves an eighth.
    pub fn encode(place: Place, meta: &[u8], body_len: u64) -> (Prelude, Bytes) {
        let meta_raw_len = u32::try_from(meta.len()).expect("meta is bounded by the encoders");
        let compressed = compress_meta(meta);
        let stored = compressed.as_deref().unwrap_or(meta);
        let prelude = Prelude {
            place,
            meta_compressed: compressed.is_some(),
            body_aligned: false,
            meta_len: u32::try_from(stored.len()).expect("compression only shrinks"),
            meta_raw_len,
            body_len,
            meta_crc: crc32c::crc32c(stored),
        };
        let mut bytes = Vec::with_capacity(super::prelude::PRELUDE_LEN + stored.len());
        bytes.extend_from_slice(&prelude.encode());
        bytes.extend_from_slice(stored);
        (prelude, bytes.into())
    }

    /// Verifies the start of an object. `bytes` must reach to [`Prelude::head_len`]; a reader that has less asks
    /// [`Prelude::parse`] first how much that is.
    ///
    /// # Errors
    ///
    /// As [`Prelude::parse`], and `Corrupt` when the meta is cut short or does not match its crc.
    pub fn parse(expected: &Expected, bytes: &Bytes) -> Result<Self, FormatError> {
        let prelude = Prelude::parse(expected, bytes)?;
        let start = super::prelude::PRELUDE_LEN;
        let end = start + prelude.meta_len as usize;
        if bytes.len() < end {
            return Err(FormatError::corrupt("meta is cut short"));
        }
        let stored = bytes.slice(start..end);
        if crc32c::crc32c(&stored) != prelude.meta_crc {
            return Err(FormatError::corrupt("meta crc does not match"));
        }
        let meta =
            if prelude.meta_compressed { decompress(&stored, prelude.meta_raw_len as usize, "meta")? } else { stored };
        Ok(Self { prelude, meta })
    }

    /// Verifies an object that has no body and is at hand as a whole.
    pub(crate) fn parse_whole(expected: &Expected, bytes: &Bytes) -> Result<Self, FormatError> {
        let head = Self::parse(expected, bytes)?;
        if head.prelude.body_len != 0 || bytes.len() as u64 != head.prelude.object_len() {
            return Err(FormatError::corrupt("object has a length other than its prelude says"));
        }
        Ok(head)
    }
}

fn compress_meta(meta: &[u8]) -> Option<Vec<u8>> {
    if meta.len() < COMPRESS_META_FROM {
        return None;
    }
    let compressed = zstd::bulk::compress(meta, META_LEVEL).ok()?;
    (compressed.len() <= meta.len() - meta.len() / 8).then_some(compressed)
}

/// Undoes zstd; `raw_len` has been held against a named maximum by the caller.
pub(crate) fn decompress(stored: &[u8], raw_len: usize, what: &str) -> Result<Bytes, FormatError> {
    match zstd::bulk::decompress(stored, raw_len) {
        Ok(raw) if raw.len() == raw_len => Ok(raw.into()),
        _ => Err(FormatError::corrupt(format!("{what} does not decompress to its length"))),
    }
}
