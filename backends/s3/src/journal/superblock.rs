//! The superblocks: what a journal belongs to and where its chain begins.
//!
//! ```text
//!  0  4 magic "OLJ1"      40 8 epoch of the writer      80 8 tail: position
//!  4  1 kind 'A'          48 8 count                    88 4 tail: crc of the header before it
//!  5  1 format version    56 8 generation               92 1 spent
//!  6  2 flags             64 8 ring size                93   zeros
//!  8 16 journal uuid      72 8 tail: lsn              4092 4 crc32c of bytes 0..4092
//! 24 16 volume uuid
//! ```
//!
//! Two copies, in blocks 0 and 1; number `count` goes to block `count % 2`, and the valid one with the higher count
//! holds. One that was torn by a power loss leaves the other, whose tail is still there: space is reused only after the
//! superblock that frees it is stable.

use bytes::{BufMut, Bytes};
use uuid::Uuid;

use super::RING_START;
use crate::format::{BLOCK_SIZE, Epoch, FormatError, FormatErrorKind, Reader, VolumeId};

/// The first bytes of superblocks and records.
pub(crate) const MAGIC: [u8; 4] = *b"OLJ1";
/// The version of superblocks and records that this code writes and knows.
pub(crate) const VERSION: u8 = 1;
const KIND: u8 = b'A';
const CRC_AT: usize = BLOCK_SIZE - 4;

/// So many bytes from the start must be zero in what is taken for unused: no file system or volume manager keeps its
/// mark behind that.
pub(crate) const BLANK: u64 = 128 << 10;

/// A border between two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Number of the record behind it.
    pub(crate) lsn: u64,
    /// Its position in the ring.
    pub(crate) position: u64,
    /// crc of the header before it.
    pub(crate) prev_crc: u32,
}

/// See the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// The journal.
    pub(crate) journal: Uuid,
    /// The only volume it ever serves.
    pub(crate) volume: VolumeId,
    /// The writer that used it last.
    pub(crate) epoch: Epoch,
    /// Number of this superblock.
    pub(crate) count: u64,
    /// Of the records that are written from here on; grows with each opening.
    pub(crate) generation: u64,
    /// Bytes of the ring.
    pub(crate) ring: u64,
    /// Where the chain begins.
    pub(crate) tail: Mark,
    /// Nothing in it is missing in the bucket.
    pub(crate) spent: bool,
}

/// What the start of a medium holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nothing yet.
    Blank,
    /// A journal.
    Journal(Superblock),
}

impl Superblock {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(BLOCK_SIZE);
        bytes.put_slice(&MAGIC);
        bytes.put_u8(KIND);
        bytes.put_u8(VERSION);
        bytes.put_u16_le(0);
        bytes.put_slice(self.journal.as_bytes());
        bytes.put_slice(self.volume.0.as_bytes());
        bytes.put_u64_le(u64::from(self.epoch.0));
        bytes.put_u64_le(self.count);
        bytes.put_u64_le(self.generation);
        bytes.put_u64_le(self.ring);
        bytes.put_u64_le(self.tail.lsn);
        bytes.put_u64_le(self.tail.position);
        bytes.put_u32_le(self.tail.prev_crc);
        bytes.put_u8(u8::from(self.spent));
        bytes.resize(CRC_AT, 0);
        let crc = crc32c::crc32c(&bytes);
        bytes.put_u32_le(crc);
        bytes.into()
    }

    /// Where on the medium it goes.
    pub(crate) fn offset(&self) -> u64 {
        self.count % 2 * BLOCK_SIZE as u64
    }

    /// Reads one copy.
    fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(FormatError::new(FormatErrorKind::NotOurs, "no journal"));
        }
        let mut crc = Reader::new(&bytes[CRC_AT..], "journal superblock");
        if crc32c::crc32c(&bytes[..CRC_AT]) != crc.u32()? {
            return Err(FormatError::corrupt("journal superblock: crc does not match"));
        }
        let mut fields = Reader::new(&bytes[MAGIC.len()..CRC_AT], "journal superblock");
        let (kind, version, flags) = (fields.u8()?, fields.u8()?, fields.u16()?);
        if kind != KIND || version != VERSION || flags != 0 {
            let text = format!("journal format version {version} with flags {flags:#x} is not known to this version");
            return Err(FormatError::new(FormatErrorKind::FutureVersion, text));
        }
        let superblock = Self {
            journal: fields.uuid()?,
            volume: VolumeId(fields.uuid()?),
            epoch: Epoch(
                u32::try_from(fields.u64()?).map_err(|_| fields.corrupt("has an epoch of more than 32 bits"))?,
            ),
            count: fields.u64()?,
            generation: fields.u64()?,
            ring: fields.u64()?,
            tail: Mark { lsn: fields.u64()?, position: fields.u64()?, prev_crc: fields.u32()? },
            spent: match fields.u8()? {
                0 => false,
                1 => true,
                _ => return Err(fields.corrupt("has a flag that is neither 0 nor 1")),
            },
        };
        fields.reserved(fields.remaining())?;
        let block = BLOCK_SIZE as u64;
        let whole = superblock.ring > 0
            && superblock.ring.is_multiple_of(block)
            && superblock.tail.position.is_multiple_of(block);
        if whole { Ok(superblock) } else { Err(FormatError::corrupt("journal superblock: not in whole blocks")) }
    }
}

