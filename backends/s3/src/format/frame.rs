//! A frame: the unit of compression and checksum, at most 64 consecutive blocks.

use super::error::FormatError;
use super::ids::BLOCK_SIZE;
use super::seal::{ObjectKey, PieceKind};
use bytes::Bytes;
use std::ops::Range;

/// Most blocks in a frame (256 KiB).
pub const MAX_FRAME_BLOCKS: u32 = 64;

/// How a frame is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// As it is.
    Raw,
    /// LZ4 block format.
    Lz4,
    /// One zstd frame.
    Zstd,
}

impl Codec {
    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Lz4 => 1,
            Self::Zstd => 2,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Raw, Self::Lz4, Self::Zstd].into_iter().find(|codec| codec.to_byte() == byte)
    }
}

/// One frame of a segment: where its stored bytes lie and what they must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its number within the segment, for errors.
    pub number: u32,
    /// Byte range within the object.
    pub stored: Range<u64>,
    /// First block of the segment's logical space that it holds.
    pub lblk: u32,
    /// How many blocks it holds.
    pub nblocks: u32,
    /// How it is stored.
    pub codec: Codec,
    /// crc32c of the stored bytes; 0 if they are sealed.
    pub stored_crc: u32,
    /// crc32c of the plain bytes.
    pub plain_crc: u32,
}

impl Frame {
    /// Length of the plain bytes.
    pub fn plain_len(&self) -> usize {
        self.nblocks as usize * BLOCK_SIZE
    }

    /// Verifies and decompresses the stored bytes of a frame in clear. Raw frames are returned without a copy.
    ///
    /// # Errors
    ///
    /// `Corrupt`, naming the frame, when length, either crc or the compressed form does not hold: never zeros.
    pub fn decode(&self, stored: &Bytes) -> Result<Bytes, FormatError> {
        self.check_len(stored)?;
        if crc32c::crc32c(stored) != self.stored_crc {
            return Err(self.corrupt("stored crc does not match"));
        }
        // The stored bytes of a raw frame are its plain bytes, and their crc has just held.
        let known_crc = (self.codec == Codec::Raw).then_some(self.stored_crc);
        self.unpack(stored, known_crc)
    }

    /// The same for a frame that was sealed under `key`.
    ///
    /// # Errors
    ///
    /// `Corrupt`, naming the frame, also when it is not what was sealed at this place. The crc of the plain bytes must
    /// hold besides: it was taken when they came in.
    pub fn open(&self, stored: &Bytes, key: &ObjectKey) -> Result<Bytes, FormatError> {
        self.check_len(stored)?;
        let opened = key.open_piece(u64::from(self.number), self.piece_kind(), stored);
        let opened = opened.ok_or_else(|| self.corrupt("is not what was sealed here"))?;
        self.unpack(&opened, None)
    }

    fn piece_kind(&self) -> PieceKind {
        PieceKind::frame(self.codec, self.nblocks)
    }

    fn check_len(&self, stored: &Bytes) -> Result<(), FormatError> {
        let right = stored.len() as u64 == self.stored.end - self.stored.start;
        if right { Ok(()) } else { Err(self.corrupt("is cut short")) }
    }

    /// `packed` is what the codec made; `known_crc` is that of the plain bytes, if it was computed already.
    fn unpack(&self, packed: &Bytes, known_crc: Option<u32>) -> Result<Bytes, FormatError> {
        let plain = match self.codec {
            Codec::Raw => packed.clone(),
            Codec::Lz4 => self.unpack_lz4(packed)?,
            Codec::Zstd => super::object::decompress(packed, self.plain_len(), "frame")
                .map_err(|_| self.corrupt("does not decompress to its length"))?,
        };
        if plain.len() != self.plain_len() {
            return Err(self.corrupt("has the wrong plain length"));
        }
        if known_crc.unwrap_or_else(|| crc32c::crc32c(&plain)) != self.plain_crc {
            return Err(self.corrupt("plain crc does not match"));
        }
        Ok(plain)
    }

    fn unpack_lz4(&self, stored: &[u8]) -> Result<Bytes, FormatError> {
        let mut plain = vec![0; self.plain_len()];
        match lz4_flex::block::decompress_into(stored, &mut plain) {
            Ok(len) if len == plain.len() => Ok(plain.into()),
            _ => Err(self.corrupt("does not decompress to its length")),
        }
    }

    fn corrupt(&self, problem: &str) -> FormatError {
        FormatError::corrupt(format!("frame {} {problem}", self.number))
    }
}
