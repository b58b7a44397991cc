//! Objects without a body: they come back, refuse every flipped byte and cut, and are the bytes of the golden files.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use bytes::Bytes;
use nbdgate_s3::format::manifest::{ClosedLog, FlushMode, OpenLog, Options, Owner, SnapshotEntry, State, WrappedKey};
use nbdgate_s3::format::{
    CheckpointNo, Codec, Descriptor, Epoch, Expected, Fence, FormatError, FormatErrorKind, Head, Kind, LedgerEntry,
    LedgerOp, Manifest, ManifestNo, Nonce, ObjectName, PackName, Parent, Place, RootLocator, Sealing, Seq, SnapshotId,
    VolumeId, VolumeName, Writer,
};
use proptest::prelude::*;
use uuid::Uuid;

const VOLUME: VolumeId = VolumeId(Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff));
const SNAPSHOT: SnapshotId = SnapshotId(Uuid::from_u128(0x5a));
const WRITER: Writer = Writer { epoch: Epoch(4), nonce: Nonce(0x0123_4567_89ab_cdef) };

fn fence() -> Fence {
    Fence { by: Writer { epoch: Epoch(5), nonce: Nonce(77) }, host: "host-b".into() }
}

fn descriptor() -> Descriptor {
    let parent = Parent { volume: VolumeId(Uuid::from_u128(9)), snapshot: SNAPSHOT };
    let name = VolumeName::parse("vm-1.root").unwrap();
    Descriptor { name, created_ms: 1_700_000_000_000, parent: Some(parent), sealed: false }
}

fn ledger() -> LedgerEntry {
    LedgerEntry { op: LedgerOp::Add(VolumeId(Uuid::from_u128(3))), host: "host-a".into(), unix_ms: 1_700_000_000_001 }
}

fn root() -> RootLocator {
    let pack = PackName { volume: VOLUME, writer: WRITER, number: 3 };
    RootLocator { pack, offset: 4096, len: 300, crc: 0xfeed_f00d, checkpoint: CheckpointNo(12) }
}

fn manifest() -> Manifest {
    let snapshot = SnapshotEntry { id: SNAPSHOT, name: "daily".into(), created_ms: 5, root: root(), blocks: 1 << 28 };
    Manifest {
        prev: [0x3c; 32],
        state: State::Open,
        owner: Owner {
            writer: WRITER,
            host: "host-a".into(),
            journal: Some(Uuid::from_u128(0xaa)),
            journal_dirty: true,
        },
        blocks: 1 << 28,
        root: Some(root()),
        sealed: vec![ClosedLog { writer: fence().by, first: Seq(3), last: Seq(9) }],
        open: Some(OpenLog { writer: WRITER, first: Seq(10) }),
        window: 8,
        snapshots: vec![snapshot],
        lineage: vec![Parent { volume: VolumeId(Uuid::from_u128(9)), snapshot: SNAPSHOT }],
        keys: vec![WrappedKey { key_id: 1, method: 2, wrapped: Bytes::from_static(b"wrapped") }],
        options: Options { flush: FlushMode::Journal, codec: Codec::Zstd, ..Options::default() },
        log_root: None,
        copied: vec![(0xc001, Bytes::from_static(b"later"))],
    }
}

fn bare_manifest() -> Manifest {
    Manifest {
        root: None,
        sealed: Vec::new(),
        open: None,
        snapshots: Vec::new(),
        lineage: Vec::new(),
        keys: Vec::new(),
        log_root: None,
        copied: Vec::new(),
        ..manifest()
    }
}

type Parse = fn(&Bytes) -> Result<String, FormatError>;

