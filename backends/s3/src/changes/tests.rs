//! The comparison against a naive model of two pictures.

use proptest::prelude::*;

use super::*;
use crate::{
    format::{CheckpointNo, Epoch, Nonce, Writer},
    map::{Run, SegmentEntry, SegmentKind, segments::SegmentName},
};

const BLOCKS: u64 = 2500;

/// Data with a number, or zeros.
#[derive(Clone, Debug)]
struct Change {
    start: u64,
    nblocks: u64,
    data: bool,
}

fn change() -> impl Strategy<Value = Change> {
    (0..BLOCKS, 1..1400_u64, any::<bool>()).prop_map(|(start, nblocks, data)| Change {
        start,
        nblocks: nblocks.min(BLOCKS - start),
        data,
    })
}

fn entry(number: u64) -> SegmentEntry {
    let writer = Writer { epoch: Epoch(1), nonce: Nonce(2) };
    let name = SegmentName { kind: SegmentKind::Log, owner: 0, writer, number };
    SegmentEntry { name, lblocks: 4000, live: 0, stored_bytes: 1, birth: CheckpointNo(1) }
}

/// The changes as a picture, where handles begin behind `skip` others; and the number of each block's last change.
fn picture(changes: &[Change], blocks: u64, skip: u64) -> (Picture, Vec<Option<usize>>) {
    let (mut map, mut segments) = (PagedMap::new(blocks), SegmentTable::new());
    (0..skip).for_each(|number| {
        segments.insert(entry(1_000_000 + number));
    });
    let mut model = vec![None; usize::try_from(blocks).unwrap()];
    for (number, change) in changes.iter().enumerate() {
        let nblocks = change.nblocks.min(blocks.saturating_sub(change.start));
        let segment = segments.insert(entry(number as u64));
        let range = BlockRange::new(Lba(change.start), nblocks);
        if nblocks == 0 {
            continue;
        }
        if change.data {
            let address = SegmentAddress { segment, lblk: 3 };
            map.update(Run { lba: range.start, address, nblocks: u32::try_from(nblocks).unwrap() }, |_| {});
        } else {
            map.zero(range, |_| {});
        }
        let index = |at: u64| usize::try_from(at).unwrap();
        model[index(range.start.0)..index(range.end().0)].fill(change.data.then_some(number));
    }
    (Picture { map, segments }, model)
}

proptest! {
    #[test]
    fn exactly_the_blocks_that_differ_are_told(
        changes in proptest::collection::vec(change(), 0..24),
        cut in 0..25_usize,
        (skip_old, skip_new) in (0..4_u64, 0..4_u64),
        old_blocks in prop_oneof![Just(BLOCKS), 1..BLOCKS],
        (from, length) in (0..BLOCKS, 1..BLOCKS),
    ) {
        let cut = cut.min(changes.len());
        let (old, before) = picture(&changes[..cut], old_blocks, skip_old);
        let (new, after) = picture(&changes, BLOCKS, skip_new);
        let asked = BlockRange::new(Lba(from), length.min(BLOCKS - from));
        let mut comparison = Comparison::new(&old, &new.segments);
        let mut at = asked.start.0;
        for span in new.map.lookup(asked) {
            let place = match span {
                Span::Hole(_) => Place::Hole,
                Span::Run(run) => Place::Stored(run.address),
            };
            comparison.split(span.range(), place, |part, changed| {
                assert_eq!(part.start.0, at, "without gaps");
                at = part.end().0;
                for block in part.start.0..part.end().0 {
                    let index = usize::try_from(block).unwrap();
                    let expected = before.get(index).is_none_or(|before| *before != after[index]);
                    assert_eq!(changed, expected, "block {block}");
                }
            });
        }
        prop_assert_eq!(at, asked.end().0);
    }

    #[test]
    fn what_no_object_of_the_older_picture_holds_has_changed(changes in proptest::collection::vec(change(), 0..8)) {
        let (old, _) = picture(&changes, BLOCKS, 0);
        let mut comparison = Comparison::new(&old, &old.segments);
        comparison.split(BlockRange::new(Lba(0), BLOCKS), Place::New, |_, changed| assert!(changed));
    }
}
