//! Meta of a segment (§4.3): which blocks of the disk its frames hold, and which blocks it clears.
//!
//! ```text
//!  0 8 writer nonce   24 8 unix ms   40 4 crc of the previous segment's prelude
//!  8 8 first_wseq     32 4 n_data    44 4 reserved
//! 16 8 last_wseq      36 4 n_zero    48   n_data x 24, n_zero x 16
//!
//! DATA  0 6 lba  6 1 codec  7 1 flags  8 4 nblocks  12 4 stored_len  16 4 stored crc  20 4 plain crc
//! ZERO  0 8 lba  8 4 nblocks  12 4 flags
//! ```
//!
//! The body is the stored frames in record order without gaps. Records of each kind are sorted by lba; no two
//! records of either kind overlap, so order inside a segment has no meaning.

use super::error::FormatError;
use super::frame::{Codec, Frame, MAX_FRAME_BLOCKS};
use super::ids::{BLOCK_BYTES, BlockRange, Lba, Nonce, Writer, Wseq};
use super::names::ObjectName;
use super::object::Head;
use super::prelude::{Kind, MAX_META_LEN, SEAL_TAG_LEN as TAG};
use super::seal::Sealing;
use super::wire::{Reader, put_u48};
use super::{FormatErrorKind, VolumeId};
use bytes::{BufMut, Bytes};

/// Length of the fixed part of a segment meta.
pub const SEGMENT_HEADER_LEN: usize = 48;
/// Length of a DATA record.
pub const DATA_RECORD_LEN: usize = 24;
/// Length of a ZERO record.
pub const ZERO_RECORD_LEN: usize = 16;
/// Most blocks a disk has: what the 48 bits of an lba can say.
pub const MAX_BLOCKS: u64 = 1 << 48;

/// One frame's place on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRecord {
    /// First block on the disk.
    pub lba: Lba,
    /// Blocks, 1 to 64.
    pub nblocks: u32,
    /// How the frame is stored.
    pub codec: Codec,
    /// Its stored length in bytes, with its tag if it is sealed.
    pub stored_len: u32,
    /// crc32c of the stored bytes; 0 if the segment is sealed, whose tags say more.
    pub stored_crc: u32,
    /// crc32c of the plain bytes.
    pub plain_crc: u32,
}

/// Blocks that read as zeros from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZeroRecord {
    /// First block on the disk.
    pub lba: Lba,
    /// Blocks, at least 1.
    pub nblocks: u32,
}

impl DataRecord {
    /// The blocks.
    pub fn range(&self) -> BlockRange {
        BlockRange::new(self.lba, u64::from(self.nblocks))
    }
}

impl ZeroRecord {
    /// The blocks.
    pub fn range(&self) -> BlockRange {
        BlockRange::new(self.lba, u64::from(self.nblocks))
    }
}

/// Everything a segment says about itself besides its prelude.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentMeta {
    /// The writer's nonce, as in the object's name.
    pub nonce: Nonce,
    /// First mutation in it; 0 in moved segments.
    pub first_wseq: Wseq,
    /// Last mutation in it. In moved segments: the disk held these blocks after this mutation; 0 if none is known.
    pub last_wseq: Wseq,
    /// When it was built; for people only.
    pub unix_ms: u64,
    /// Prelude crc of the previous log segment of this epoch; 0 for the first and for moved segments.
    pub prev_prelude_crc: u32,
    /// The frames.
    pub data: Vec<DataRecord>,
    /// The cleared ranges.
    pub zero: Vec<ZeroRecord>,
}

