//! Block status chunks: edges, and random extents against a map of every byte.

use nbdgate_api::ExtentKind;
use proptest::prelude::*;

use super::*;
use crate::nbd::proto::status::MAX_DESCRIPTORS;

fn extent(start: u64, end: u64, kind: ExtentKind) -> Extent {
    Extent { range: ByteRange::between(start, end), kind }
}

fn asked(start: u64, end: u64, req_one: bool) -> Asked {
    Asked { range: ByteRange::between(start, end), req_one }
}

/// The descriptors of a status chunk: length and status.
fn descriptors(style: ReplyStyle, asked: Asked, extents: &[Extent]) -> Vec<(u64, u64)> {
    let reply = bytes(|out| to(style).block_status(out, MetaContext::Allocation, asked, extents, Done::Yes));
    let (flags, kind, payload) = chunk(style, &reply);
    assert_eq!(flags, 1);
    assert_eq!(number(&payload[..4]), u64::from(MetaContext::Allocation.id()));
    let pairs = |list: &[u8], width: usize| -> Vec<(u64, u64)> {
        assert_eq!(list.len() % (2 * width), 0);
        list.chunks(2 * width).map(|pair| (number(&pair[..width]), number(&pair[width..]))).collect()
    };
    if style == ReplyStyle::Extended {
        assert_eq!(kind, 6);
        let list = pairs(&payload[8..], 8);
        assert_eq!(number(&payload[4..8]), list.len() as u64);
        list
    } else {
        assert_eq!(kind, 5);
        pairs(&payload[4..], 4)
    }
}

#[test]
fn a_status_chunk_has_the_bytes_of_the_specification() {
    let extents = [extent(0, 512, ExtentKind::Data), extent(512, 1024, ExtentKind::Hole)];
    let write = |style| {
        bytes(|out| to(style).block_status(out, MetaContext::Allocation, asked(0, 1024, false), &extents, Done::No))
    };
    let compact = [0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 3];
    assert_eq!(chunk(ReplyStyle::Structured, &write(ReplyStyle::Structured)), (0, 5, &compact[..]));
    let wide = [
        &[0, 0, 0, 1, 0, 0, 0, 2][..],
        &[0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 3],
    ];
    assert_eq!(chunk(ReplyStyle::Extended, &write(ReplyStyle::Extended)), (0, 6, &wide.concat()[..]));
}

#[test]
fn states_are_those_of_base_allocation() {
    for (kind, status) in [(ExtentKind::Data, 0), (ExtentKind::Hole, 3), (ExtentKind::Zero, 2)] {
        for style in STYLES {
            assert_eq!(descriptors(style, asked(0, 512, false), &[extent(0, 512, kind)]), [(512, status)]);
        }
    }
}

#[test]
fn req_one_gives_one_descriptor_inside_the_request() {
    let extents = [extent(0, 1024, ExtentKind::Hole), extent(1024, 2048, ExtentKind::Data)];
    for style in STYLES {
        assert_eq!(descriptors(style, asked(0, 2048, true), &extents), [(1024, 3)]);
        assert_eq!(descriptors(style, asked(512, 768, true), &extents), [(256, 3)]);
    }
}

#[test]
fn neighbours_of_one_state_are_joined() {
    let extents = [extent(0, 512, ExtentKind::Hole), extent(512, 1024, ExtentKind::Hole)];
    for style in STYLES {
        assert_eq!(descriptors(style, asked(0, 1024, true), &extents), [(1024, 3)]);
    }
}

#[test]
fn extents_that_do_not_reach_the_request_are_told_as_status_zero() {
    for style in STYLES {
        assert_eq!(descriptors(style, asked(512, 1024, false), &[]), [(512, 0)]);
        assert_eq!(descriptors(style, asked(512, 1024, false), &[extent(0, 512, ExtentKind::Hole)]), [(512, 0)]);
        assert_eq!(descriptors(style, asked(512, 1024, false), &[extent(600, 700, ExtentKind::Hole)]), [(512, 0)]);
        assert_eq!(descriptors(style, asked(512, 1024, false), &[extent(512, 512, ExtentKind::Hole)]), [(512, 0)]);
    }
}

