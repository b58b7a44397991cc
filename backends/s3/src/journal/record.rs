//! Records: some mutations in their order, chained to the record before.
//!
//! ```text
//!  0  4 magic "OLJ1"          48 4 number of extents
//!  4  1 kind 'R' or 'P' (pad) 52 4 payload blocks
//!  5  1 format version        56 4 crc32c of the header before
//!  6  2 flags                 60 4 crc32c of the payload
//!  8 16 journal uuid          64 8 generation
//! 24  8 lsn                   72 4 crc32c of this header, this field as 0
//! 32  8 first mutation        76 4 records before this one that may not be stable yet
//! 40  8 last mutation         80   n x 16: lba u48, kind u8, flags u8, nblocks u32, crc32c u32
//! ```
//!
//! With flag 1, of an encrypted disk, from 80 on: 4 data key, 12 zeros, 16 tag of the header with this field and the crc
//! as zeros, n x 32: as above and a tag. What is sealed of an extent are its bytes and then their crc, which stands in the
//! table sealed as well. Extents of zeros have no tag: that of the header covers them.
//!
//! The payload follows the header: the data extents one behind the other. The crc of an extent is that of its bytes as
//! they came in. Flag 1 of an extent begins a mutation, so that a reader knows which extents belong to which; the
//! payload of a pad is the rest of the ring, and is neither written nor read.

use std::sync::LazyLock;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

use super::superblock::{MAGIC, VERSION};
use crate::{
    checked::Checked,
    format::{BLOCK_SIZE, BlockRange, FormatError, FormatErrorKind, Lba, Reader, Wseq, seal::TAG_LEN},
    keys::{JournalKey, RecordPlace},
};

/// Payload blocks of one record at most: far beyond what is written.
const MAX_PAYLOAD: u32 = 16 << 10;
const RECORD: u8 = b'R';
const PAD: u8 = b'P';
const CRC_AT: usize = 72;
const EXTENTS_AT: usize = 80;
const EXTENT_LEN: usize = 16;
const SEALED: u16 = 1;
const SEAL_LEN: usize = 32;
const TAG_AT: usize = 96;
const ZERO: u8 = 0;
const DATA: u8 = 1;
const BEGINS: u8 = 1;

/// Where a record stands in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) journal: Uuid,
    pub(crate) generation: u64,
    pub(crate) lsn: u64,
    /// crc of the header before.
    pub(crate) prev_crc: u32,
    /// Records directly before this one that may not be stable yet.
    pub(crate) unsynced: u32,
}

/// A run of bytes of an extent.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Data(Checked),
    /// So many blocks of zeros inside a data extent.
    Zeros(u64),
}

/// An extent that is to be written.
#[derive(Clone, Debug)]
pub(crate) struct ExtentJob {
    pub(crate) range: BlockRange,
    /// It is the first of its mutation.
    pub(crate) begins: bool,
    /// Empty for an extent of zeros.
    pub(crate) parts: Vec<Part>,
}

/// A record that is to be written.
#[derive(Clone, Debug)]
pub(crate) struct RecordJob {
    /// Of the record, or of the pad before it.
    pub(crate) link: Link,
    /// First and last mutation.
    pub(crate) mutations: (Wseq, Wseq),
    pub(crate) extents: Vec<ExtentJob>,
    /// Where on the medium a pad goes, and its blocks beside its header.
    pub(crate) pad: Option<(u64, u32)>,
    /// Where on the medium the record goes.
    pub(crate) offset: u64,
}

/// A record as bytes.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// Header and payload.
    pub(crate) slices: Vec<Bytes>,
    /// What the next record names.
    pub(crate) header_crc: u32,
}

impl ExtentJob {
    fn payload_blocks(&self) -> u64 {
        if self.parts.is_empty() { 0 } else { self.range.nblocks }
    }
}

/// Bytes of a record with so many payload blocks.
pub(crate) fn record_len(payload_blocks: u64) -> u64 {
    (1 + payload_blocks) * BLOCK_SIZE as u64
}

/// Extents of one record at most.
pub(crate) const fn max_extents(is_sealed: bool) -> usize {
    if is_sealed {
        (BLOCK_SIZE - EXTENTS_AT - SEAL_LEN) / (EXTENT_LEN + TAG_LEN)
    } else {
        (BLOCK_SIZE - EXTENTS_AT) / EXTENT_LEN
    }
}

