//! From a batch of pending extents to the bytes of a segment object.
//!
//! Pure and deterministic: the same batch makes the same bytes (under one seal), and a retried PUT sends the bytes that
//! were built once. The work is compression, checksums and sealing; callers run it off the owner's thread. Frames that
//! neither shrink nor are sealed are not copied: the payload then refers to the extents' own buffers.

use crate::checked::Checked;
use crate::format::frame::MAX_FRAME_BLOCKS;
use crate::format::prelude::MAX_BODY_LEN;
use crate::format::seal::{PieceKind, Seal, Sealer};
use crate::format::segment::LayoutRun;
use crate::format::{
    BLOCK_SIZE, BlockRange, Codec, DataRecord, Head, Lba, Object, ObjectName, Place, Prelude, SegmentIndex,
    SegmentMeta, VolumeId, Wseq, ZeroRecord,
};
use crate::map::SegmentName;
use bytes::Bytes;
use std::ops::Range;

/// A frame is stored compressed if that saves at least one part in so many.
const WORTH_SAVING: usize = 16;
const ZSTD_LEVEL: i32 = 1;

/// What a range of the disk becomes.
#[derive(Clone, Debug)]
pub enum Content {
    /// These blocks.
    Data(Checked),
    /// Zeros, for so many blocks.
    Zero(u64),
}

/// One extent of a batch.
#[derive(Clone, Debug)]
pub struct PendingExtent {
    /// First block.
    pub lba: Lba,
    /// What it becomes.
    pub content: Content,
}

impl PendingExtent {
    /// The blocks.
    pub fn range(&self) -> BlockRange {
        let nblocks = match &self.content {
            Content::Data(data) => data.nblocks() as u64,
            Content::Zero(nblocks) => *nblocks,
        };
        BlockRange::new(self.lba, nblocks)
    }
}

/// Everything about a segment but its content.
#[derive(Clone, Copy, Debug)]
pub struct SegmentSpec {
    /// The volume.
    pub volume: VolumeId,
    /// The object; its `owner` is 0.
    pub name: SegmentName,
    /// First mutation in it; 0 for moved data.
    pub first_wseq: Wseq,
    /// Last mutation in it; for moved data the one after which the disk held these blocks.
    pub last_wseq: Wseq,
    /// Prelude crc of the previous log segment of this epoch; 0 for the first and for moved data.
    pub prev_prelude_crc: u32,
    /// The time, for people only.
    pub unix_ms: u64,
    /// Most blocks in a frame, 1 to 64.
    pub frame_blocks: u32,
    /// How frames are compressed.
    pub codec: Codec,
}

/// A segment, ready to be stored and installed.
#[derive(Clone, Debug)]
pub struct BuiltSegment {
    /// Its name.
    pub name: ObjectName,
    /// Its prelude; [`Prelude::crc`] is the next segment's `prev_prelude_crc`.
    pub prelude: Prelude,
    /// What it says about itself.
    pub meta: SegmentMeta,
    /// The object's bytes in order.
    pub payload: Vec<Bytes>,
    /// Where its data lies: what the map is told after the segment is committed.
    pub layout: Vec<LayoutRun>,
    /// Ranges that become holes.
    pub zeros: Vec<BlockRange>,
    /// Its index, for readers.
    pub index: SegmentIndex,
    /// Blocks that are no longer what came in. Each is stored as a frame whose crc does not fit, so it cannot be read.
    pub damaged: Vec<Lba>,
}

impl BuiltSegment {
    /// Length of the object in bytes.
    pub fn object_len(&self) -> u64 {
        self.prelude.object_len()
    }

    /// Blocks of data in it.
    pub fn lblocks(&self) -> u32 {
        self.index.lblocks()
    }
}

