//! Reading little-endian fields out of untrusted bytes.

use super::error::FormatError;
use super::ids::{Epoch, Nonce, Writer};
use bytes::BufMut;
use uuid::Uuid;

/// A cursor over one structure; every read past its end is an error that names the structure.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, called `what` in errors.
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.corrupt("is cut short"));
        };
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FormatError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u48(&mut self) -> Result<u64, FormatError> {
        let mut wide = [0; 8];
        wide[..6].copy_from_slice(self.bytes(6)?);
        Ok(u64::from_le_bytes(wide))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, FormatError> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    /// `epoch u64, nonce u64`.
    pub(crate) fn writer(&mut self) -> Result<Writer, FormatError> {
        let epoch = u32::try_from(self.u64()?).map_err(|_| self.corrupt("has an epoch of more than 32 bits"))?;
        Ok(Writer { epoch: Epoch(epoch), nonce: Nonce(self.u64()?) })
    }

    /// Reserved bytes: anything but zero belongs to a version that this one does not know.
    pub(crate) fn reserved(&mut self, len: usize) -> Result<(), FormatError> {
        if self.bytes(len)?.iter().any(|&byte| byte != 0) {
            return Err(self.corrupt("has a reserved field that is not zero"));
        }
        Ok(())
    }

    /// A `u16` length and that many bytes of utf-8.
    pub(crate) fn string(&mut self) -> Result<String, FormatError> {
        let len = self.u16()?;
        let bytes = self.bytes(usize::from(len))?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.corrupt("has a text that is not utf-8")),
        }
    }

    /// A `u32` count of items, each of at least `item_min` bytes: held against the bytes that are left, so it is
    /// safe to allocate by.
    pub(crate) fn count(&mut self, item_min: usize) -> Result<usize, FormatError> {
        let count = self.u32()?;
        self.fits(u64::from(count), item_min)
    }

    pub(crate) fn fits(&self, count: u64, item_min: usize) -> Result<usize, FormatError> {
        match usize::try_from(count) {
            Ok(count) if count <= self.rest.len() / item_min => Ok(count),
            _ => Err(self.corrupt("counts more items than it holds")),
        }
    }

    /// LEB128, shortest form only, so that one value has one encoding.
    pub(crate) fn varint(&mut self) -> Result<u64, FormatError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 || (byte == 0 && shift > 0) {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.corrupt("has a malformed varint"))
    }

    /// The end: nothing may be left.
    pub(crate) fn end(self) -> Result<(), FormatError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.corrupt("has bytes after its end")) }
    }

    pub(crate) fn corrupt(&self, problem: &str) -> FormatError {
        FormatError::corrupt(format!("{} {problem}", self.what))
    }
}

/// Appends `value` as LEB128.
#[expect(clippy::cast_possible_truncation, reason = "the last seven bits")]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Maps signed to unsigned so that small magnitudes stay small; 0, -1, 1, -2 become 0, 1, 2, 3.
pub(crate) mod zigzag {
    /// To unsigned.
    pub(crate) fn encode(value: i64) -> u64 {
        (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
    }

    /// The inverse of [`encode`].
    pub(crate) fn decode(value: u64) -> i64 {
        (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
    }
}

/// Appends a text as [`Reader::string`] reads it. The caller holds it below 64 KiB.
pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    let len = u16::try_from(text.len()).expect("texts of the format are shorter than 64 KiB");
    out.put_u16_le(len);
    out.put_slice(text.as_bytes());
}

/// Appends a writer as [`Reader::writer`] reads it.
pub(crate) fn put_writer(out: &mut Vec<u8>, writer: Writer) {
    out.put_u64_le(u64::from(writer.epoch.0));
    out.put_u64_le(writer.nonce.0);
}

/// Appends the low 48 bits of `value`.
pub(crate) fn put_u48(out: &mut Vec<u8>, value: u64) {
    assert!(value < 1 << 48, "a disk has fewer than 2^48 blocks");
    out.put_slice(&value.to_le_bytes()[..6]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_come_back(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut reader = Reader::new(&out, "test");
            prop_assert_eq!(reader.varint().unwrap(), value);
            prop_assert!(reader.end().is_ok());
        }

        #[test]
        fn zigzag_comes_back(value: i64) {
            prop_assert_eq!(zigzag::decode(zigzag::encode(value)), value);
        }

        #[test]
        fn a_varint_has_one_encoding(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes, "test");
            if let Ok(value) = reader.varint() {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                prop_assert_eq!(&out[..], &bytes[..bytes.len() - reader.remaining()]);
            }
        }
    }

    #[test]
    fn a_count_is_held_against_the_bytes_left() {
        let error = Reader::new(&u32::MAX.to_le_bytes(), "list").count(1).unwrap_err();
        assert_eq!(error.to_string(), "list counts more items than it holds");
    }
}
