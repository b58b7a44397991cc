//! The paged map against one entry per block.

#![expect(clippy::cast_possible_truncation, reason = "test data is small")]

use nbdgate_s3::format::{BlockRange, Lba, SegId, SegmentAddress};
use nbdgate_s3::map::{PagedMap, Run, Span};
use proptest::prelude::*;
use std::time::Instant;

const BLOCKS: u64 = 5 * 1024 + 300;

#[derive(Clone, Copy, Debug)]
struct Change {
    start: u64,
    nblocks: u64,
    /// None clears.
    address: Option<SegmentAddress>,
}

fn change() -> impl Strategy<Value = Change> {
    let length = prop_oneof![6 => 1_u64..5, 3 => 1_u64..200, 1 => 1_u64..4000];
    let address = prop_oneof![
        1 => Just(None),
        4 => (1_u32..6, 0_u32..8).prop_map(|(segment, at)| {
            Some(SegmentAddress { segment: SegId(segment), lblk: at * 500 })
        }),
        // Continues whatever lies before it in the same layout: neighbours must join.
        2 => Just(Some(SegmentAddress { segment: SegId(9), lblk: 0 })),
    ];
    (0..BLOCKS, length, address).prop_map(|(start, nblocks, address)| {
        let address = address.map(|address| match address.segment {
            SegId(9) => SegmentAddress { lblk: start as u32, ..address },
            _ => address,
        });
        Change { start, nblocks: nblocks.min(BLOCKS - start), address }
    })
}

type Model = Vec<Option<SegmentAddress>>;

fn blocks_of(run: &Run) -> impl Iterator<Item = (u64, SegmentAddress)> + use<> {
    let run = *run;
    (0..run.nblocks).map(move |i| (run.lba.0 + u64::from(i), run.address.plus(i)))
}

fn apply(map: &mut PagedMap, model: &mut Model, change: Change) -> Result<(), TestCaseError> {
    let range = change.start as usize..(change.start + change.nblocks) as usize;
    let mut expected: Vec<(u64, SegmentAddress)> = Vec::new();
    for (at, entry) in (change.start..).zip(&mut model[range]) {
        expected.extend(entry.map(|address| (at, address)));
        *entry = change.address.map(|address| address.plus((at - change.start) as u32));
    }
    let mut displaced = Vec::new();
    if let Some(address) = change.address {
        let run = Run { lba: Lba(change.start), address, nblocks: change.nblocks as u32 };
        map.update(run, |run| displaced.extend(blocks_of(&run)));
    } else {
        let range = BlockRange::new(Lba(change.start), change.nblocks);
        map.zero(range, |run| displaced.extend(blocks_of(&run)));
    }
    prop_assert_eq!(displaced, expected, "displaced by {:?}", change);
    Ok(())
}

fn check(map: &PagedMap, model: &Model, range: BlockRange) -> Result<(), TestCaseError> {
    let mut at = range.start.0;
    let mut last: Option<Span> = None;
    for span in map.lookup(range) {
        prop_assert_eq!(span.range().start.0, at, "spans follow each other");
        prop_assert!(!span.range().is_empty());
        match span {
            Span::Hole(hole) => {
                prop_assert!(!matches!(last, Some(Span::Hole(_))), "neighbouring holes are one");
                prop_assert!((hole.start.0..hole.end().0).all(|block| model[block as usize].is_none()));
            }
            Span::Run(run) => {
                for (block, address) in blocks_of(&run) {
                    prop_assert_eq!(model[block as usize], Some(address), "block {}", block);
                }
                if let Some(Span::Run(before)) = last {
                    prop_assert_ne!(before.address.plus(before.nblocks), run.address, "neighbouring runs are one");
                }
            }
        }
        at = span.range().end().0;
        last = Some(span);
    }
    prop_assert_eq!(at, range.end().0, "spans cover the range");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_map_is_a_block_array(changes in proptest::collection::vec(change(), 1..400), cut in 0..BLOCKS) {
        let mut map = PagedMap::new(BLOCKS);
        let mut model = vec![None; BLOCKS as usize];
        for change in changes {
            apply(&mut map, &mut model, change)?;
        }
        check(&map, &model, BlockRange::new(Lba(0), BLOCKS))?;
        check(&map, &model, BlockRange::new(Lba(cut), BLOCKS - cut))?;
        check(&map, &model, BlockRange::new(Lba(0), cut))?;
    }

    #[test]
    fn dense_pages_are_no_different(seed in any::<u64>(), changes in proptest::collection::vec(change(), 1..40)) {
        let mut map = PagedMap::new(BLOCKS);
        let mut model = vec![None; BLOCKS as usize];
        // Every block in another place: far more than 640 extents a page.
        for block in 0..BLOCKS {
            let mixed = (block ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let address = SegmentAddress { segment: SegId(1 + (mixed >> 60) as u32), lblk: (mixed >> 40 & 0xffff) as u32 };
            apply(&mut map, &mut model, Change { start: block, nblocks: 1, address: Some(address) })?;
        }
        for change in changes {
            apply(&mut map, &mut model, change)?;
        }
        check(&map, &model, BlockRange::new(Lba(0), BLOCKS))?;
    }
}

fn random_lbas(seed: u64, count: usize, below: u64) -> Vec<u64> {
    let mut state = seed;
    let step = |state: &mut u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    };
    (0..count).map(|_| step(&mut state) % below).collect()
}

