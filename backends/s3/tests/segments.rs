//! Segments: from a batch to an object and back, and every way an object can be damaged.

#![expect(clippy::cast_possible_truncation, reason = "test data is small")]

use bytes::{Bytes, BytesMut};
use nbdgate_s3::checked::Checked;
use nbdgate_s3::format::{
    BLOCK_SIZE, BlockRange, Codec, Epoch, FormatErrorKind, Head, Lba, Nonce, Object, ObjectName, Prelude, Sealing,
    SegmentIndex, SegmentMeta, VolumeId, Writer, Wseq, ZeroRecord,
};
use nbdgate_s3::map::{SegmentKind, SegmentName};
use nbdgate_s3::segment_builder::{BuiltSegment, Content, PendingExtent, SegmentSpec, build};
use proptest::prelude::*;
use uuid::Uuid;

fn spec(codec: Codec) -> SegmentSpec {
    let writer = Writer { epoch: Epoch(3), nonce: Nonce(0x1122_3344_5566_7788) };
    SegmentSpec {
        volume: VolumeId(Uuid::from_u128(0xabcd)),
        name: SegmentName { kind: SegmentKind::Log, owner: 0, writer, number: 0x105 },
        first_wseq: Wseq(10),
        last_wseq: Wseq(20),
        prev_prelude_crc: 0xdead_beef,
        unix_ms: 1_700_000_000_000,
        frame_blocks: 4,
        codec,
    }
}

fn object(built: &BuiltSegment) -> Bytes {
    let mut bytes = BytesMut::new();
    for slice in &built.payload {
        bytes.extend_from_slice(slice);
    }
    assert_eq!(bytes.len() as u64, built.object_len());
    bytes.freeze()
}

fn pattern(seed: u64, nblocks: usize, random: bool) -> Bytes {
    let mut state = seed | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let fill = byte();
    (0..nblocks * BLOCK_SIZE).map(|at| if random || at % 64 == 0 { byte() } else { fill }).collect::<Vec<_>>().into()
}

/// Everything of a segment by block, read the way a reader does.
fn read_all(name: ObjectName, volume: VolumeId, object: &Bytes) -> Result<Vec<(u64, Bytes)>, String> {
    let (head, meta) =
        SegmentMeta::parse_object(name, volume, object, &Sealing::CLEAR).map_err(|error| error.to_string())?;
    let index = SegmentIndex::new(Object { volume, name }, &head, &meta);
    let mut blocks = Vec::new();
    for run in meta.layout() {
        for frame in index.locate(run.lblk, run.nblocks).map_err(|error| error.to_string())? {
            let stored = object.get(frame.stored.start as usize..frame.stored.end as usize).ok_or("cut short")?;
            let plain = index.decode_frame(&frame, &object.slice_ref(stored)).map_err(|error| error.to_string())?;
            for at in 0..frame.nblocks {
                let lblk = frame.lblk + at;
                if (run.lblk..run.lblk + run.nblocks).contains(&lblk) {
                    let start = at as usize * BLOCK_SIZE;
                    blocks.push((run.lba.0 + u64::from(lblk - run.lblk), plain.slice(start..start + BLOCK_SIZE)));
                }
            }
        }
    }
    Ok(blocks)
}

fn batch() -> impl Strategy<Value = Vec<PendingExtent>> {
    let piece = (0_u64..3, 1_usize..40, any::<u64>(), 0_u8..4);
    proptest::collection::vec(piece, 1..20).prop_map(|pieces| {
        let mut lba = 0;
        let mut extents = Vec::new();
        for (gap, nblocks, seed, what) in pieces {
            lba += gap;
            let content = match what {
                0 => Content::Zero(nblocks as u64 * 1000),
                1 => Content::Data(Checked::new(pattern(seed, nblocks, true))),
                _ => Content::Data(Checked::new(pattern(seed, nblocks, false))),
            };
            let extent = PendingExtent { lba: Lba(lba), content };
            lba = extent.range().end().0;
            extents.push(extent);
        }
        extents
    })
}