/// Builds a segment. `extents` are sorted by lba and do not overlap; together their data stays below 1 GiB and their
/// frames and ranges within [`SegmentMeta::fits`]. The seal comes from [`Sealing::fresh`](crate::format::Sealing::fresh).
pub fn build(spec: &SegmentSpec, seal: Option<Seal>, extents: &[PendingExtent]) -> BuiltSegment {
    assert!((1..=MAX_FRAME_BLOCKS).contains(&spec.frame_blocks), "a frame has 1 to 64 blocks");
    assert!(extents.is_sorted_by(|a, b| a.range().end() <= b.lba), "a batch is sorted and coalesced");
    let kind = spec.name.kind.object_kind();
    let place = Place { volume: spec.volume, kind, epoch: spec.name.writer.epoch, number: spec.name.number };
    let sealer = seal.map(|seal| seal.bind(place, spec.name.writer.nonce));
    let mut body = Body { codec: spec.codec, sealer, ..Body::default() };
    let damaged = cut_frames(extents, spec.frame_blocks as usize, |lba, slices| body.push(lba, slices));
    let zeros = extents.iter().filter(|extent| matches!(extent.content, Content::Zero(_)));
    let zeros: Vec<BlockRange> = zeros.map(PendingExtent::range).filter(|range| !range.is_empty()).collect();
    let meta = SegmentMeta {
        nonce: spec.name.writer.nonce,
        first_wseq: spec.first_wseq,
        last_wseq: spec.last_wseq,
        unix_ms: spec.unix_ms,
        prev_prelude_crc: spec.prev_prelude_crc,
        data: std::mem::take(&mut body.records),
        zero: zeros.iter().copied().flat_map(zero_records).collect(),
    };
    assert!(body.len <= MAX_BODY_LEN, "a batch stays below 1 GiB");
    assert!(SegmentMeta::fits(meta.data.len(), meta.zero.len()), "a batch has a bounded number of pieces");
    let head = Head::encode_sealed(place, &meta.encode(), body.len, body.sealer.take(), &[]);
    let (name, prelude) = (spec.name.object(), head.prelude);
    let index = SegmentIndex::from_parts(Object { volume: spec.volume, name }, prelude.body_offset(), head.key, &meta);
    let layout = meta.layout();
    BuiltSegment { name, prelude, meta, payload: body.into_payload(head.bytes), layout, zeros, index, damaged }
}

/// Calls `frame` for each frame: at most `frame_blocks` consecutive blocks, in as few slices as they came. Every block is
/// held against the crc it came in with; one that does not fit is a frame of its own, so that it takes no other with it,
/// and is returned.
fn cut_frames(extents: &[PendingExtent], frame_blocks: usize, mut frame: impl FnMut(Lba, &[Checked])) -> Vec<Lba> {
    let mut damaged = Vec::new();
    let mut slices: Vec<Checked> = Vec::new();
    let (mut start, mut len) = (Lba(0), 0);
    for extent in extents {
        let Content::Data(data) = &extent.content else { continue };
        let mut at = 0;
        while at < data.nblocks() {
            let lba = extent.lba.plus(at as u64);
            let here = data.slice(at, frame_blocks.min(data.nblocks() - at));
            let sound = here.sound();
            let continues = start.plus(len as u64) == lba;
            if len > 0 && (!continues || len == frame_blocks || sound == 0) {
                frame(start, &slices);
                slices.clear();
                len = 0;
            }
            if sound == 0 {
                frame(lba, &[here.slice(0, 1)]);
                damaged.push(lba);
                at += 1;
                continue;
            }
            if len == 0 {
                start = lba;
            }
            let take = (frame_blocks - len).min(sound);
            slices.push(here.slice(0, take));
            len += take;
            at += take;
        }
    }
    if len > 0 {
        frame(start, &slices);
    }
    damaged
}

/// A record says its length in 32 bits; a longer range takes several.
#[expect(clippy::cast_possible_truncation, reason = "held to 32 bits by min()")]
fn zero_records(range: BlockRange) -> impl Iterator<Item = ZeroRecord> {
    let step = u64::from(u32::MAX);
    (0..range.nblocks.div_ceil(step)).map(move |i| ZeroRecord {
        lba: range.start.plus(i * step),
        nblocks: (range.nblocks - i * step).min(step) as u32,
    })
}

fn frame_u32(value: usize) -> u32 {
    u32::try_from(value).expect("a frame has at most 256 KiB")
}