impl SegmentMeta {
    /// The bytes, before compression.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        out.put_u64_le(self.nonce.0);
        out.put_u64_le(self.first_wseq.0);
        out.put_u64_le(self.last_wseq.0);
        out.put_u64_le(self.unix_ms);
        out.put_u32_le(u32::try_from(self.data.len()).expect("a segment is bounded by its builder"));
        out.put_u32_le(u32::try_from(self.zero.len()).expect("a segment is bounded by its builder"));
        out.put_u32_le(self.prev_prelude_crc);
        out.put_u32_le(0);
        for record in &self.data {
            put_u48(&mut out, record.lba.0);
            out.put_u8(record.codec.to_byte());
            out.put_u8(0);
            out.put_u32_le(record.nblocks);
            out.put_u32_le(record.stored_len);
            out.put_u32_le(record.stored_crc);
            out.put_u32_le(record.plain_crc);
        }
        for record in &self.zero {
            out.put_u64_le(record.lba.0);
            out.put_u32_le(record.nblocks);
            out.put_u32_le(0);
        }
        out
    }

    /// Length of [`encode`](Self::encode)'s result.
    pub fn encoded_len(&self) -> usize {
        SEGMENT_HEADER_LEN + self.data.len() * DATA_RECORD_LEN + self.zero.len() * ZERO_RECORD_LEN
    }

    /// Whether the meta of a segment with so many records stays within what readers accept.
    pub fn fits(n_data: usize, n_zero: usize) -> bool {
        SEGMENT_HEADER_LEN + n_data * DATA_RECORD_LEN + n_zero * ZERO_RECORD_LEN <= MAX_META_LEN as usize
    }

    /// Reads and validates the head of a segment that was found under `name` (`l/` or `g/`).
    ///
    /// # Errors
    ///
    /// As [`Head::open`]; `WrongPlace` for a fence or another writer's segment, `Corrupt` for records that are
    /// unsorted, overlap, leave the address space, or do not add up to the body. The error names the object.
    pub fn parse_object(
        name: ObjectName,
        volume: VolumeId,
        bytes: &Bytes,
        sealing: &Sealing,
    ) -> Result<(Head, Self), FormatError> {
        let parse = || {
            let head = Head::open(name, volume, bytes, sealing)?;
            let meta = Self::parse(&head)?;
            if name.writer().is_some_and(|Writer { nonce, .. }| nonce != meta.nonce) {
                return Err(FormatError::misplaced("segment of another writer's nonce"));
            }
            Ok((head, meta))
        };
        parse().map_err(|error: FormatError| error.in_object(name))
    }

    /// Reads and validates the meta of a verified head.
    ///
    /// # Errors
    ///
    /// As [`parse_object`](Self::parse_object).
    pub fn parse(head: &Head) -> Result<Self, FormatError> {
        let kind = head.prelude.place.kind;
        if !matches!(kind, Kind::Log | Kind::Moved) {
            return Err(FormatError::misplaced(format!("is of kind {kind:?}, not a segment")));
        }
        let mut fields = Reader::new(&head.meta, "segment meta");
        let mut meta = Self {
            nonce: Nonce(fields.u64()?),
            first_wseq: Wseq(fields.u64()?),
            last_wseq: Wseq(fields.u64()?),
            unix_ms: fields.u64()?,
            ..Self::default()
        };
        let n_data = fields.u32()?;
        let n_zero = fields.u32()?;
        meta.prev_prelude_crc = fields.u32()?;
        fields.reserved(4)?;
        let n_data = fields.fits(u64::from(n_data), DATA_RECORD_LEN)?;
        meta.data.reserve_exact(n_data);
        for _ in 0..n_data {
            meta.data.push(read_data(&mut fields, head.prelude.sealed)?);
        }
        let n_zero = fields.fits(u64::from(n_zero), ZERO_RECORD_LEN)?;
        meta.zero.reserve_exact(n_zero);
        for _ in 0..n_zero {
            meta.zero.push(read_zero(&mut fields)?);
        }
        fields.end()?;
        meta.validate(kind, head.prelude.body_len)?;
        Ok(meta)
    }

    fn validate(&self, kind: Kind, body_len: u64) -> Result<(), FormatError> {
        let wseq_right = match kind {
            Kind::Log => self.first_wseq <= self.last_wseq,
            _ => self.first_wseq == Wseq(0),
        };
        if !wseq_right {
            return Err(FormatError::corrupt("segment has a mutation range that cannot be"));
        }
        let mut data = self.data.iter().map(DataRecord::range).peekable();
        let mut zero = self.zero.iter().map(ZeroRecord::range).peekable();
        let mut end = Lba(0);
        loop {
            let next = match (data.peek(), zero.peek()) {
                (Some(left), Some(right)) if left.start <= right.start => data.next(),
                (_, Some(_)) => zero.next(),
                (_, None) => data.next(),
            };
            let Some(range) = next else { break };
            if range.start < end || range.end().0 > MAX_BLOCKS {
                return Err(FormatError::corrupt("segment records overlap, are out of order or out of bounds"));
            }
            end = range.end();
        }
        let stored: u64 = self.data.iter().map(|record| u64::from(record.stored_len)).sum();
        if stored != body_len {
            return Err(FormatError::corrupt("segment records do not add up to the body"));
        }
        Ok(())
    }

    /// Blocks of data in it.
    pub fn lblocks(&self) -> u32 {
        self.data.iter().map(|record| record.nblocks).sum()
    }

    /// The frames in order, with their places; `body_offset` is [`Prelude::body_offset`](super::Prelude).
    pub fn frames(&self, body_offset: u64) -> impl Iterator<Item = (Lba, Frame)> + '_ {
        let mut at = body_offset;
        let mut lblk = 0;
        (0..).zip(&self.data).map(move |(number, record)| {
            let frame = Frame {
                number,
                stored: at..at + u64::from(record.stored_len),
                lblk,
                nblocks: record.nblocks,
                codec: record.codec,
                stored_crc: record.stored_crc,
                plain_crc: record.plain_crc,
            };
            at = frame.stored.end;
            lblk += record.nblocks;
            (record.lba, frame)
        })
    }

    /// The data as the map sees it: runs of consecutive blocks, whatever their frames.
    pub fn layout(&self) -> Vec<LayoutRun> {
        let mut runs: Vec<LayoutRun> = Vec::new();
        let mut lblk = 0;
        for record in &self.data {
            match runs.last_mut() {
                Some(run) if run.lba.plus(u64::from(run.nblocks)) == record.lba => run.nblocks += record.nblocks,
                _ => runs.push(LayoutRun { lba: record.lba, nblocks: record.nblocks, lblk }),
            }
            lblk += record.nblocks;
        }
        runs
    }
}