fn blocks_of(extents: &[PendingExtent]) -> Vec<(u64, Bytes)> {
    let mut blocks = Vec::new();
    for extent in extents {
        if let Content::Data(data) = &extent.content {
            let bytes = data.bytes();
            for (at, block) in (extent.lba.0..).zip(bytes.chunks(BLOCK_SIZE)) {
                blocks.push((at, bytes.slice_ref(block)));
            }
        }
    }
    blocks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_batch_comes_back(extents in batch(), codec in 0_usize..3, frame_blocks in 1_u32..=64) {
        let codec = [Codec::Raw, Codec::Lz4, Codec::Zstd][codec];
        let spec = SegmentSpec { frame_blocks, ..spec(codec) };
        let built = build(&spec, None, &extents);
        let bytes = object(&built);
        prop_assert_eq!(read_all(built.name, spec.volume, &bytes).unwrap(), blocks_of(&extents));
        let (head, meta) = SegmentMeta::parse_object(built.name, spec.volume, &bytes, &Sealing::CLEAR).unwrap();
        prop_assert_eq!(&meta, &built.meta);
        prop_assert_eq!(head.prelude, built.prelude);
        let zeros: Vec<BlockRange> = meta.zero.iter().map(ZeroRecord::range).collect();
        prop_assert_eq!(&zeros, &built.zeros);
        prop_assert_eq!(object(&build(&spec, None, &extents)), bytes, "the same batch makes the same bytes");
        let laid_out: Vec<_> = built.layout.iter().flat_map(|run| run.lba.0..run.lba.0 + u64::from(run.nblocks)).collect();
        prop_assert_eq!(laid_out, blocks_of(&extents).into_iter().map(|(lba, _)| lba).collect::<Vec<_>>());
    }

    #[test]
    fn locate_finds_exactly_the_frames_of_a_range(extents in batch(), from in 0_u32..200, len in 0_u32..200) {
        let built = build(&spec(Codec::Lz4), None, &extents);
        let Ok(found) = built.index.locate(from, len) else {
            prop_assert!(from + len > built.lblocks());
            return Ok(());
        };
        let found: Vec<u32> = found.map(|frame| frame.number).collect();
        let overlaps = |lblk: u32, n: u32| len > 0 && lblk < from + len && from < lblk + n;
        let frames = built.meta.frames(built.prelude.body_offset());
        let expected: Vec<u32> = frames.filter(|(_, f)| overlaps(f.lblk, f.nblocks)).map(|(_, f)| f.number).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn random_bytes_behind_a_good_prelude_never_panic(meta in proptest::collection::vec(any::<u8>(), 0..300), body_len in 0_u64..9000) {
        let spec = spec(Codec::Lz4);
        let place = build(&spec, None, &[]).prelude.place;
        let (_, bytes) = Head::encode(place, &meta, body_len);
        let _ = SegmentMeta::parse_object(spec.name.object(), spec.volume, &bytes, &Sealing::CLEAR);
    }

    #[test]
    fn random_compressed_frames_never_panic(stored in proptest::collection::vec(any::<u8>(), 1..5000), zstd: bool) {
        let stored = Bytes::from(stored);
        let crc = crc32c::crc32c(&stored);
        let codec = if zstd { Codec::Zstd } else { Codec::Lz4 };
        let frame = nbdgate_s3::format::Frame {
            number: 0, stored: 0..stored.len() as u64, lblk: 0, nblocks: 2, codec, stored_crc: crc, plain_crc: 1,
        };
        let refused = frame.decode(&stored).is_err();
        prop_assert!(refused);
    }
}

fn small() -> (SegmentSpec, BuiltSegment, Vec<PendingExtent>) {
    let spec = spec(Codec::Lz4);
    let extents = vec![
        PendingExtent { lba: Lba(5), content: Content::Data(Checked::new(pattern(1, 1, true))) },
        PendingExtent { lba: Lba(6), content: Content::Data(Checked::new(pattern(2, 2, false))) },
        PendingExtent { lba: Lba(9), content: Content::Zero(1 << 33) },
    ];
    let built = build(&spec, None, &extents);
    (spec, built, extents)
}

#[test]
fn every_flipped_byte_is_noticed() {
    let (spec, built, extents) = small();
    let good = object(&built);
    for at in 0..good.len() {
        let mut bytes = good.to_vec();
        bytes[at] ^= 0x10;
        let read = read_all(built.name, spec.volume, &bytes.into());
        assert!(read.is_err(), "byte {at} of {}", good.len());
    }
    assert_eq!(read_all(built.name, spec.volume, &good).unwrap(), blocks_of(&extents));
}

#[test]
fn every_cut_is_noticed() {
    let (spec, built, _) = small();
    let good = object(&built);
    for len in 0..good.len() {
        assert!(read_all(built.name, spec.volume, &good.slice(..len)).is_err(), "cut to {len}");
    }
}

#[test]
fn a_bad_frame_is_named() {
    let (_, built, _) = small();
    let frame = built.index.locate(0, 1).unwrap().next().unwrap();
    let zeros = Bytes::from(vec![0; (frame.stored.end - frame.stored.start) as usize]);
    let error = built.index.decode_frame(&frame, &zeros).unwrap_err();
    assert_eq!(error.kind(), FormatErrorKind::Corrupt);
    let expected = "l/05/00000003-1122334455667788/0000000000000105: frame 0 stored crc does not match";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_segment_of_another_writer_is_misplaced() {
    let (spec, built, _) = small();
    let bytes = object(&built);
    let other = Writer { nonce: Nonce(1), ..spec.name.writer };
    let name = SegmentName { writer: other, ..spec.name }.object();
    let error = SegmentMeta::parse_object(name, spec.volume, &bytes, &Sealing::CLEAR).unwrap_err();
    assert_eq!(error.kind(), FormatErrorKind::WrongPlace);
}

#[test]
fn frames_that_do_not_shrink_are_not_copied() {
    let data = pattern(9, 8, true);
    let extents = [PendingExtent { lba: Lba(0), content: Content::Data(Checked::new(data.clone())) }];
    let built = build(&spec(Codec::Lz4), None, &extents);
    assert_eq!(built.payload.len(), 3);
    assert_eq!(built.payload[1].as_ptr(), data.as_ptr());
    assert!(built.meta.data.iter().all(|record| record.codec == Codec::Raw));
}

#[test]
fn a_clear_of_more_than_32_bits_takes_several_records() {
    let (_, built, _) = small();
    assert_eq!(built.meta.zero.len(), 3);
    assert_eq!(built.meta.zero.iter().map(|record| u64::from(record.nblocks)).sum::<u64>(), 1 << 33);
}

/// Records that a builder never makes, each refused.
#[test]
fn impossible_records_are_refused() {
    let (spec, built, _) = small();
    let refuse = |change: &dyn Fn(&mut SegmentMeta)| {
        let mut meta = built.meta.clone();
        change(&mut meta);
        let (_, bytes) = Head::encode(built.prelude.place, &meta.encode(), built.prelude.body_len);
        let error = SegmentMeta::parse_object(built.name, spec.volume, &bytes, &Sealing::CLEAR).unwrap_err();
        assert_eq!(error.kind(), FormatErrorKind::Corrupt, "{error}");
    };
    refuse(&|meta| meta.data[0].lba = Lba(100));
    refuse(&|meta| meta.zero[0].lba = Lba(6));
    refuse(&|meta| meta.zero[2].lba = Lba(1 << 60));
    refuse(&|meta| meta.data[0].nblocks = 0);
    refuse(&|meta| meta.data[0].nblocks = 65);
    refuse(&|meta| meta.data[0].stored_len -= 1);
    refuse(&|meta| meta.data.clear());
    refuse(&|meta| meta.first_wseq = Wseq(21));
    refuse(&|meta| meta.zero[0].nblocks = 0);
}

#[test]
fn a_large_meta_is_compressed_and_comes_back() {
    let extents: Vec<_> = (0..400)
        .map(|i| PendingExtent { lba: Lba(i * 2), content: Content::Data(Checked::new(pattern(3, 1, false))) })
        .collect();
    let spec = spec(Codec::Lz4);
    let built = build(&spec, None, &extents);
    assert!(built.prelude.meta_compressed);
    let bytes = object(&built);
    assert_eq!(read_all(built.name, spec.volume, &bytes).unwrap(), blocks_of(&extents));
    let prelude = Prelude::parse(&built.name.expected(spec.volume), &bytes[..64]).unwrap();
    assert_eq!(prelude.object_len(), bytes.len() as u64);
}

/// The format is a promise to every bucket written so far: a change here is a new format version.
#[test]
fn a_segment_is_the_golden_bytes() {
    let block: Vec<u8> = (0..BLOCK_SIZE).map(|at| (at * 7 + at / 256) as u8).collect();
    let writer = Writer { epoch: Epoch(4), nonce: Nonce(0x0123_4567_89ab_cdef) };
    let spec = SegmentSpec {
        volume: VolumeId(Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff)),
        name: SegmentName { kind: SegmentKind::Log, owner: 0, writer, number: 0x21 },
        ..spec(Codec::Raw)
    };
    let extents = [
        PendingExtent { lba: Lba(100), content: Content::Data(Checked::new(block.into())) },
        PendingExtent { lba: Lba(5000), content: Content::Zero(77) },
    ];
    let bytes = object(&build(&spec, None, &extents));
    let golden: Vec<u8> = include_str!("golden/segment.hex")
        .lines()
        .flat_map(|line| line.as_bytes().chunks(2))
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    assert_eq!(bytes, golden);
}
