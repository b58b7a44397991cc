//! Sealed objects byte by byte: golden files of another implementation, every flipped byte, every other place, and never
//! one key for two objects.

use std::collections::HashSet;

use bytes::Bytes;
use nbdgate_s3::{
    checked::Checked,
    checkpoint::PackIndex,
    format::{
        Codec, Epoch, FormatErrorKind, Head, Kind, Lba, Manifest, ManifestNo, Nonce, Object, ObjectName, PackName,
        Place, Sealing, SegmentIndex, SegmentMeta, Seq, VolumeId, Writer, Wseq,
        manifest::{Options, Outline, Owner, State, WrappedKey},
        seal::{DataKey, DataKeys, SALT_LEN, Seal},
    },
    map::{SegmentKind, SegmentName},
    segment_builder::{BuiltSegment, Content, PendingExtent, SegmentSpec, build},
};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::setup::noise;

const VOLUME: VolumeId = VolumeId(Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff));
const WRITER: Writer = Writer { epoch: Epoch(4), nonce: Nonce(0x0123_4567_89ab_cdef) };
const SLOT: ObjectName = ObjectName::Log { writer: WRITER, seq: Seq(0x105) };
const PRELUDE: usize = 64;

/// Key id and salt of a sealed object: what its own key comes from.
pub(crate) fn seal_of(object: &[u8]) -> Option<Vec<u8>> {
    let sealed = object.starts_with(b"OLV1") && object[6] & 1 == 1;
    sealed.then(|| object[PRELUDE..PRELUDE + 40].to_vec())
}

fn data_key() -> DataKey {
    let mut secret = Zeroizing::new([0; 32]);
    (0..).zip(secret.iter_mut()).for_each(|(at, byte)| *byte = at);
    DataKey::new(1, Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10), secret)
}

fn sealing() -> Sealing {
    Sealing::with(DataKeys::only(data_key()))
}

/// The seal of the golden files.
fn seal() -> Seal {
    let mut salt = [0; SALT_LEN];
    (0x40..).zip(salt.iter_mut()).for_each(|(at, byte)| *byte = at);
    data_key().seal(salt)
}