#[test]
fn a_gap_ends_the_answer() {
    let extents = [extent(0, 512, ExtentKind::Hole), extent(600, 1024, ExtentKind::Hole)];
    for style in STYLES {
        assert_eq!(descriptors(style, asked(0, 1024, false), &extents), [(512, 3)]);
    }
}

#[test]
fn huge_extents_fit_their_descriptors() {
    let extents = [extent(0, 1 << 50, ExtentKind::Hole)];
    let end = u64::from(u32::MAX);
    assert_eq!(descriptors(ReplyStyle::Structured, asked(0, end, true), &extents), [(end, 3)]);
    assert_eq!(descriptors(ReplyStyle::Extended, asked(0, 1 << 50, true), &extents), [(1 << 50, 3)]);
    assert_eq!(descriptors(ReplyStyle::Structured, asked(0, 1 << 33, true), &extents), [(0xffff_0000, 3)]);
    let split = descriptors(ReplyStyle::Structured, asked(0, 1 << 33, false), &extents);
    assert_eq!(split, [(0xffff_0000, 3), (0xffff_0000, 3), (0x2_0000, 3)]);
}

#[test]
fn a_chunk_has_a_bounded_number_of_descriptors() {
    let kinds = [ExtentKind::Data, ExtentKind::Hole];
    let extents: Vec<_> = (0..10_000).map(|i| extent(i * 512, i * 512 + 512, kinds[(i % 2) as usize])).collect();
    for style in STYLES {
        assert_eq!(descriptors(style, asked(0, 5_120_000, false), &extents).len(), MAX_DESCRIPTORS as usize);
    }
}

fn any_extents() -> impl Strategy<Value = Vec<Extent>> {
    let kind = prop_oneof![Just(ExtentKind::Data), Just(ExtentKind::Hole), Just(ExtentKind::Zero)];
    (0u64..20, proptest::collection::vec((0u64..20, kind, prop_oneof![9 => Just(0u64), 1 => 1u64..5]), 0..20)).prop_map(
        |(mut at, list)| {
            list.into_iter()
                .map(|(length, kind, gap)| {
                    let start = at + gap;
                    at = start + length;
                    extent(start, at, kind)
                })
                .collect()
        },
    )
}

proptest! {
    #[test]
    fn every_answer_is_legal_and_true(extents in any_extents(), start in 0u64..100, length in 1u64..100, req_one: bool) {
        let state = |byte: u64| {
            let here = extents.iter().find(|extent| extent.range.contains(ByteRange::between(byte, byte + 1)));
            here.map(|extent| match extent.kind {
                ExtentKind::Data | ExtentKind::Clean => 0,
                ExtentKind::Hole => 3,
                ExtentKind::Zero => 2,
                ExtentKind::Dirty => 1,
            })
        };
        for style in STYLES {
            let list = descriptors(style, asked(start, start + length, req_one), &extents);
            prop_assert!(!list.is_empty());
            prop_assert!(!req_one || list.len() == 1);
            prop_assert!(list.iter().all(|(length, _)| *length > 0));
            prop_assert!(list.windows(2).all(|pair| pair[0].1 != pair[1].1), "{:?}", list);
            prop_assert!(list.iter().map(|(length, _)| length).sum::<u64>() <= length);
            let mut at = start;
            for (length, status) in list {
                for byte in at..at + length {
                    prop_assert!(status == 0 && state(start).is_none() || state(byte) == Some(status));
                }
                at += length;
            }
        }
    }
}

#[test]
fn a_dirty_bitmap_tells_dirty_clean_and_what_it_does_not_know_as_dirty() {
    let told = |extents: &[Extent]| {
        let context = MetaContext::Bitmap(4);
        let reply = bytes(|out| {
            to(ReplyStyle::Structured).block_status(out, context, asked(0, 1024, false), extents, Done::Yes);
        });
        let words = |bytes: &[u8]| bytes.chunks(4).map(number).collect::<Vec<u64>>();
        words(&reply[20..])
    };
    let extents = [extent(0, 512, ExtentKind::Dirty), extent(512, 1024, ExtentKind::Clean)];
    assert_eq!(told(&extents), [6, 512, 1, 512, 0]);
    assert_eq!(told(&[]), [6, 1024, 1]);
}