/// The bytes of the record of `job` at `link`, sealed if there is a key: once, since a place is sealed once.
pub(crate) fn encode_record(link: &Link, job: &RecordJob, key: Option<&JournalKey>) -> Encoded {
    let room = max_extents(key.is_some());
    assert!((1..=room).contains(&job.extents.len()), "a record has some extents, and room for them");
    let mut slices = vec![Bytes::new()];
    let (mut table, mut payload_crc) = (Vec::with_capacity(BLOCK_SIZE), 0);
    for (number, extent) in job.extents.iter().enumerate() {
        let (plain, crc) = plain(extent);
        let Some(key) = key else {
            put_extent(&mut table, extent, crc);
            slices.extend(plain);
            continue;
        };
        if plain.is_empty() {
            put_extent(&mut table, extent, 0);
            table.put_bytes(0, TAG_LEN);
            continue;
        }
        let mut bytes = BytesMut::with_capacity(in_memory(extent.range.nblocks) * BLOCK_SIZE + 4);
        for slice in &plain {
            bytes.put_slice(slice);
        }
        bytes.put_u32_le(crc);
        let (mut sealed, tag) = key.seal_in_place(record_place(link.lsn, number, extent.range), bytes);
        let mut crc = sealed.split_off(sealed.len() - 4);
        put_extent(&mut table, extent, crc.get_u32_le());
        table.put_slice(&tag);
        slices.push(sealed);
    }
    for slice in &slices {
        payload_crc = crc32c::crc32c_append(payload_crc, slice);
    }
    let blocks = job.extents.iter().map(ExtentJob::payload_blocks).sum();
    let body = Body { mutations: job.mutations, extents: job.extents.len(), blocks, payload_crc };
    let (header, header_crc) = encode_header(RECORD, link, &body, &table, key);
    slices[0] = header;
    Encoded { slices, header_crc }
}

/// The bytes of an extent, and their crc as they came in.
fn plain(extent: &ExtentJob) -> (Vec<Bytes>, u32) {
    let (mut slices, mut crc) = (Vec::new(), 0);
    for part in &extent.parts {
        match part {
            Part::Data(data) => {
                crc = data.append_to(crc);
                slices.push(data.bytes().clone());
            }
            Part::Zeros(nblocks) => {
                for _ in 0..*nblocks {
                    crc = zero_block().append_to(crc);
                    slices.push(zero_block().bytes().clone());
                }
            }
        }
    }
    (slices, crc)
}

fn record_place(lsn: u64, number: usize, range: BlockRange) -> RecordPlace {
    let narrow = |count: u64| u32::try_from(count).expect("extents are cut before");
    RecordPlace { lsn, extent: narrow(number as u64), lba: range.start.0, nblocks: narrow(range.nblocks) }
}

/// The header that covers the rest of the ring, of which `blocks` follow the header.
pub(crate) fn encode_pad(link: &Link, blocks: u32, key: Option<&JournalKey>) -> Encoded {
    let body = Body { mutations: (Wseq(0), Wseq(0)), extents: 0, blocks: u64::from(blocks), payload_crc: 0 };
    let (header, header_crc) = encode_header(PAD, link, &body, &[], key);
    Encoded { slices: vec![header], header_crc }
}

struct Body {
    mutations: (Wseq, Wseq),
    extents: usize,
    blocks: u64,
    payload_crc: u32,
}

fn encode_header(kind: u8, link: &Link, body: &Body, table: &[u8], key: Option<&JournalKey>) -> (Bytes, u32) {
    let narrow = |count: u64| u32::try_from(count).expect("records are short");
    let mut bytes = Vec::with_capacity(BLOCK_SIZE);
    bytes.put_slice(&MAGIC);
    bytes.put_u8(kind);
    bytes.put_u8(VERSION);
    bytes.put_u16_le(if key.is_some() { SEALED } else { 0 });
    bytes.put_slice(link.journal.as_bytes());
    bytes.put_u64_le(link.lsn);
    bytes.put_u64_le(body.mutations.0.0);
    bytes.put_u64_le(body.mutations.1.0);
    bytes.put_u32_le(narrow(body.extents as u64));
    bytes.put_u32_le(narrow(body.blocks));
    bytes.put_u32_le(link.prev_crc);
    bytes.put_u32_le(body.payload_crc);
    bytes.put_u64_le(link.generation);
    bytes.put_u32_le(0);
    bytes.put_u32_le(link.unsynced);
    if let Some(key) = key {
        bytes.put_u32_le(key.id());
        bytes.put_bytes(0, SEAL_LEN - 4);
    }
    bytes.put_slice(table);
    bytes.resize(BLOCK_SIZE, 0);
    if let Some(key) = key {
        let tag = key.vouch(link.lsn, &bytes);
        bytes[TAG_AT..TAG_AT + TAG_LEN].copy_from_slice(&tag);
    }
    let crc = crc32c::crc32c(&bytes);
    bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    (bytes.into(), crc)
}

fn put_extent(out: &mut Vec<u8>, extent: &ExtentJob, crc: u32) {
    out.put_uint_le(extent.range.start.0, 6);
    out.put_u8(if extent.parts.is_empty() { ZERO } else { DATA });
    out.put_u8(if extent.begins { BEGINS } else { 0 });
    out.put_u32_le(u32::try_from(extent.range.nblocks).expect("extents are cut before"));
    out.put_u32_le(crc);
}