fn golden(name: &str) -> Bytes {
    let path = format!("{}/tests/golden/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect::<Vec<u8>>().into()
}

fn blocks(start: u32, count: u32) -> Bytes {
    (0..count * 4096).map(|at| u8::try_from((at * 7 + start) & 0xff).unwrap()).collect::<Vec<u8>>().into()
}

fn spec(codec: Codec) -> SegmentSpec {
    SegmentSpec {
        volume: VOLUME,
        name: SegmentName { kind: SegmentKind::Log, owner: 0, writer: WRITER, number: 0x105 },
        first_wseq: Wseq(10),
        last_wseq: Wseq(20),
        prev_prelude_crc: 0xdead_beef,
        unix_ms: 1_700_000_000_000,
        frame_blocks: 4,
        codec,
    }
}

fn batch() -> Vec<PendingExtent> {
    vec![
        PendingExtent { lba: Lba(16), content: Content::Data(Checked::new(blocks(3, 2))) },
        PendingExtent { lba: Lba(40), content: Content::Data(Checked::new(blocks(9, 1))) },
        PendingExtent { lba: Lba(100), content: Content::Zero(7) },
    ]
}

fn bytes_of(built: &BuiltSegment) -> Bytes {
    let bytes: Bytes = built.payload.iter().flat_map(|part| part.iter().copied()).collect::<Vec<u8>>().into();
    assert_eq!(bytes.len() as u64, built.object_len());
    bytes
}

/// All frames of a segment, the way a reader reads them; `None` if anything is refused.
fn read_segment(name: ObjectName, volume: VolumeId, object: &Bytes, sealing: &Sealing) -> Option<Vec<Bytes>> {
    let index = SegmentIndex::parse(Object { volume, name }, object, sealing).ok()?;
    let frames = index.locate(0, index.lblocks()).ok()?;
    let at = |offset: u64| usize::try_from(offset).unwrap();
    frames
        .map(|frame| {
            let stored = object.get(at(frame.stored.start)..at(frame.stored.end))?;
            index.decode_frame(&frame, &object.slice_ref(stored)).ok()
        })
        .collect()
}

type Reads = fn(&Bytes) -> bool;

fn manifest() -> Manifest {
    Manifest {
        prev: [0x3c; 32],
        state: State::Closed,
        owner: Owner { writer: WRITER, host: "host-a".to_owned(), journal: None, journal_dirty: false },
        blocks: 1 << 20,
        root: None,
        sealed: Vec::new(),
        open: None,
        window: 8,
        snapshots: Vec::new(),
        lineage: Vec::new(),
        keys: vec![WrappedKey { key_id: 1, method: 2, wrapped: Bytes::from_static(b"wrapped") }],
        options: Options::default(),
        log_root: None,
        copied: Vec::new(),
    }
}

fn pack_name() -> PackName {
    PackName { volume: VOLUME, writer: WRITER, number: 3 }
}

/// The blobs of the golden pack.
fn read_pack(name: PackName, object: &Bytes) -> Option<Vec<Bytes>> {
    let index = PackIndex::parse(name, object, &sealing()).ok()?;
    let at = |offset: u64| usize::try_from(offset).unwrap();
    let blobs = index.entries().iter().map(|entry| {
        let range = index.range(entry);
        let stored = object.get(at(range.start)..at(range.end))?;
        index.decode(entry, &object.slice_ref(stored)).ok()
    });
    blobs.collect()
}

/// Writes a field of the prelude and makes its crc right again, as a forger would.
fn forged(object: &Bytes, at: usize, value: &[u8]) -> Bytes {
    let mut bytes = object.to_vec();
    bytes[at..at + value.len()].copy_from_slice(value);
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    bytes.into()
}

#[test]
fn sealed_objects_are_the_golden_ones() {
    assert_eq!(bytes_of(&build(&spec(Codec::Raw), Some(seal()), &batch())), golden("sealed_segment"));
    assert_eq!(manifest().encode(VOLUME, ManifestNo(7), Some(seal())), golden("sealed_manifest"));
    let read = read_segment(SLOT, VOLUME, &golden("sealed_segment"), &sealing());
    assert_eq!(read, Some(vec![blocks(3, 2), blocks(9, 1)]));
    let read = Manifest::parse_object(VOLUME, ManifestNo(7), &golden("sealed_manifest"), &sealing());
    assert_eq!(read, Ok(manifest()));
    let read = read_pack(pack_name(), &golden("sealed_pack")).unwrap();
    assert_eq!(read, [&b"page of a map"[..], b"directory of pages"]);
}

#[test]
fn every_flipped_byte_and_every_cut_of_a_sealed_object_is_refused() {
    let readers: [(&str, Reads); 3] = [
        ("sealed_segment", |bytes| read_segment(SLOT, VOLUME, bytes, &sealing()).is_some()),
        ("sealed_manifest", |bytes| Manifest::parse_object(VOLUME, ManifestNo(7), bytes, &sealing()).is_ok()),
        ("sealed_pack", |bytes| read_pack(pack_name(), bytes).is_some()),
    ];
    for (name, reads) in readers {
        let good = golden(name);
        assert!(reads(&good), "{name}");
        for at in 0..good.len() {
            let mut bytes = good.to_vec();
            bytes[at] ^= 0x20;
            assert!(!reads(&bytes.into()), "{name}: byte {at}");
            // Past the prelude a forger makes the crcs right: the seal must hold by itself.
            if at < 56 {
                assert!(!reads(&forged(&good, at, &[good[at] ^ 1])), "{name}: forged byte {at}");
            }
        }
        for len in (0..good.len()).step_by(7) {
            assert!(!reads(&good.slice(..len)), "{name}: cut to {len}");
        }
    }
}

#[test]
fn a_forger_who_makes_the_crc_of_a_meta_right_is_refused() {
    for name in ["sealed_segment", "sealed_manifest", "sealed_pack"] {
        let good = golden(name);
        let meta_len = usize::try_from(u32::from_le_bytes(good[40..44].try_into().unwrap())).unwrap();
        let meta = PRELUDE + 48..PRELUDE + 48 + meta_len;
        for at in PRELUDE..meta.end {
            let mut bytes = good.to_vec();
            bytes[at] ^= 1;
            let crc = crc32c::crc32c(&bytes[meta.clone()]);
            let bytes = forged(&bytes.into(), 56, &crc.to_le_bytes());
            let read = match name {
                "sealed_segment" => read_segment(SLOT, VOLUME, &bytes, &sealing()).is_some(),
                "sealed_manifest" => Manifest::parse_object(VOLUME, ManifestNo(7), &bytes, &sealing()).is_ok(),
                _ => read_pack(pack_name(), &bytes).is_some(),
            };
            assert!(!read, "{name}: byte {at}");
        }
    }
}

#[test]
fn an_object_opens_at_its_own_place_only() {
    let good = golden("sealed_segment");
    let read = |name, volume, bytes: &Bytes| read_segment(name, volume, bytes, &sealing());
    let slot = |epoch, nonce, seq| ObjectName::Log { writer: Writer { epoch, nonce }, seq: Seq(seq) };
    let Writer { epoch, nonce } = WRITER;
    let moved = forged(&good, 32, &0x106_u64.to_le_bytes());
    assert_eq!(read(slot(epoch, nonce, 0x106), VOLUME, &moved), None, "another slot");
    let moved = forged(&good, 24, &5_u64.to_le_bytes());
    assert_eq!(read(slot(Epoch(5), nonce, 0x105), VOLUME, &moved), None, "another epoch");
    assert_eq!(read(slot(epoch, Nonce(1), 0x105), VOLUME, &good), None, "another writer");
    let other = VolumeId(Uuid::from_u128(7));
    let moved = forged(&good, 8, other.0.as_bytes());
    assert_eq!(read(SLOT, other, &moved), None, "another volume");
    let moved = forged(&good, 4, b"G");
    assert_eq!(read(ObjectName::Moved { writer: WRITER, number: 0x105 }, VOLUME, &moved), None, "another kind");
    let elsewhere = PackName { writer: Writer { nonce: Nonce(1), ..WRITER }, ..pack_name() };
    assert_eq!(read_pack(elsewhere, &golden("sealed_pack")), None, "a pack of another writer");
    let manifest = forged(&golden("sealed_manifest"), 32, &8_u64.to_le_bytes());
    assert!(Manifest::parse_object(VOLUME, ManifestNo(8), &manifest, &sealing()).is_err(), "another number");
}

#[test]
fn a_frame_opens_at_its_own_place_only() {
    let extents: Vec<PendingExtent> = (0..2_u64)
        .map(|n| PendingExtent { lba: Lba(n * 10), content: Content::Data(Checked::new(noise(n, 4096).into())) })
        .collect();
    let [one, two] = [(); 2].map(|()| build(&spec(Codec::Raw), sealing().fresh(), &extents));
    let (bytes, others) = (bytes_of(&one), bytes_of(&two));
    let frames: Vec<_> = one.index.locate(0, 2).unwrap().collect();
    let cut = |object: &Bytes, at: usize| {
        let range = &frames[at].stored;
        object.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap())
    };
    assert_eq!(one.index.decode_frame(&frames[0], &cut(&bytes, 0)).unwrap(), noise(0, 4096));
    let error = one.index.decode_frame(&frames[0], &cut(&bytes, 1)).unwrap_err();
    assert!(error.to_string().contains("not what was sealed"), "{error}");
    assert!(one.index.decode_frame(&frames[0], &cut(&others, 0)).is_err(), "the same frame of another build");
}