enum Part {
    Packed(Range<usize>),
    Raw(Bytes),
}

/// The frames as they are stored. Compressed ones share one buffer.
struct Body {
    codec: Codec,
    sealer: Option<Sealer>,
    records: Vec<DataRecord>,
    parts: Vec<Part>,
    packed: Vec<u8>,
    joined: Vec<u8>,
    scratch: Vec<u8>,
    len: u64,
}

impl Default for Body {
    fn default() -> Self {
        Self {
            codec: Codec::Raw,
            sealer: None,
            records: Vec::new(),
            parts: Vec::new(),
            packed: Vec::new(),
            joined: Vec::new(),
            scratch: Vec::new(),
            len: 0,
        }
    }
}

impl Body {
    fn push(&mut self, lba: Lba, slices: &[Checked]) {
        let plain_len: usize = slices.iter().map(|slice| slice.bytes().len()).sum();
        // Of what came in, not of what is there now: damage never gets a crc that fits.
        let plain_crc = slices.iter().fold(0, |crc, slice| slice.append_to(crc));
        let stored_len = self.compress(slices).filter(|&len| len <= plain_len - plain_len / WORTH_SAVING);
        let codec = if stored_len.is_some() { self.codec } else { Codec::Raw };
        let nblocks = frame_u32(plain_len / BLOCK_SIZE);
        let (stored_len, stored_crc) = match (self.sealer.take(), stored_len) {
            (Some(mut sealer), packed) => {
                let start = self.packed.len();
                match packed {
                    Some(len) => self.packed.extend_from_slice(&self.scratch[..len]),
                    None => slices.iter().for_each(|slice| self.packed.extend_from_slice(slice.bytes())),
                }
                sealer.seal_piece(PieceKind::frame(codec, nblocks), &mut self.packed, start);
                self.sealer = Some(sealer);
                (self.packed_from(start), 0)
            }
            (None, Some(len)) => {
                let start = self.packed.len();
                self.packed.extend_from_slice(&self.scratch[..len]);
                (self.packed_from(start), crc32c::crc32c(&self.scratch[..len]))
            }
            (None, None) => {
                self.parts.extend(slices.iter().map(|slice| Part::Raw(slice.bytes().clone())));
                (plain_len, plain_crc)
            }
        };
        self.len += stored_len as u64;
        self.records.push(DataRecord { lba, nblocks, codec, stored_len: frame_u32(stored_len), stored_crc, plain_crc });
    }

    /// Takes what was packed from `start` on as the next part; returns its length.
    fn packed_from(&mut self, start: usize) -> usize {
        let end = self.packed.len();
        match self.parts.last_mut() {
            Some(Part::Packed(range)) => range.end = end,
            _ => self.parts.push(Part::Packed(start..end)),
        }
        end - start
    }

    /// Compresses into the scratch buffer; `None` if the frame is to be stored as it is.
    fn compress(&mut self, slices: &[Checked]) -> Option<usize> {
        let plain = if let [one] = slices {
            &one.bytes()[..]
        } else {
            self.joined.clear();
            for slice in slices {
                self.joined.extend_from_slice(slice.bytes());
            }
            &self.joined
        };
        match self.codec {
            Codec::Raw => None,
            Codec::Lz4 => {
                self.scratch.resize(lz4_flex::block::get_maximum_output_size(plain.len()), 0);
                lz4_flex::block::compress_into(plain, &mut self.scratch).ok()
            }
            Codec::Zstd => {
                self.scratch.resize(zstd::zstd_safe::compress_bound(plain.len()), 0);
                zstd::bulk::compress_to_buffer(plain, &mut self.scratch[..], ZSTD_LEVEL).ok()
            }
        }
    }

    fn into_payload(self, head: Bytes) -> Vec<Bytes> {
        let packed = Bytes::from(self.packed);
        let parts = self.parts.into_iter().map(|part| match part {
            Part::Packed(range) => packed.slice(range),
            Part::Raw(bytes) => bytes,
        });
        std::iter::once(head).chain(parts).collect()
    }
}
