use std::collections::HashMap;

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    GcRules, Tuning,
    engine::{Limits, SegmentUse, log_segment},
    format::{
        Codec, DataRecord, Epoch, Nonce, Object, ObjectName, SegmentMeta, Seq, VolumeId, Writer, Wseq,
        segment::LayoutRun,
    },
    map::{PagedMap, SegmentKind, SegmentTable},
};

const BLOCKS: u64 = 64;
const WRITER: Writer = Writer { epoch: Epoch(1), nonce: Nonce(3) };

/// A committed state, and the content of every block of every segment: the number of the write that made it.
struct World {
    committed: Committed,
    contents: HashMap<(SegId, u32), u64>,
    disk: Vec<u64>,
    next: u64,
}

impl World {
    fn new() -> Self {
        let volume = VolumeId(uuid::Uuid::nil());
        let (map, segments) = (PagedMap::new(BLOCKS), SegmentTable::new());
        let committed = Committed::new(vec![volume], map, segments, CheckpointNo(0), Wseq(0));
        Self { committed, contents: HashMap::new(), disk: vec![0; 64], next: 0 }
    }

    fn install(&mut self, start: u64, nblocks: u32, zero: bool, object_len: u64) {
        self.next += 1;
        let run = LayoutRun { lba: Lba(start), nblocks, lblk: 0 };
        let range = BlockRange::new(Lba(start), u64::from(nblocks));
        let (layout, zeros) = if zero { (vec![], vec![range]) } else { (vec![run], vec![]) };
        let segment = self.committed.install(
            0,
            &SegmentUse {
                name: log_segment(WRITER, Seq(self.next)),
                lblocks: layout.iter().map(|run| run.nblocks).sum(),
                object_len,
                meta_len: 10,
                last_wseq: Wseq(self.next),
                layout: &layout,
                zeros: &zeros,
            },
        );
        for at in 0..nblocks {
            self.disk[usize::try_from(start).unwrap() + at as usize] = if zero { 0 } else { self.next };
            self.contents.insert((segment, at), self.next);
        }
    }

    /// Copies of all live blocks of a segment, as a round finds them.
    fn copies(&self, from: SegId) -> Vec<Move> {
        let whole = BlockRange::new(Lba(0), BLOCKS);
        let mut lblk = 0;
        let mut moves = Vec::new();
        for span in self.committed.map.lookup(whole) {
            if let Span::Run(run) = span
                && run.address.segment == from
            {
                moves.push(Move { lba: run.lba, nblocks: run.nblocks, from: run.address, lblk });
                lblk += run.nblocks;
            }
        }
        moves
    }

    /// The new segment arrives in parts of one move each.
    fn arrive(&mut self, moves: &[Move]) {
        self.next += 1;
        let name = SegmentName { kind: SegmentKind::Moved, owner: 0, writer: WRITER, number: self.next };
        let record = |moved: &Move| DataRecord {
            lba: moved.lba,
            nblocks: moved.nblocks,
            codec: Codec::Raw,
            stored_len: moved.nblocks * 4096,
            stored_crc: 0,
            plain_crc: 0,
        };
        let meta = SegmentMeta { data: moves.iter().map(record).collect(), ..SegmentMeta::default() };
        let object = Object {
            volume: VolumeId(uuid::Uuid::nil()),
            name: ObjectName::Moved { writer: WRITER, number: self.next },
        };
        let index = Arc::new(SegmentIndex::from_parts(object, 64, None, &meta));
        for (at, moved) in moves.iter().enumerate() {
            let last = at + 1 == moves.len();
            let arrival = Arrival { name, index: Arc::clone(&index), object_len: 100, moves: vec![*moved], last };
            let segment = self.committed.arrive(0, &arrival);
            assert_eq!(self.committed.arriving().is_some(), !last);
            for block in 0..moved.nblocks {
                let content = self.contents[&(moved.from.segment, moved.from.lblk + block)];
                self.contents.insert((segment, moved.lblk + block), content);
            }
        }
    }

    fn check(&self, seed: u64) {
        let mut live: HashMap<SegId, u32> = HashMap::new();
        for (lba, &expected) in (0..).map(Lba).zip(&self.disk) {
            let address = self.committed.lookup(lba);
            let shown = address.map_or(0, |address| self.contents[&(address.segment, address.lblk)]);
            assert_eq!(shown, expected, "seed {seed}: block {}", lba.0);
            if let Some(address) = address {
                *live.entry(address.segment).or_default() += 1;
            }
        }
        for (id, entry) in self.committed.segments.iter() {
            assert_eq!(
                entry.live,
                live.get(&id).copied().unwrap_or(0),
                "seed {seed}: live blocks of {}",
                entry.name.object()
            );
        }
    }
}

#[test]
fn moving_blocks_never_changes_what_the_disk_shows() {
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = World::new();
        let write = |world: &mut World, random: &mut StdRng| {
            let start = random.random_range(0..BLOCKS);
            let nblocks = random.random_range(1..=BLOCKS - start);
            world.install(start, u32::try_from(nblocks).unwrap(), random.random_bool(0.2), 100);
        };
        for _ in 0..30 {
            write(&mut world, &mut random);
            if random.random_bool(0.5) {
                let ids: Vec<SegId> = world.committed.segments.iter().map(|(id, _)| id).collect();
                let moves = world.copies(ids[random.random_range(0..ids.len())]);
                // Between reading and installing the disk goes on.
                for _ in 0..random.random_range(0..3) {
                    write(&mut world, &mut random);
                }
                world.arrive(&moves);
            }
            world.check(seed);
        }
    }
}

#[test]
fn a_checkpoint_is_due_when_much_is_dead() {
    let limits = |enabled| Limits::from(&Tuning { gc: GcRules { enabled, ..GcRules::default() }, ..Tuning::default() });
    let mut world = World::new();
    world.install(0, 60, false, 100 << 20);
    world.committed.picture_taken();
    world.install(0, 30, false, 100);
    assert!(!world.committed.wants_checkpoint(0, &limits(true)), "half of it is alive");
    world.install(20, 44, true, 100);
    assert!(world.committed.wants_checkpoint(0, &limits(true)));
    assert!(!world.committed.wants_checkpoint(0, &limits(false)), "nothing would be deleted");
    world.committed.picture_taken();
    world.install(0, 1, false, 100);
    assert!(!world.committed.wants_checkpoint(0, &limits(true)), "it was under that checkpoint");
}
