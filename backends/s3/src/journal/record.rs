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
//! The payload follows the header: the data extents one behind the other. The crc of an extent is that of its bytes as
//! they came in. Flag 1 of an extent begins a mutation, so that a reader knows which extents belong to which; the
//! payload of a pad is the rest of the ring, and is neither written nor read.

use std::sync::LazyLock;

use bytes::{BufMut, Bytes};
use uuid::Uuid;

use super::superblock::{MAGIC, VERSION};
use crate::{
    checked::Checked,
    format::{BLOCK_SIZE, BlockRange, FormatError, FormatErrorKind, Lba, Reader, Wseq},
};

/// Extents of one record at most.
pub(crate) const MAX_EXTENTS: usize = (BLOCK_SIZE - EXTENTS_AT) / EXTENT_LEN;
/// Payload blocks of one record at most: far beyond what is written.
const MAX_PAYLOAD: u32 = 16 << 10;
const RECORD: u8 = b'R';
const PAD: u8 = b'P';
const CRC_AT: usize = 72;
const EXTENTS_AT: usize = 80;
const EXTENT_LEN: usize = 16;
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

/// The bytes of the record of `job` at `link`; sealing the payload belongs here.
pub(crate) fn encode_record(link: &Link, job: &RecordJob) -> Encoded {
    assert!((1..=MAX_EXTENTS).contains(&job.extents.len()), "a record has some extents, and room for them");
    let mut slices = vec![Bytes::new()];
    let (mut table, mut payload_crc) = (Vec::with_capacity(job.extents.len() * EXTENT_LEN), 0);
    for extent in &job.extents {
        let mut crc = 0;
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
        put_extent(&mut table, extent, crc);
    }
    for slice in &slices {
        payload_crc = crc32c::crc32c_append(payload_crc, slice);
    }
    let blocks = job.extents.iter().map(ExtentJob::payload_blocks).sum();
    let body = Body { mutations: job.mutations, extents: job.extents.len(), blocks, payload_crc };
    let (header, header_crc) = encode_header(RECORD, link, &body, &table);
    slices[0] = header;
    Encoded { slices, header_crc }
}

/// The header that covers the rest of the ring, of which `blocks` follow the header.
pub(crate) fn encode_pad(link: &Link, blocks: u32) -> Encoded {
    let body = Body { mutations: (Wseq(0), Wseq(0)), extents: 0, blocks: u64::from(blocks), payload_crc: 0 };
    let (header, header_crc) = encode_header(PAD, link, &body, &[]);
    Encoded { slices: vec![header], header_crc }
}

struct Body {
    mutations: (Wseq, Wseq),
    extents: usize,
    blocks: u64,
    payload_crc: u32,
}

