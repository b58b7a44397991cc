//! The head of an object: prelude, seal header and meta together.

use super::error::FormatError;
use super::ids::{Nonce, VolumeId};
use super::names::ObjectName;
use super::prelude::{Expected, Kind, PRELUDE_LEN, Place, Prelude};
use super::seal::{ObjectKey, SealHeader, Sealer, Sealing, TAG_LEN};
use bytes::Bytes;
use std::sync::Arc;

/// What a reader fetches first of any object: enough for the whole meta of an 8 MiB segment of 16 KiB frames.
pub const HEAD_FETCH: u64 = 64 << 10;
/// Meta below this is stored as it is.
const COMPRESS_META_FROM: usize = 4096;
const META_LEVEL: i32 = 1;

/// The meta's crc at 56 follows from the meta; what is in front of it is authenticated with a sealed meta.
const AUTHENTIC_PRELUDE: usize = 56;

/// A verified head.
#[derive(Clone, Debug)]
pub struct Head {
    /// The prelude.
    pub prelude: Prelude,
    /// The meta, uncompressed and in clear.
    pub meta: Bytes,
    /// What opens the body, if the object is sealed.
    pub key: Option<Arc<ObjectKey>>,
}

/// The start of an object to store.
#[derive(Debug)]
pub struct EncodedHead {
    /// The prelude.
    pub prelude: Prelude,
    /// Prelude, seal header and meta as they are stored.
    pub bytes: Bytes,
    /// What opens the body, if the object is sealed.
    pub key: Option<Arc<ObjectKey>>,
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
            sealed: false,
            meta_compressed: compressed.is_some(),
            body_aligned: false,
            meta_len: u32::try_from(stored.len()).expect("compression only shrinks"),
            meta_raw_len,
            body_len,
            meta_crc: crc32c::crc32c(stored),
        };
        let mut bytes = Vec::with_capacity(PRELUDE_LEN + stored.len());
        bytes.extend_from_slice(&prelude.encode());
        bytes.extend_from_slice(stored);
        (prelude, bytes.into())
    }

    /// As [`encode`](Self::encode), sealed where there is a sealer, whose pieces are then complete. `clear` is the body
    /// of a manifest, which stays in clear and is authenticated here; other bodies are sealed by themselves.
    pub fn encode_sealed(
        place: Place,
        meta: &[u8],
        body_len: u64,
        sealer: Option<Sealer>,
        clear: &[u8],
    ) -> EncodedHead {
        let Some(sealer) = sealer else {
            let (prelude, bytes) = Self::encode(place, meta, body_len);
            return EncodedHead { prelude, bytes, key: None };
        };
        let meta_raw_len = u32::try_from(meta.len()).expect("meta is bounded by the encoders");
        let compressed = compress_meta(meta);
        let meta_compressed = compressed.is_some();
        let mut stored = compressed.unwrap_or_else(|| meta.to_vec());
        let meta_len = u32::try_from(stored.len() + TAG_LEN).expect("meta is bounded by the encoders");
        let mut prelude = Prelude {
            place,
            sealed: true,
            meta_compressed,
            body_aligned: false,
            meta_len,
            meta_raw_len,
            body_len,
            meta_crc: 0,
        };
        let header = sealer.header().encode();
        let key = sealer.seal_meta(&[&prelude.encode()[..AUTHENTIC_PRELUDE], &header, clear], &mut stored);
        prelude.meta_crc = crc32c::crc32c(&stored);
        let bytes = [&prelude.encode()[..], &header, &stored].concat().into();
        EncodedHead { prelude, bytes, key: Some(key) }
    }

    /// Verifies the start of an object in clear. `bytes` must reach to [`Prelude::head_len`]; a reader that has less asks
    /// [`Prelude::parse`] first how much that is.
    ///
    /// # Errors
    ///
    /// As [`Prelude::parse`], `Corrupt` when the meta is cut short or does not match its crc, `Sealed` for a sealed one.
    pub fn parse(expected: &Expected, bytes: &Bytes) -> Result<Self, FormatError> {
        Self::parse_sealed(expected, Nonce(0), bytes, &Sealing::CLEAR)
    }

    /// Verifies the start of the object under a name, and opens it. Of a sealed manifest, `bytes` is the whole.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse); `Sealed` without its key, `Corrupt` when it is not what was sealed for this place, or is
    /// in clear while the disk is sealed.
    pub fn open(name: ObjectName, volume: VolumeId, bytes: &Bytes, sealing: &Sealing) -> Result<Self, FormatError> {
        let nonce = name.writer().map_or(Nonce(0), |writer| writer.nonce);
        Self::parse_sealed(&name.expected(volume), nonce, bytes, sealing)
    }

    fn parse_sealed(expected: &Expected, nonce: Nonce, bytes: &Bytes, sealing: &Sealing) -> Result<Self, FormatError> {
        let prelude = Prelude::parse(expected, bytes)?;
        let end = at(prelude.head_len());
        if bytes.len() < end {
            return Err(FormatError::corrupt("meta is cut short"));
        }
        let stored = bytes.slice(at(prelude.meta_offset())..end);
        if crc32c::crc32c(&stored) != prelude.meta_crc {
            return Err(FormatError::corrupt("meta crc does not match"));
        }
        let (stored, key) = if prelude.sealed {
            let header = &bytes[PRELUDE_LEN..at(prelude.meta_offset())];
            let key = sealing.open(SealHeader::parse(header)?, prelude.place, nonce)?;
            let clear = clear_body(&prelude, bytes)?;
            let opened = key.open_meta(&[&bytes[..AUTHENTIC_PRELUDE], header, &clear], &stored)?;
            (opened, Some(Arc::new(key)))
        } else if sealing.is_sealed() && prelude.place.kind.is_sealable() {
            return Err(FormatError::corrupt("is in clear, and everything that this disk writes is sealed"));
        } else {
            (stored, None)
        };
        let meta =
            if prelude.meta_compressed { decompress(&stored, prelude.meta_raw_len as usize, "meta")? } else { stored };
        Ok(Self { prelude, meta, key })
    }

    /// Verifies an object that has no body and is at hand as a whole.
    pub(crate) fn parse_whole(expected: &Expected, bytes: &Bytes) -> Result<Self, FormatError> {
        let head = Self::parse(expected, bytes)?;
        head.check_whole(bytes)?;
        Ok(head)
    }

    /// Opens such an object; with what it leaves in clear, if it is a sealed manifest.
    pub(crate) fn open_whole(
        name: ObjectName,
        volume: VolumeId,
        bytes: &Bytes,
        sealing: &Sealing,
    ) -> Result<(Self, Bytes), FormatError> {
        let head = Self::open(name, volume, bytes, sealing)?;
        let clear = if head.prelude.sealed { clear_body(&head.prelude, bytes)? } else { Bytes::new() };
        if clear.is_empty() {
            head.check_whole(bytes)?;
        }
        Ok((head, clear))
    }

    fn check_whole(&self, bytes: &Bytes) -> Result<(), FormatError> {
        if self.prelude.body_len != 0 || bytes.len() as u64 != self.prelude.object_len() {
            return Err(FormatError::corrupt("object has a length other than its prelude says"));
        }
        Ok(())
    }
}

/// Lengths of a prelude are within bounds that fit any address space.
fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// What a sealed manifest leaves in clear: its body.
pub(super) fn clear_body(prelude: &Prelude, bytes: &Bytes) -> Result<Bytes, FormatError> {
    if prelude.place.kind != Kind::Manifest {
        return Ok(Bytes::new());
    }
    if bytes.len() as u64 != prelude.object_len() {
        return Err(FormatError::corrupt("object has a length other than its prelude says"));
    }
    Ok(bytes.slice(at(prelude.body_offset())..))
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