#[test]
fn a_page_never_takes_more_than_8_kib() {
    let blocks = 16 * 1024;
    let mut map = PagedMap::new(blocks);
    let empty = map.bytes();
    let seed = 7;
    for (i, lba) in (0..).zip(random_lbas(seed, 60_000, blocks)) {
        let address = SegmentAddress { segment: SegId(1), lblk: i };
        map.update(Run { lba: Lba(lba), address, nblocks: 1 }, |_| ());
        let pages = map.bytes() - empty;
        assert!(pages <= 16 * (8192 + 64), "seed {seed}: {pages} bytes after {i} writes");
    }
    map.zero(BlockRange::new(Lba(0), blocks), |_| ());
    assert_eq!(map.bytes(), empty, "nothing is left of cleared pages");
}

#[test]
fn an_empty_tebibyte_is_small_and_a_whole_trim_is_quick() {
    let blocks = 1_u64 << 28;
    let mut map = PagedMap::new(blocks);
    assert!(map.bytes() < 8 << 20, "{} bytes", map.bytes());
    for page in (0..blocks).step_by(1024) {
        let address = SegmentAddress { segment: SegId(1), lblk: (page / 4) as u32 };
        map.update(Run { lba: Lba(page), address, nblocks: 512 }, |_| ());
    }
    let start = Instant::now();
    let mut displaced = 0_u64;
    map.zero(BlockRange::new(Lba(0), blocks), |run| displaced += u64::from(run.nblocks));
    println!("trim of 1 TiB: {:?}", start.elapsed());
    assert_eq!(displaced, blocks / 2);
    let whole = BlockRange::new(Lba(0), blocks);
    assert_eq!(map.lookup(whole).collect::<Vec<_>>(), [Span::Hole(whole)]);
}

#[test]
fn a_picture_keeps_what_it_showed() {
    let mut map = PagedMap::new(4096);
    let run =
        |lba, segment| Run { lba: Lba(lba), address: SegmentAddress { segment: SegId(segment), lblk: 0 }, nblocks: 8 };
    map.update(run(0, 1), |_| ());
    map.update(run(100, 1), |_| ());
    map.update(run(3000, 2), |_| ());
    assert_eq!(map.dirty_count(), 2);
    let picture = map.freeze();
    let before = format!("{picture:?}");
    assert_eq!(picture.numbers().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(map.dirty_count(), 0);
    map.update(run(4, 3), |_| ());
    map.zero(BlockRange::new(Lba(0), 4096), |_| ());
    assert_eq!(format!("{picture:?}"), before);
    assert_eq!(map.dirty_count(), 2);
    map.freeze();
    map.thaw(&picture);
    assert!(map.is_dirty(0) && !map.is_dirty(1) && map.is_dirty(2));
}

#[test]
fn a_sequential_segment_is_one_run_across_pages() {
    let mut map = PagedMap::new(8192);
    let address = SegmentAddress { segment: SegId(1), lblk: 0 };
    let run = Run { lba: Lba(500), address, nblocks: 4000 };
    map.update(run, |_| ());
    let spans: Vec<_> = map.lookup(BlockRange::new(Lba(0), 8192)).collect();
    let holes = [BlockRange::new(Lba(0), 500), BlockRange::new(Lba(4500), 3692)];
    assert_eq!(spans, [Span::Hole(holes[0]), Span::Run(run), Span::Hole(holes[1])]);
}

#[test]
fn a_grown_disk_ends_in_a_hole() {
    let mut map = PagedMap::new(10);
    let address = SegmentAddress { segment: SegId(1), lblk: 0 };
    map.update(Run { lba: Lba(0), address, nblocks: 10 }, |_| ());
    map.grow(2000);
    let spans: Vec<_> = map.lookup(BlockRange::new(Lba(5), 1995)).collect();
    assert_eq!(spans[1], Span::Hole(BlockRange::new(Lba(10), 1990)));
    assert_eq!(spans.len(), 2);
}

proptest! {
    #[test]
    fn a_smaller_map_lets_go_of_exactly_what_lies_behind_its_end(
        changes in proptest::collection::vec(change(), 1..40),
        end in 0..=BLOCKS,
    ) {
        let (mut map, mut model) = (PagedMap::new(BLOCKS), vec![None; BLOCKS as usize]);
        for change in changes {
            apply(&mut map, &mut model, change)?;
        }
        let mut gone = Vec::new();
        map.shrink(end, |run| gone.extend(blocks_of(&run)));
        let behind = (end..).zip(model.split_off(end as usize));
        let expected: Vec<_> = behind.filter_map(|(at, entry)| Some((at, entry?))).collect();
        prop_assert_eq!(gone, expected);
        let frozen = map.freeze();
        prop_assert!(frozen.numbers().all(|page| page < map.page_count()), "no page behind the end is written");
        prop_assert_eq!(map.dirty_count(), 0);
        map.grow(BLOCKS);
        model.resize(BLOCKS as usize, None);
        let mut seen = vec![None; BLOCKS as usize];
        for span in map.lookup(BlockRange::new(Lba(0), BLOCKS)) {
            if let Span::Run(run) = span {
                blocks_of(&run).for_each(|(at, address)| seen[at as usize] = Some(address));
            }
        }
        prop_assert!(seen == model, "what was given up never comes back");
    }
}