fn encode_header(kind: u8, link: &Link, body: &Body, table: &[u8]) -> (Bytes, u32) {
    let narrow = |count: u64| u32::try_from(count).expect("records are short");
    let mut bytes = Vec::with_capacity(BLOCK_SIZE);
    bytes.put_slice(&MAGIC);
    bytes.put_u8(kind);
    bytes.put_u8(VERSION);
    bytes.put_u16_le(0);
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
    bytes.put_slice(table);
    bytes.resize(BLOCK_SIZE, 0);
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
    payload_crc: u32,
    extents: Vec<Extent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Extent {
    range: BlockRange,
    is_data: bool,
    begins: bool,
    crc: u32,
}

/// A record that was read.
#[derive(Clone, Debug)]
pub(crate) struct ReplayRecord {
    pub(crate) lsn: u64,
    /// Position in the ring of its payload.
    pub(crate) payload_at: u64,
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
        if !matches!(kind, RECORD | PAD) || version != VERSION || flags != 0 {
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
        let is_pad = kind == PAD;
        if count > MAX_EXTENTS || is_pad != (count == 0) || (!is_pad && payload_blocks > MAX_PAYLOAD) {
            return Err(FormatError::corrupt("journal record: counts out of bounds"));
        }
        let extents = (0..count).map(|_| read_extent(&mut fields)).collect::<Result<Vec<_>, _>>()?;
        fields.reserved(fields.remaining())?;
        let header = Self { link, is_pad, mutations, payload_blocks, crc, payload_crc, extents };
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

    /// Takes the record apart; `payload_at` is the position of its payload. The error says that the payload is not what
    /// was written.
    pub(crate) fn decode_record(&self, payload_at: u64, payload: &Bytes) -> Result<ReplayRecord, FormatError> {
        if crc32c::crc32c(payload) != self.payload_crc {
            return Err(FormatError::corrupt(format!(
                "journal record {}: crc of the payload does not match",
                self.link.lsn
            )));
        }
        let mut mutations: Vec<ReplayMutation> = Vec::new();
        let mut at = 0;
        for (number, extent) in self.extents.iter().enumerate() {
            let start = in_memory(at) * BLOCK_SIZE;
            let data =
                extent.is_data.then(|| payload.slice(start..start + in_memory(extent.range.nblocks) * BLOCK_SIZE));
            let content = MutationContent {
                range: extent.range,
                number: u16::try_from(number).expect("a record has few extents"),
                at,
                sound: data.as_ref().is_none_or(|data| crc32c::crc32c(data) == extent.crc),
                data,
            };
            at += if extent.is_data { extent.range.nblocks } else { 0 };
            if extent.begins {
                let wseq = Wseq(self.mutations.0.0 + mutations.len() as u64);
                mutations.push(ReplayMutation { wseq, extents: Vec::new() });
            }
            mutations.last_mut().expect("the first extent begins a mutation").extents.push(content);
        }
        Ok(ReplayRecord { lsn: self.link.lsn, payload_at, mutations })
    }
}

fn in_memory(nblocks: u64) -> usize {
    usize::try_from(nblocks).expect("a payload in memory")
}

fn read_extent(fields: &mut Reader<'_>) -> Result<Extent, FormatError> {
    let start = Lba(fields.u48()?);
    let (kind, flags, nblocks, crc) = (fields.u8()?, fields.u8()?, fields.u32()?, fields.u32()?);
    if !matches!(kind, ZERO | DATA) || flags & !BEGINS != 0 || nblocks == 0 {
        return Err(fields.corrupt("has an unknown extent"));
    }
    let range = BlockRange::new(start, u64::from(nblocks));
    Ok(Extent { range, is_data: kind == DATA, begins: flags & BEGINS != 0, crc })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn link() -> Link {
        Link { journal: Uuid::from_u128(0xabcd), generation: 4, lsn: 17, prev_crc: 0x0102_0304, unsynced: 2 }
    }

    fn data(seed: u8, nblocks: usize) -> Checked {
        Checked::new(
            (0..nblocks * BLOCK_SIZE).map(|at| u8::try_from(at % 251).unwrap() ^ seed).collect::<Vec<_>>().into(),
        )
    }

    fn job() -> RecordJob {
        let extent =
            |start, nblocks, begins, parts| ExtentJob { range: BlockRange::new(Lba(start), nblocks), begins, parts };
        RecordJob {
            link: link(),
            mutations: (Wseq(5), Wseq(6)),
            extents: vec![
                extent(3, 2, true, vec![Part::Data(data(1, 2))]),
                extent(100, 1 << 31, true, vec![]),
                extent(9, 4, false, vec![Part::Data(data(2, 1)), Part::Zeros(2), Part::Data(data(3, 1))]),
            ],
            pad: None,
            offset: 0,
        }
    }

    fn bytes(encoded: &Encoded) -> Vec<u8> {
        encoded.slices.concat()
    }

    #[test]
    fn the_bytes_of_a_record_are_these() {
        let encoded = encode_record(&link(), &job());
        let all = bytes(&encoded);
        assert_eq!(all.len(), 7 * BLOCK_SIZE);
        assert_eq!(&all[..8], b"OLJ1R\x01\0\0");
        assert_eq!(all[8..24], link().journal.into_bytes());
        let u64_at = |at: usize| u64::from_le_bytes(all[at..at + 8].try_into().unwrap());
        let u32_at = |at: usize| u32::from_le_bytes(all[at..at + 4].try_into().unwrap());
        assert_eq!((u64_at(24), u64_at(32), u64_at(40), u32_at(48), u32_at(52)), (17, 5, 6, 3, 6));
        assert_eq!((u32_at(56), u32_at(60)), (0x0102_0304, crc32c::crc32c(&all[BLOCK_SIZE..])));
        assert_eq!((u64_at(64), u32_at(72), u32_at(76)), (4, encoded.header_crc, 2));
        assert_eq!(all[80..92], [3, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0]);
        assert_eq!(u32_at(92), crc32c::crc32c(data(1, 2).bytes()));
        assert_eq!(all[96..112], [100, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x80, 0, 0, 0, 0]);
        assert_eq!(all[112..124], [9, 0, 0, 0, 0, 0, 1, 0, 4, 0, 0, 0]);
        assert_eq!(u32_at(124), crc32c::crc32c(&all[3 * BLOCK_SIZE..]));
        assert!(all[128..BLOCK_SIZE].iter().all(|&byte| byte == 0));
        // Laid out by hand from the table above, so that no field moves unnoticed.
        assert_eq!(encoded.header_crc, 0x8bbf_b2d8);
        let pad = encode_pad(&link(), 12);
        assert_eq!(pad.slices[0][..8], *b"OLJ1P\x01\0\0");
        assert_eq!(pad.header_crc, 0x43af_73a3);
    }

    #[test]
    fn a_record_comes_back() {
        let encoded = encode_record(&link(), &job());
        let all = bytes(&encoded);
        let header = Header::parse(&all).unwrap();
        assert_eq!((header.link, header.crc, header.record_len()), (link(), encoded.header_crc, all.len() as u64));
        let payload = Bytes::from(all[BLOCK_SIZE..].to_vec());
        let record = header.decode_record(77 * 4096, &payload).unwrap();
        let shape: Vec<_> = record.mutations.iter().map(|mutation| (mutation.wseq.0, mutation.extents.len())).collect();
        assert_eq!((shape, record.payload_at), (vec![(5, 1), (6, 2)], 77 * 4096));
        let last = &record.mutations[1].extents[1];
        assert_eq!((last.range, last.number, last.at, last.sound), (BlockRange::new(Lba(9), 4), 2, 2, true));
        let expected = [&data(2, 1).bytes()[..], &[0; 2 * BLOCK_SIZE], &data(3, 1).bytes()[..]].concat();
        assert_eq!(last.data.as_ref().unwrap()[..], expected);
        assert!(record.mutations[1].extents[0].data.is_none());
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let good = bytes(&encode_record(&link(), &job()));
        for bit in 0..BLOCK_SIZE * 8 {
            let mut bad = good[..BLOCK_SIZE].to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::parse(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_flipped_bit_of_the_payload_is_noticed() {
        let good = bytes(&encode_record(&link(), &job()));
        let header = Header::parse(&good).unwrap();
        for at in [0, 4095, 4096, 5 * BLOCK_SIZE + 17] {
            let mut bad = good[BLOCK_SIZE..].to_vec();
            bad[at] ^= 0x10;
            assert!(header.decode_record(0, &bad.into()).is_err());
        }
    }

    #[test]
    fn data_that_was_damaged_before_it_was_written_is_told_apart_from_damage_on_the_medium() {
        let mut job = job();
        job.extents[0].parts = vec![Part::Data(data(1, 2).damaged())];
        let all = bytes(&encode_record(&link(), &job));
        let record = Header::parse(&all).unwrap().decode_record(0, &all[BLOCK_SIZE..].to_vec().into()).unwrap();
        assert!(!record.mutations[0].extents[0].sound);
        assert!(record.mutations[1].extents.iter().all(|extent| extent.sound));
    }

    proptest! {
        #[test]
        fn random_headers_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), BLOCK_SIZE), counts in any::<bool>()) {
            bytes[..8].copy_from_slice(b"OLJ1R\x01\0\0");
            if counts {
                bytes[48..56].copy_from_slice(&[3, 0, 0, 0, 6, 0, 0, 0]);
                bytes[80 + 48..].fill(0);
            }
            bytes[CRC_AT..CRC_AT + 4].fill(0);
            let crc = crc32c::crc32c(&bytes);
            bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
            if let Ok(header) = Header::parse(&bytes) {
                prop_assert!(header.is_consistent());
            }
        }
    }
}