fn zero_block() -> &'static Checked {
    static ZEROS: LazyLock<Checked> = LazyLock::new(|| Checked::new(Bytes::from_static(&[0; BLOCK_SIZE])));
    &ZEROS
}

/// What a header says, held against itself only; the chain is checked by who knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) link: Link,
    pub(crate) is_pad: bool,
    pub(crate) mutations: (Wseq, Wseq),
    pub(crate) payload_blocks: u32,
    pub(crate) crc: u32,
    /// The data key that sealed it.
    pub(crate) key_id: Option<u32>,
    payload_crc: u32,
    extents: Vec<Extent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Extent {
    range: BlockRange,
    is_data: bool,
    begins: bool,
    /// Sealed, if the record is.
    crc: u32,
    tag: [u8; TAG_LEN],
}

/// A record that was read.
#[derive(Clone, Debug)]
pub(crate) struct ReplayRecord {
    pub(crate) lsn: u64,
    /// Position in the ring of its header, which its payload follows.
    pub(crate) position: u64,
    pub(crate) mutations: Vec<ReplayMutation>,
}

/// A mutation that was read: its extents in order.
#[derive(Clone, Debug)]
pub(crate) struct ReplayMutation {
    pub(crate) wseq: Wseq,
    pub(crate) extents: Vec<MutationContent>,
}

/// An extent that was read.
#[derive(Clone, Debug)]
pub(crate) struct MutationContent {
    pub(crate) range: BlockRange,
    /// Its number in the record.
    pub(crate) number: u16,
    /// Where its bytes begin, in blocks of the payload; meaningless for zeros.
    pub(crate) at: u64,
    /// Its bytes; none for zeros.
    pub(crate) data: Option<Bytes>,
    /// The bytes are what came in.
    pub(crate) sound: bool,
}

impl Header {
    /// Length of header and payload.
    pub(crate) fn record_len(&self) -> u64 {
        record_len(u64::from(self.payload_blocks))
    }