/// Name of the golden file, the bytes as they are encoded now, and a parser that shows what it read.
fn objects() -> [(&'static str, Bytes, Parse); 4] {
    let slot = ObjectName::Log { writer: WRITER, seq: Seq(0x21) };
    assert_eq!(slot, ObjectName::parse("l/21/00000004-0123456789abcdef/0000000000000021").unwrap());
    [
        ("fence", fence().encode(VOLUME, WRITER, Seq(0x21)), |bytes| {
            let slot = ObjectName::Log { writer: WRITER, seq: Seq(0x21) };
            Fence::parse_object(slot, VOLUME, bytes).map(|fence| format!("{fence:?}"))
        }),
        ("descriptor", descriptor().encode(VOLUME), |bytes| {
            Descriptor::parse_object(VOLUME, bytes).map(|descriptor| format!("{descriptor:?}"))
        }),
        ("ledger", ledger().encode(VOLUME, 2), |bytes| {
            LedgerEntry::parse_object(VOLUME, SNAPSHOT, 2, bytes).map(|entry| format!("{entry:?}"))
        }),
        ("manifest", manifest().encode(VOLUME, ManifestNo(7), None), |bytes| {
            Manifest::parse_object(VOLUME, ManifestNo(7), bytes, &Sealing::CLEAR)
                .map(|manifest| format!("{manifest:?}"))
        }),
    ]
}

#[test]
fn objects_come_back() {
    let shown = objects().map(|(_, bytes, parse)| parse(&bytes).unwrap());
    let expected = [
        format!("{:?}", fence()),
        format!("{:?}", descriptor()),
        format!("{:?}", ledger()),
        format!("{:?}", manifest()),
    ];
    assert_eq!(shown, expected);
    let bare = bare_manifest().encode(VOLUME, ManifestNo(1), None);
    assert_eq!(Manifest::parse_object(VOLUME, ManifestNo(1), &bare, &Sealing::CLEAR), Ok(bare_manifest()));
}

#[test]
fn every_flipped_byte_and_every_cut_is_refused() {
    for (name, good, parse) in objects() {
        for at in 0..good.len() {
            let mut bytes = good.to_vec();
            bytes[at] ^= 0x20;
            assert!(parse(&bytes.into()).is_err(), "{name}: byte {at}");
            assert!(parse(&good.slice(..at)).is_err(), "{name}: cut to {at}");
        }
        let mut longer = good.to_vec();
        longer.push(0);
        assert!(parse(&longer.into()).is_err(), "{name}: longer");
    }
}

fn golden(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}

/// The format is a promise to every bucket written so far: a change here is a new format version.
#[test]
fn objects_are_the_golden_bytes() {
    for (name, bytes, parse) in objects() {
        assert_eq!(hex(&bytes), hex(&golden(name)), "{name}");
        assert!(parse(&golden(name).into()).is_ok(), "{name}");
    }
}

#[test]
fn a_fence_and_a_segment_are_told_apart() {
    let name = ObjectName::Log { writer: WRITER, seq: Seq(0) };
    let bytes = fence().encode(VOLUME, WRITER, Seq(0));
    let error = nbdgate_s3::format::SegmentMeta::parse_object(name, VOLUME, &bytes, &Sealing::CLEAR).unwrap_err();
    assert_eq!(error.kind(), FormatErrorKind::WrongPlace);
    assert_eq!(error.object(), Some(name.to_string().as_str()));
}

#[test]
fn the_hash_is_of_the_whole_object() {
    let bytes = manifest().encode(VOLUME, ManifestNo(7), None);
    let other = manifest().encode(VOLUME, ManifestNo(8), None);
    assert_ne!(Manifest::hash(&bytes), Manifest::hash(&other));
    let known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(hex(&Manifest::hash(b"")).trim(), known);
}

/// A manifest with one more tag, as a later version may write it.
fn with_tag(tag: u16) -> Result<Manifest, FormatError> {
    let place = Place { volume: VOLUME, kind: Kind::Manifest, epoch: WRITER.epoch, number: 1 };
    let bytes = bare_manifest().encode(VOLUME, ManifestNo(1), None);
    let expected = Expected { volume: VOLUME, kinds: &[Kind::Manifest], epoch: Some(WRITER.epoch), number: 1 };
    let mut meta = Head::parse(&expected, &bytes).unwrap().meta.to_vec();
    meta.extend_from_slice(&tag.to_le_bytes());
    meta.extend_from_slice(&3_u32.to_le_bytes());
    meta.extend_from_slice(b"new");
    Manifest::parse_object(VOLUME, ManifestNo(1), &Head::encode(place, &meta, 0).1, &Sealing::CLEAR)
}

#[test]
fn unknown_tags_are_refused_ignored_or_copied_by_number() {
    assert_eq!(with_tag(13).unwrap_err().kind(), FormatErrorKind::FutureVersion);
    assert_eq!(with_tag(0x7fff).unwrap_err().kind(), FormatErrorKind::FutureVersion);
    assert_eq!(with_tag(0x8000), Ok(bare_manifest()));
    assert_eq!(with_tag(0xbfff), Ok(bare_manifest()));
    assert_eq!(with_tag(0xc000).unwrap().copied, [(0xc000, Bytes::from_static(b"new"))]);
    assert_eq!(with_tag(12).unwrap_err().kind(), FormatErrorKind::Corrupt, "twice");
}

proptest! {
    #[test]
    fn random_meta_never_panics(meta in proptest::collection::vec(any::<u8>(), 0..400), kind in 0_usize..4) {
        let kinds = [(Kind::Fence, 4, 0x21), (Kind::Descriptor, 0, 0), (Kind::Ledger, 0, 2), (Kind::Manifest, 4, 7)];
        let (object, epoch, number) = kinds[kind];
        let place = Place { volume: VOLUME, kind: object, epoch: Epoch(epoch), number };
        let _ = objects()[kind].2(&Head::encode(place, &meta, 0).1);
    }

    #[test]
    fn mutated_manifests_never_panic(at in 0_usize..2000, value: u8) {
        let expected =
            Expected { volume: VOLUME, kinds: &[Kind::Manifest], epoch: Some(WRITER.epoch), number: 7 };
        let mut meta = Head::parse(&expected, &objects()[3].1).unwrap().meta.to_vec();
        let at = at % meta.len();
        meta[at] = value;
        let place = Place { volume: VOLUME, kind: Kind::Manifest, epoch: WRITER.epoch, number: 7 };
        let bytes = Head::encode(place, &meta, 0).1;
        // What is accepted has one encoding: itself, but for a tag that became one to be ignored.
        if let Ok(manifest) = Manifest::parse_object(VOLUME, ManifestNo(7), &bytes, &Sealing::CLEAR) {
            let again = manifest.encode(VOLUME, ManifestNo(7), None);
            prop_assert_eq!(Manifest::parse_object(VOLUME, ManifestNo(7), &again, &Sealing::CLEAR), Ok(manifest));
            prop_assert!(again == bytes || again.len() < bytes.len());
        }
    }
}

#[test]
fn a_log_root_comes_back_and_is_not_ignored_by_who_does_not_know_it() {
    let bare = manifest().encode(VOLUME, ManifestNo(7), None);
    let with = Manifest { log_root: Some("s3://fast--use1-az4--x-s3/logs".to_owned()), ..manifest() };
    let object = with.encode(VOLUME, ManifestNo(7), None);
    assert_eq!(Manifest::parse_object(VOLUME, ManifestNo(7), &object, &Sealing::CLEAR).unwrap(), with);
    assert_eq!(object.len(), bare.len() + 6 + 2 + 30, "a tag, a length, a text");
    // Tags below 0x8000 are refused by readers that do not know them (docs/decisions/0003-manifest-tags.md).
    let tag = [16, 0, 32, 0, 0, 0];
    assert!(object.windows(6).any(|bytes| bytes == tag) && !bare.windows(6).any(|bytes| bytes == tag));
}