/// Consecutive blocks of the disk that lie consecutively in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutRun {
    /// First block on the disk.
    pub lba: Lba,
    /// Blocks.
    pub nblocks: u32,
    /// First block in the segment.
    pub lblk: u32,
}

fn read_data(fields: &mut Reader<'_>, sealed: bool) -> Result<DataRecord, FormatError> {
    let lba = Lba(fields.u48()?);
    let codec = fields.u8()?;
    let Some(codec) = Codec::from_byte(codec) else {
        return Err(FormatError::new(FormatErrorKind::FutureVersion, format!("codec {codec} is not known")));
    };
    fields.reserved(1)?;
    let record = DataRecord {
        lba,
        nblocks: fields.u32()?,
        codec,
        stored_len: fields.u32()?,
        stored_crc: fields.u32()?,
        plain_crc: fields.u32()?,
    };
    if !(1..=MAX_FRAME_BLOCKS).contains(&record.nblocks) {
        return Err(fields.corrupt("has a frame of no or too many blocks"));
    }
    let plain_len = record.nblocks * BLOCK_BYTES;
    let unsealed_len = record.stored_len.checked_sub(if sealed { TAG } else { 0 });
    let stored_right = unsealed_len.is_some_and(|len| match codec {
        Codec::Raw => len == plain_len,
        Codec::Lz4 | Codec::Zstd => (1..plain_len).contains(&len),
    });
    if sealed && record.stored_crc != 0 {
        return Err(fields.corrupt("has the crc of a sealed frame"));
    }
    if stored_right { Ok(record) } else { Err(fields.corrupt("has a frame of impossible length")) }
}

fn read_zero(fields: &mut Reader<'_>) -> Result<ZeroRecord, FormatError> {
    let record = ZeroRecord { lba: Lba(fields.u64()?), nblocks: fields.u32()? };
    fields.reserved(4)?;
    if record.nblocks == 0 || record.lba.0 >= MAX_BLOCKS {
        return Err(fields.corrupt("has a cleared range out of bounds"));
    }
    Ok(record)
}