    /// Reads a header.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() < BLOCK_SIZE || !bytes.starts_with(&MAGIC) {
            return Err(FormatError::new(FormatErrorKind::NotOurs, "no journal record"));
        }
        let mut whole = bytes[..BLOCK_SIZE].to_vec();
        let crc = Reader::new(&whole[CRC_AT..], "journal record").u32()?;
        whole[CRC_AT..CRC_AT + 4].fill(0);
        if crc32c::crc32c(&whole) != crc {
            return Err(FormatError::corrupt("journal record: crc of the header does not match"));
        }
        let mut fields = Reader::new(&whole[MAGIC.len()..], "journal record");
        let (kind, version, flags) = (fields.u8()?, fields.u8()?, fields.u16()?);
        if !matches!(kind, RECORD | PAD) || version != VERSION || flags & !SEALED != 0 {
            let text = format!("journal record of kind {kind:#x}, version {version}, flags {flags:#x} is not known");
            return Err(FormatError::new(FormatErrorKind::FutureVersion, text));
        }
        let journal = fields.uuid()?;
        let lsn = fields.u64()?;
        let mutations = (Wseq(fields.u64()?), Wseq(fields.u64()?));
        let count = fields.u32()? as usize;
        let payload_blocks = fields.u32()?;
        let (prev_crc, payload_crc) = (fields.u32()?, fields.u32()?);
        let generation = fields.u64()?;
        fields.u32()?;
        let link = Link { journal, generation, lsn, prev_crc, unsynced: fields.u32()? };
        let (is_pad, is_sealed) = (kind == PAD, flags & SEALED != 0);
        let key_id = is_sealed.then(|| fields.u32()).transpose()?;
        if is_sealed {
            fields.reserved(TAG_AT - EXTENTS_AT - 4)?;
            fields.bytes(TAG_LEN)?;
        }
        if count > max_extents(is_sealed) || is_pad != (count == 0) || (!is_pad && payload_blocks > MAX_PAYLOAD) {
            return Err(FormatError::corrupt("journal record: counts out of bounds"));
        }
        let extents = (0..count).map(|_| read_extent(&mut fields, is_sealed)).collect::<Result<Vec<_>, _>>()?;
        fields.reserved(fields.remaining())?;
        let header = Self { link, is_pad, mutations, payload_blocks, crc, key_id, payload_crc, extents };
        if header.is_consistent() {
            Ok(header)
        } else {
            Err(FormatError::corrupt("journal record: contradicts itself"))
        }
    }

    fn is_consistent(&self) -> bool {
        if self.is_pad {
            return self.mutations == (Wseq(0), Wseq(0));
        }
        let (first, last) = self.mutations;
        let begun = self.extents.iter().filter(|extent| extent.begins).count() as u64;
        let data = self.extents.iter().filter(|extent| extent.is_data).map(|extent| extent.range.nblocks).sum::<u64>();
        first.0 >= 1
            && last.0.checked_sub(first.0).is_some_and(|more| more + 1 == begun)
            && self.extents.first().is_some_and(|extent| extent.begins)
            && data == u64::from(self.payload_blocks)
    }

    /// The payload is what was written; whether it is what was sealed, its tags say.
    pub(crate) fn is_whole(&self, payload: &[u8]) -> bool {
        crc32c::crc32c(payload) == self.payload_crc
    }

    /// Holds the header, whose bytes are `block`, against its tag.
    pub(crate) fn authenticate(&self, block: &[u8], key: &JournalKey) -> Result<(), FormatError> {
        let mut whole = block[..BLOCK_SIZE].to_vec();
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&whole[TAG_AT..TAG_AT + TAG_LEN]);
        whole[TAG_AT..TAG_AT + TAG_LEN].fill(0);
        whole[CRC_AT..CRC_AT + 4].fill(0);
        key.authenticate(self.link.lsn, &whole, tag)
    }

    /// Blocks of an extent; 0 unless it is one of data.
    pub(crate) fn data_blocks(&self, number: u16) -> u64 {
        let extent = self.extents.get(usize::from(number)).filter(|extent| extent.is_data);
        extent.map_or(0, |extent| extent.range.nblocks)
    }

    /// The bytes of a data extent, and their crc as they came in.
    pub(crate) fn open_extent(
        &self,
        number: u16,
        stored: Bytes,
        key: Option<&JournalKey>,
    ) -> Result<(Bytes, u32), FormatError> {
        let number = usize::from(number);
        let extent = &self.extents[number];
        let Some(key) = key else { return Ok((stored, extent.crc)) };
        let mut sealed = BytesMut::with_capacity(stored.len() + 4);
        sealed.put_slice(&stored);
        sealed.put_u32_le(extent.crc);
        let mut plain = key.open_in_place(record_place(self.link.lsn, number, extent.range), sealed, extent.tag)?;
        let mut crc = plain.split_off(stored.len());
        Ok((plain, crc.get_u32_le()))
    }

    /// Takes the record apart; `position` is that of its header, and `payload` is whole and was sealed with `key`.
    ///
    /// # Errors
    /// An extent is not what was sealed.
    pub(crate) fn decode_record(
        &self,
        position: u64,
        payload: &Bytes,
        key: Option<&JournalKey>,
    ) -> Result<ReplayRecord, FormatError> {
        let mut mutations: Vec<ReplayMutation> = Vec::new();
        let mut at = 0;
        for (number, extent) in self.extents.iter().enumerate() {
            let number = u16::try_from(number).expect("a record has few extents");
            let start = in_memory(at) * BLOCK_SIZE;
            let stored =
                extent.is_data.then(|| payload.slice(start..start + in_memory(extent.range.nblocks) * BLOCK_SIZE));
            let opened = stored.map(|stored| self.open_extent(number, stored, key)).transpose()?;
            let sound = opened.as_ref().is_none_or(|(data, crc)| crc32c::crc32c(data) == *crc);
            let data = opened.map(|(data, _)| data);
            let content = MutationContent { range: extent.range, number, at, sound, data };
            at += if extent.is_data { extent.range.nblocks } else { 0 };
            if extent.begins {
                let wseq = Wseq(self.mutations.0.0 + mutations.len() as u64);
                mutations.push(ReplayMutation { wseq, extents: Vec::new() });
            }
            mutations.last_mut().expect("the first extent begins a mutation").extents.push(content);
        }
        Ok(ReplayRecord { lsn: self.link.lsn, position, mutations })
    }
}

fn in_memory(nblocks: u64) -> usize {
    usize::try_from(nblocks).expect("a payload in memory")
}

fn read_extent(fields: &mut Reader<'_>, is_sealed: bool) -> Result<Extent, FormatError> {
    let start = Lba(fields.u48()?);
    let (kind, flags, nblocks, crc) = (fields.u8()?, fields.u8()?, fields.u32()?, fields.u32()?);
    if !matches!(kind, ZERO | DATA) || flags & !BEGINS != 0 || nblocks == 0 {
        return Err(fields.corrupt("has an unknown extent"));
    }
    let mut tag = [0; TAG_LEN];
    if is_sealed {
        tag.copy_from_slice(fields.bytes(TAG_LEN)?);
    }
    let range = BlockRange::new(start, u64::from(nblocks));
    Ok(Extent { range, is_data: kind == DATA, begins: flags & BEGINS != 0, crc, tag })
}

#[cfg(test)]
mod tests;
