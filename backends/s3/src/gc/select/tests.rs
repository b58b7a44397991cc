//! Examples, and the simulation of OBJECT-LOG §9.1: how much is written again for each byte that clients write.

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    format::{Epoch, Nonce, Writer},
    map::{SegmentKind, SegmentName},
};

fn entry(number: u64, lblocks: u32, live: u32, birth: u32) -> SegmentEntry {
    let writer = Writer { epoch: Epoch(1), nonce: Nonce(2) };
    let name = SegmentName { kind: SegmentKind::Log, owner: 0, writer, number };
    SegmentEntry { name, lblocks, live, stored_bytes: lblocks * 4096, birth: CheckpointNo(birth) }
}

/// Chooses among segments of a thousand blocks, of which so many live, born at these checkpoints; the last is 10.
fn choose(segments: &[(u32, u32)], snapshots: &[u32], ask: Ask) -> (Vec<u64>, bool, Stock) {
    let entries: Vec<SegmentEntry> =
        (0..).zip(segments).map(|(number, &(live, birth))| entry(number, 1000, live, birth)).collect();
    let table = (1..).map(SegId).zip(&entries);
    let snapshots = Snapshots::new(snapshots.iter().copied().map(CheckpointNo));
    let Selection { segments, active, stock } =
        select(table, CheckpointNo(10), &snapshots, &GcRules::default(), ask, |_| false);
    (segments.iter().map(|(_, entry)| entry.name.number).collect(), active, stock)
}

#[test]
fn cleaning_begins_below_the_first_mark_and_goes_on_to_the_second() {
    let seventy_two = [(720, 5), (720, 5), (720, 5)];
    let ask = |active, idle| Ask { active, idle };
    assert_eq!(choose(&seventy_two, &[], ask(false, false)).0, Vec::<u64>::new());
    assert_eq!(choose(&seventy_two, &[], ask(true, false)).0.len(), 1, "one makes 77 percent");
    assert_eq!(choose(&seventy_two, &[], ask(true, true)).0.len(), 3, "90 while idle");
    assert_eq!(choose(&seventy_two, &[], ask(false, true)).0, Vec::<u64>::new(), "being idle is no reason to begin");
    assert_eq!(choose(&[(690, 5), (690, 5), (690, 5)], &[], ask(false, false)).0.len(), 1);
}

#[test]
fn what_is_too_young_pinned_or_full_is_left_alone() {
    let segments = [(100, 11), (100, 4), (900, 8), (100, 8), (0, 8)];
    let (chosen, _, stock) = choose(&segments, &[4], Ask::default());
    assert_eq!(chosen, [3], "not: newer than the checkpoint, pinned, nearly full, empty");
    assert_eq!((stock.blocks, stock.live), (3000, 1100), "neither what is pinned nor what is dead counts");
    assert_eq!(stock.pinned_bytes, 1000 * 4096);
}

#[test]
fn being_behind_is_told_in_blocks() {
    let behind = |blocks, live| Stock { blocks, live, pinned_bytes: 0 }.behind(70);
    assert_eq!((behind(1000, 700), behind(1000, 350), behind(0, 0)), (0, 500, 0));
}

#[test]
fn room_counts_and_so_does_age() {
    assert_eq!(choose(&[(500, 10), (300, 10), (400, 10)], &[], Ask::default()).0, [1, 2, 0]);
    assert_eq!(choose(&[(300, 10), (400, 2)], &[], Ask::default()).0, [1, 0], "old and a little fuller goes first");
}

#[test]
fn segments_of_ancestors_are_never_chosen_nor_counted() {
    let mut foreign = entry(1, 1000, 1, 1);
    foreign.name.owner = 1;
    let table = [(SegId(1), &foreign)].into_iter();
    let rules = GcRules { small_segment: 0, ..GcRules::default() };
    let selection =
        select(table, CheckpointNo(10), &Snapshots::default(), &rules, Ask { active: true, idle: true }, |_| false);
    assert!(selection.segments.is_empty());
    assert_eq!(selection.stock, Stock::default());
}

#[test]
fn small_segments_are_merged_when_there_are_many() {
    let entries: Vec<SegmentEntry> = (0..40).map(|number| entry(number, 10, 10, 9)).collect();
    let choose = |count: usize| {
        let table = (1..).map(SegId).zip(&entries[..count]);
        let snapshots = Snapshots::default();
        let found =
            select(table, CheckpointNo(9), &snapshots, &GcRules::default(), Ask::default(), |id| id == SegId(7));
        found.segments.len()
    };
    assert_eq!((choose(32), choose(33), choose(40)), (0, 32, 39), "one rests");
}

