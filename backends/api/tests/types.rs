//! The value types of the contract against naive models.

use bytes::Bytes;
use nbdgate_api::{ByteRange, Extent, ExtentKind, Op, Payload, Zeroes};
use proptest::{collection::vec, prelude::*};

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::between(start, end)
}

fn any_range() -> impl Strategy<Value = ByteRange> {
    (0_u64..200, 0_u64..60).prop_map(|(start, length)| range(start, start + length))
}

fn members(range: ByteRange) -> Vec<u64> {
    (range.offset()..range.end()).collect()
}

#[test]
fn a_range_that_passes_64_bits_is_none() {
    assert!(ByteRange::new(u64::MAX, 1).is_none());
    assert_eq!(ByteRange::new(u64::MAX, 0).map(ByteRange::end), Some(u64::MAX));
    assert_eq!(ByteRange::new(1, u64::MAX - 1).map(ByteRange::end), Some(u64::MAX));
}

#[test]
#[should_panic(expected = "reversed")]
fn a_reversed_range_is_a_callers_bug() {
    range(2, 1);
}

#[test]
fn pieces_reach_the_end_of_64_bits() {
    let high = range(u64::MAX - 10, u64::MAX);
    assert_eq!(high.pieces(8).collect::<Vec<_>>(), [range(u64::MAX - 10, u64::MAX - 7), range(u64::MAX - 7, u64::MAX)]);
    assert_eq!(high.pieces(u64::MAX).collect::<Vec<_>>(), [high]);
}

proptest! {
    #[test]
    fn ranges_are_sets_of_offsets(one in any_range(), other in any_range()) {
        let (ours, theirs) = (members(one), members(other));
        let both: Vec<u64> = ours.iter().copied().filter(|offset| theirs.contains(offset)).collect();
        if !one.is_empty() && !other.is_empty() {
            prop_assert_eq!(one.overlaps(other), !both.is_empty());
            prop_assert_eq!(one.intersect(other).map(members).unwrap_or_default(), both);
            prop_assert_eq!(one.contains(other), theirs.iter().all(|offset| ours.contains(offset)));
        }
    }

    #[test]
    fn pieces_cut_at_the_grid_and_nowhere_else(whole in any_range(), step in 1_u64..70) {
        let pieces: Vec<ByteRange> = whole.pieces(step).collect();
        prop_assert_eq!(pieces.iter().copied().flat_map(members).collect::<Vec<_>>(), members(whole));
        for piece in &pieces {
            prop_assert!(!piece.is_empty() && piece.offset() / step == (piece.end() - 1) / step);
        }
        prop_assert!(pieces.windows(2).all(|pair| pair[1].offset().is_multiple_of(step)));
    }

    #[test]
    fn payloads_are_their_bytes(slices in vec(vec(any::<u8>(), 0..20), 0..6), cut in any::<(u16, u16)>()) {
        let naive = slices.concat();
        let mut payload = Payload::default();
        for slice in &slices {
            payload.push(Bytes::copy_from_slice(slice));
        }
        prop_assert_eq!(payload.len(), naive.len() as u64);
        prop_assert_eq!(payload.is_empty(), naive.is_empty());
        prop_assert!(payload.slices().iter().all(|slice| !slice.is_empty()));

        let start = usize::from(cut.0) % (naive.len() + 1);
        let length = usize::from(cut.1) % (naive.len() - start + 1);
        let part = payload.slice(start as u64, length as u64);
        let mut copied = vec![0; length];
        part.copy_to(&mut copied);
        prop_assert_eq!(&copied, &naive[start..start + length]);
        prop_assert_eq!(part.into_contiguous(), copied);
        prop_assert_eq!(payload.into_contiguous(), naive);
    }

    #[test]
    fn joined_extents_tell_the_same(kinds in vec((0_u8..3, 1_u64..5), 1..20)) {
        let mut list = Vec::new();
        let mut naive = Vec::new();
        for (kind, length) in kinds {
            let kind = [ExtentKind::Data, ExtentKind::Hole, ExtentKind::Zero][usize::from(kind)];
            let start = naive.len() as u64;
            Extent { range: range(start, start + length), kind }.push_onto(&mut list);
            naive.extend((0..length).map(|_| kind));
        }
        let kinds = |extent: &Extent| vec![extent.kind; members(extent.range).len()];
        let told: Vec<ExtentKind> = list.iter().flat_map(kinds).collect();
        prop_assert_eq!(told, naive);
        prop_assert!(list.windows(2).all(|pair| pair[0].kind != pair[1].kind));
    }
}

#[test]
fn a_slice_shares_the_memory_of_its_payload() {
    let payload = Payload::from(vec![1_u8; 100]);
    let part = payload.slice(10, 20);
    assert_eq!(part.slices()[0].as_ptr(), payload.slices()[0][10..].as_ptr());
}

#[test]
fn extents_apart_are_not_joined() {
    let mut list = Vec::new();
    for start in [0, 20] {
        Extent { range: range(start, start + 10), kind: ExtentKind::Data }.push_onto(&mut list);
    }
    assert_eq!(list.len(), 2);
}

#[test]
fn operations_know_what_they_touch() {
    let place = range(10, 30);
    let write = Op::Write { offset: 10, payload: vec![0; 20].into(), fua: true };
    let zeroes = Op::WriteZeroes { range: place, zeroes: Zeroes::default(), fua: false };
    let trim = Op::Trim { range: place, fua: true };
    let status = Op::BlockStatus { range: place, req_one: false };
    let table = [
        (write, Some(place), true, true),
        (zeroes, Some(place), true, false),
        (trim, Some(place), true, true),
        (status, Some(place), false, false),
        (Op::Read(place), Some(place), false, false),
        (Op::Cache(place), Some(place), false, false),
        (Op::Flush, None, false, true),
    ];
    for (op, touched, mutates, durable) in table {
        assert_eq!((op.range(), op.is_mutation(), op.is_durable()), (touched, mutates, durable), "{op:?}");
    }
}