/// What `bytes`, the first [`BLANK`] bytes of a medium of `size` bytes or all of a shorter one, begin with.
///
/// A single damaged copy among nothing but zeros is a creation that a power loss cut short: both copies are stable before
/// the first record is written.
pub(crate) fn read(size: u64, bytes: &[u8]) -> Result<Start, FormatError> {
    let Some((first, rest)) = bytes.split_at_checked(BLOCK_SIZE).filter(|(_, rest)| rest.len() >= BLOCK_SIZE) else {
        return Err(FormatError::corrupt("too short for a journal"));
    };
    let (second, rest) = rest.split_at(BLOCK_SIZE);
    let mut damaged = None;
    let mut newest: Option<Superblock> = None;
    for copy in [first, second] {
        match Superblock::parse(copy) {
            Ok(superblock) if newest.is_none_or(|known| known.count < superblock.count) => newest = Some(superblock),
            Err(error) if error.kind() == FormatErrorKind::FutureVersion => return Err(error),
            Err(error) if error.kind() == FormatErrorKind::Corrupt => damaged = Some(error),
            Ok(_) | Err(_) => {}
        }
    }
    if let Some(superblock) = newest {
        let have = size.saturating_sub(RING_START);
        if have < superblock.ring {
            let text = format!("the journal was cut: its ring has {} bytes, {have} are there", superblock.ring);
            return Err(FormatError::corrupt(text));
        }
        return Ok(Start::Journal(superblock));
    }
    let zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
    if zero(rest) && (zero(first) || zero(second)) && (damaged.is_some() || (zero(first) && zero(second))) {
        return Ok(Start::Blank);
    }
    Err(damaged.unwrap_or_else(|| FormatError::new(FormatErrorKind::NotOurs, "it holds something else than a journal")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock() -> Superblock {
        Superblock {
            journal: Uuid::from_u128(0x1111_2222_3333_4444_5555_6666_7777_8888),
            volume: VolumeId(Uuid::from_u128(0x99)),
            epoch: Epoch(7),
            count: 2,
            generation: 3,
            ring: 16 << 20,
            tail: Mark { lsn: 9, position: 40_960, prev_crc: 0xdead_beef },
            spent: true,
        }
    }

    fn start(copies: [&[u8]; 2]) -> Vec<u8> {
        let mut bytes = copies.concat();
        bytes.resize(usize::try_from(BLANK).unwrap(), 0);
        bytes
    }

    const ZEROS: [u8; BLOCK_SIZE] = [0; BLOCK_SIZE];
    const SIZE: u64 = (16 << 20) + RING_START;

    #[test]
    fn the_bytes_of_a_superblock_are_these() {
        let bytes = superblock().encode();
        assert_eq!(bytes.len(), BLOCK_SIZE);
        assert_eq!(&bytes[..8], b"OLJ1A\x01\0\0");
        assert_eq!(bytes[8..24], superblock().journal.into_bytes());
        assert_eq!(bytes[24..40], superblock().volume.0.into_bytes());
        let fields: Vec<u64> =
            bytes[40..88].chunks(8).map(|field| u64::from_le_bytes(field.try_into().unwrap())).collect();
        assert_eq!(fields, [7, 2, 3, 16 << 20, 9, 40_960]);
        assert_eq!(bytes[88..94], [0xef, 0xbe, 0xad, 0xde, 1, 0]);
        assert!(bytes[94..CRC_AT].iter().all(|&byte| byte == 0));
        assert_eq!(bytes[CRC_AT..], crc32c::crc32c(&bytes[..CRC_AT]).to_le_bytes());
    }

    #[test]
    fn the_newer_copy_holds_and_a_torn_one_leaves_the_other() {
        let (old, new) = (superblock(), Superblock { count: 3, ..superblock() });
        let both = start([&old.encode(), &new.encode()]);
        assert_eq!(read(SIZE, &both), Ok(Start::Journal(new)));
        for cut in (0..BLOCK_SIZE).step_by(512).skip(1) {
            let mut torn = new.encode().to_vec();
            torn[cut..].fill(0x5a);
            assert_eq!(read(SIZE, &start([&old.encode(), &torn])), Ok(Start::Journal(old)), "cut at {cut}");
        }
        let mut rotten = new.encode().to_vec();
        rotten[60] ^= 1;
        let refused = read(SIZE, &start([&rotten, &rotten])).unwrap_err();
        assert_eq!(refused.kind(), FormatErrorKind::Corrupt);
    }

    #[test]
    fn what_is_no_journal_is_told_apart() {
        assert_eq!(read(SIZE, &start([&ZEROS, &ZEROS])), Ok(Start::Blank));
        let mut torn = superblock().encode().to_vec();
        torn[2048..].fill(0);
        assert_eq!(read(SIZE, &start([&torn, &ZEROS])), Ok(Start::Blank), "a creation that was cut short");
        let mut file_system = start([&ZEROS, &ZEROS]);
        file_system[65_600] = b'_';
        assert_eq!(read(SIZE, &file_system).unwrap_err().kind(), FormatErrorKind::NotOurs);
        let mut used = start([&torn, &ZEROS]);
        used[9000] = 1;
        assert_eq!(read(SIZE, &used).unwrap_err().kind(), FormatErrorKind::Corrupt);
        let mut future = superblock().encode().to_vec();
        future[5] = 2;
        let crc = crc32c::crc32c(&future[..CRC_AT]);
        future[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(read(SIZE, &start([&future, &ZEROS])).unwrap_err().kind(), FormatErrorKind::FutureVersion);
        let cut = read(SIZE - 4096, &start([&superblock().encode(), &ZEROS])).unwrap_err();
        assert!(cut.what().contains("cut"), "{cut}");
        assert_eq!(read(4096, &ZEROS).unwrap_err().kind(), FormatErrorKind::Corrupt);
    }
}
