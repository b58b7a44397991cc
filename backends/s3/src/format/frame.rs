//! A frame: the unit of compression and checksum, at most 64 consecutive blocks.

use super::error::FormatError;
use super::ids::BLOCK_SIZE;
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
    /// crc32c of the stored bytes.
    pub stored_crc: u32,
    /// crc32c of the plain bytes.
    pub plain_crc: u32,
}

impl Frame {
    /// Length of the plain bytes.
    pub fn plain_len(&self) -> usize {
        self.nblocks as usize * BLOCK_SIZE
    }

    /// Verifies and decompresses the stored bytes. Raw frames are returned without a copy.
    ///
    /// # Errors
    ///
    /// `Corrupt`, naming the frame, when length, either crc or the compressed form does not hold: never zeros.
    pub fn decode(&self, stored: &Bytes) -> Result<Bytes, FormatError> {
        if stored.len() as u64 != self.stored.end - self.stored.start {
            return Err(self.corrupt("is cut short"));
        }
        if crc32c::crc32c(stored) != self.stored_crc {
            return Err(self.corrupt("stored crc does not match"));
        }
        let plain = match self.codec {
            Codec::Raw => stored.clone(),
            Codec::Lz4 => self.unpack_lz4(stored)?,
            Codec::Zstd => super::object::decompress(stored, self.plain_len(), "frame")
                .map_err(|_| self.corrupt("does not decompress to its length"))?,
        };
        if plain.len() != self.plain_len() {
            return Err(self.corrupt("has the wrong plain length"));
        }
        // The stored bytes of a raw frame are its plain bytes, and their crc has just held.
        let plain_crc = if self.codec == Codec::Raw { self.stored_crc } else { crc32c::crc32c(&plain) };
        if plain_crc != self.plain_crc {
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