#[test]
fn a_round_is_bounded() {
    let entries: Vec<SegmentEntry> = (0..1000).map(|number| entry(number, 8192, 1000, 9)).collect();
    let table = (1..).map(SegId).zip(&entries);
    let found = select(table, CheckpointNo(9), &Snapshots::default(), &GcRules::default(), Ask::default(), |_| false);
    let live: u64 = found.segments.iter().map(|(_, entry)| u64::from(entry.live)).sum();
    assert!(found.segments.len() <= MOST && live <= MOST_BLOCKS, "{} with {live}", found.segments.len());
    assert!(found.segments.len() > 10);
}

/// Blocks of a simulated disk, and of each of its segments.
const DISK: u32 = 1 << 16;
const SEGMENT: u32 = 256;

/// A disk without data: only where each block is.
struct Sim {
    map: Vec<usize>,
    segments: Vec<(SegmentEntry, Vec<u32>)>,
    /// Blocks of the open segments: of writes, and of moved blocks.
    open: [Vec<u32>; 2],
    checkpoint: u32,
    moved: u64,
    active: bool,
}

impl Sim {
    fn new() -> Self {
        let unmapped = vec![usize::MAX; DISK as usize];
        Self { map: unmapped, segments: Vec::new(), open: Default::default(), checkpoint: 0, moved: 0, active: false }
    }

    /// Puts a block into the open segment of its kind, and closes that when it is full.
    fn put(&mut self, kind: usize, block: u32) {
        self.open[kind].push(block);
        if self.open[kind].len() == SEGMENT as usize {
            let blocks = std::mem::take(&mut self.open[kind]);
            self.close(blocks);
        }
    }

    fn close(&mut self, blocks: Vec<u32>) {
        let id = self.segments.len();
        self.segments.push((entry(id as u64, SEGMENT, 0, self.checkpoint + 1), blocks.clone()));
        for block in blocks {
            let old = std::mem::replace(&mut self.map[block as usize], id);
            if old != usize::MAX {
                self.segments[old].0.live -= 1;
            }
            self.segments[id].0.live += 1;
        }
    }

    fn collect(&mut self) {
        self.checkpoint += 1;
        loop {
            let table = (0..).map(SegId).zip(self.segments.iter().map(|(entry, _)| entry));
            let rules = GcRules { small_segment: 0, ..GcRules::default() };
            let ask = Ask { active: self.active, idle: false };
            let found = select(table, CheckpointNo(self.checkpoint), &Snapshots::default(), &rules, ask, |_| false);
            self.active = found.active;
            if found.segments.is_empty() {
                return;
            }
            for (id, _) in found.segments {
                let source = id.0 as usize;
                let blocks = std::mem::take(&mut self.segments[source].1);
                for block in blocks {
                    let waits = self.open[1].contains(&block);
                    if self.map[block as usize] == source && !waits {
                        self.moved += 1;
                        self.put(1, block);
                    }
                }
            }
            // A round stores all that it read.
            let rest = std::mem::take(&mut self.open[1]);
            if !rest.is_empty() {
                self.close(rest);
                let last = self.segments.len() - 1;
                self.segments[last].0.lblocks = self.segments[last].0.live;
            }
        }
    }

    /// Fills the disk, overwrites it four times, and says how much was written for each block in the second half.
    fn amplification(pick: impl Fn(&mut StdRng) -> u32) -> f64 {
        let (mut sim, mut random) = (Self::new(), StdRng::seed_from_u64(9));
        (0..DISK).for_each(|block| sim.put(0, block));
        let writes = u64::from(DISK) * 4;
        let mut before = 0;
        for n in 0..writes {
            if n == writes / 2 {
                before = sim.moved;
            }
            let block = pick(&mut random);
            // One segment never holds a block twice.
            if !sim.open[0].contains(&block) {
                sim.put(0, block);
            }
            if n % (16 * u64::from(SEGMENT)) == 0 {
                sim.collect();
            }
        }
        1.0 + (sim.moved - before) as f64 / (writes / 2) as f64
    }
}

#[test]
fn uniform_overwriting_costs_at_most_what_the_closed_form_says() {
    let amplification = Sim::amplification(|random| random.random_range(0..DISK));
    assert!((1.5..2.15).contains(&amplification), "{amplification}");
}

#[test]
fn where_writes_are_skewed_it_costs_less() {
    let hot = DISK / 10;
    let amplification = Sim::amplification(|random| {
        if random.random_bool(0.9) { random.random_range(0..hot) } else { random.random_range(hot..DISK) }
    });
    assert!((1.0..1.7).contains(&amplification), "{amplification}");
}