#[test]
fn clear_and_sealed_never_mix() {
    let clear = bytes_of(&build(&spec(Codec::Lz4), None, &batch()));
    let error = SegmentMeta::parse_object(SLOT, VOLUME, &clear, &sealing()).unwrap_err();
    assert_eq!(error.kind(), FormatErrorKind::Corrupt, "{error}");
    let error =
        Manifest::parse_object(VOLUME, ManifestNo(7), &manifest().encode(VOLUME, ManifestNo(7), None), &sealing());
    assert_eq!(error.unwrap_err().kind(), FormatErrorKind::Corrupt);
    let error = SegmentMeta::parse_object(SLOT, VOLUME, &golden("sealed_segment"), &Sealing::CLEAR).unwrap_err();
    assert_eq!(error.kind(), FormatErrorKind::Sealed, "{error}");
    let other = Sealing::with(DataKeys::only(DataKey::generate(2)));
    let error = SegmentMeta::parse_object(SLOT, VOLUME, &golden("sealed_segment"), &other).unwrap_err();
    assert_eq!(error.kind(), FormatErrorKind::Sealed, "{error}");
    let other = Sealing::with(DataKeys::only(DataKey::generate(1)));
    let error = SegmentMeta::parse_object(SLOT, VOLUME, &golden("sealed_segment"), &other).unwrap_err();
    assert_eq!(error.kind(), FormatErrorKind::Corrupt, "{error}");
    assert!(Head::parse(&SLOT.expected(VOLUME), &golden("sealed_segment")).is_err());
}

#[test]
fn a_manifest_shows_its_outline_without_a_key_and_nothing_else() {
    let outline = Outline::parse_object(VOLUME, ManifestNo(7), &golden("sealed_manifest")).unwrap();
    assert_eq!(outline, Outline::from(manifest()));
    let clear = manifest().encode(VOLUME, ManifestNo(7), None);
    let in_clear = Outline::parse_object(VOLUME, ManifestNo(7), &clear).unwrap();
    assert_eq!(in_clear, Outline { sealed: false, ..outline });
}

#[test]
fn every_codec_comes_back_sealed() {
    for codec in [Codec::Raw, Codec::Lz4, Codec::Zstd] {
        let built = build(&spec(codec), sealing().fresh(), &batch());
        let read = read_segment(SLOT, VOLUME, &bytes_of(&built), &sealing());
        assert_eq!(read, Some(vec![blocks(3, 2), blocks(9, 1)]), "{codec:?}");
        let packed = built.meta.data.iter().filter(|record| record.codec == codec).count();
        assert_eq!(packed, 2, "{codec:?} is what the frames are stored with");
    }
}

#[test]
fn no_two_objects_share_a_key() {
    let sealing = sealing();
    let mut seals = HashSet::new();
    for _ in 0..4000 {
        let built = build(&spec(Codec::Raw), sealing.fresh(), &batch()[1..2]);
        assert!(seals.insert(seal_of(&bytes_of(&built)).unwrap()));
        let object = manifest().encode(VOLUME, ManifestNo(7), sealing.fresh());
        assert!(seals.insert(seal_of(&object).unwrap()));
    }
}

#[test]
fn keys_are_not_shown() {
    let key = || DataKey::new(1, Uuid::nil(), Zeroizing::new([0xab; 32]));
    let place = Place { volume: VOLUME, kind: Kind::Log, epoch: WRITER.epoch, number: 1 };
    let seal = || key().seal([0; SALT_LEN]);
    let sealing = Sealing::with(DataKeys::only(key()));
    let shown = format!("{:?} {sealing:?} {:?} {:?}", key(), seal(), seal().bind(place, WRITER.nonce));
    for part in ["171, 171", "abab", "\\xab", "\u{ab}"] {
        assert!(!shown.to_lowercase().contains(part), "{shown}");
    }
    assert!(shown.contains("key_id"), "{shown}");
}
