//! The machine alone, against a driver that completes its effects in the worst order it can think of.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use nbdgate_api::{ByteRange, Sink};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    format::{CheckpointNo, Codec, Epoch, Nonce, Seq, VolumeId, Wseq, manifest::FlushMode},
    map::{PagedMap, SegmentTable},
    segment_builder::{self, PendingExtent, SegmentSpec},
};

const WINDOW: u32 = 3;

impl Engine {
    /// Flips a bit of a block that waits in the open batch.
    pub(crate) fn damage_pending(&mut self, lba: crate::format::Lba) {
        self.log.damage(lba);
    }
}

/// Notes how each request ended.
#[derive(Debug, Default)]
struct Ends(Mutex<Vec<(u64, bool)>>);

impl Sink for Ends {
    fn piece(&self, _tag: u64, _piece: nbdgate_api::Piece) {}

    fn end(&self, tag: u64, outcome: Result<(), Error>) {
        self.0.lock().unwrap().push((tag, outcome.is_ok()));
    }
}

/// An engine and everything it asked for that has not happened yet.
struct World {
    engine: Engine,
    now: Millis,
    ends: Arc<Ends>,
    builds: Vec<BuildJob>,
    puts: Vec<Seq>,
    stored: BTreeSet<u64>,
    loads: Vec<(crate::format::Object, Millis)>,
    fetches: Vec<FetchJob>,
    indexes: Vec<Arc<crate::format::SegmentIndex>>,
    checkpoints: u32,
    timers: u32,
}

impl World {
    fn new() -> Self {
        Self::tuned(&Tuning::default())
    }

    fn tuned(tuning: &Tuning) -> Self {
        let tuning = Tuning { window: WINDOW, dirty_budget: 1 << 20, ..tuning.clone() };
        let writer = Writer { epoch: Epoch(1), nonce: Nonce(7) };
        let shape = Shape {
            blocks: 1 << 20,
            read_only: false,
            writer,
            segment_target: 64 << 10,
            advisory: false,
            lease: 0,
            flush: FlushMode::Object,
        };
        let committed = Committed::new(
            vec![VolumeId(uuid::Uuid::nil())],
            PagedMap::new(1 << 20),
            SegmentTable::new(),
            CheckpointNo(0),
            Wseq(0),
        );
        let start = LogStart { seq: Seq(1), wseq: Wseq(0) };
        Self {
            engine: Engine::new(shape, Limits::from(&tuning), committed, start),
            now: 0,
            ends: Arc::default(),
            builds: Vec::new(),
            puts: Vec::new(),
            stored: BTreeSet::new(),
            loads: Vec::new(),
            fetches: Vec::new(),
            indexes: Vec::new(),
            checkpoints: 0,
            timers: 0,
        }
    }

    fn step(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.engine.step(self.now, event, &mut effects);
        for effect in effects {
            match effect {
                Effect::End(reply, outcome) => reply.end(outcome),
                Effect::Build(job) => self.builds.push(job),
                Effect::Put(seq, ..) => self.puts.push(seq),
                Effect::Checkpoint => self.checkpoints += 1,
                Effect::Timer(..) => self.timers += 1,
                Effect::Deliver(..)
                | Effect::Data(..)
                | Effect::Extents(..)
                | Effect::Levels(_)
                | Effect::Reads(_)
                | Effect::Collect(_)
                | Effect::Drained => {}
                Effect::LoadBase(_) => panic!("there is no snapshot"),
                Effect::Prove(_) | Effect::Lease(_) => panic!("there is no lease"),
                Effect::Watch(_) => panic!("the store is safe"),
                Effect::Journal(_) | Effect::JournalLevels(_) => panic!("there is no journal"),
                Effect::LoadIndex(job) => self.loads.push((job.object, job.deadline)),
                Effect::Fetch(job) => self.fetches.push(job),
            }
        }
        assert!(self.builds.len() <= 1, "a segment names the one before it, so builds follow each other");
        let committed = (1..=1_000_000).take_while(|seq| self.stored.contains(seq)).count() as u64;
        for seq in &self.puts {
            assert!(seq.0 <= committed + u64::from(WINDOW), "slot {} was sent outside the window", seq.0);
        }
    }

    fn request(&mut self, tag: u64, op: Op) {
        let sink: Arc<dyn Sink> = Arc::<Ends>::clone(&self.ends);
        self.step(Event::Request(Io { op, reply: Reply::new(sink, tag) }));
    }

    fn write(&mut self, tag: u64, blocks: u64) {
        let payload = vec![u8::try_from(tag % 255).unwrap() + 1; usize::try_from(blocks).unwrap() * BLOCK_SIZE];
        self.request(tag, Op::Write { offset: tag % 100 * 4096, payload: payload.into(), fua: false });
    }

    fn build(&mut self) {
        let job = self.builds.pop().expect("something to build");
        let spec = SegmentSpec {
            volume: VolumeId(uuid::Uuid::from_u128(1)),
            name: log_segment(job.writer, job.seq),
            first_wseq: job.batch.first,
            last_wseq: job.batch.last,
            prev_prelude_crc: job.prev_crc,
            unix_ms: 0,
            frame_blocks: 4,
            codec: Codec::Raw,
        };
        let extents = job.batch.content.iter().map(|(range, run)| PendingExtent {
            lba: range.start,
            content: match &run.content {
                Content::Data(held) => segment_builder::Content::Data(held.data().expect("no journal")),
                Content::Zero => segment_builder::Content::Zero(range.nblocks),
            },
        });
        let segment = segment_builder::build(&spec, None, &extents.collect::<Vec<_>>());
        let index = Arc::new(segment.index.clone());
        self.indexes.push(Arc::clone(&index));
        self.step(Event::Built(Box::new(Built { seq: job.seq, segment, index })));
    }

    fn store(&mut self, at: usize) {
        let seq = self.puts.remove(at);
        self.stored.insert(seq.0);
        self.step(Event::Stored(seq));
    }

    fn ended_well(&self, tag: u64) -> bool {
        self.ends.0.lock().unwrap().contains(&(tag, true))
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.builds.is_empty() {
                self.build();
            } else if !self.puts.is_empty() {
                self.store(0);
            } else {
                return;
            }
        }
        panic!("it never settles");
    }
}

#[test]
fn a_flush_is_answered_only_behind_every_earlier_slot() {
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = World::new();
        let mut flushes: Vec<(u64, Wseq)> = Vec::new();
        let mut covered: Vec<(u64, u64)> = Vec::new();
        for tag in 0..200 {
            match random.random_range(0..10) {
                0..4 => world.write(tag, random.random_range(1..8)),
                4..6 => {
                    flushes.push((tag, world.engine.log.last));
                    world.request(tag, Op::Flush);
                }
                6..8 if !world.builds.is_empty() => {
                    let job = &world.builds[0];
                    covered.push((job.batch.last.0, job.seq.0));
                    world.build();
                }
                _ if !world.puts.is_empty() => {
                    let at = random.random_range(0..world.puts.len());
                    world.store(at);
                }
                _ => world.now += 10,
            }
            for &(flush, wseq) in &flushes {
                if world.ended_well(flush) && wseq > Wseq(0) {
                    let slot = covered.iter().find(|(last, _)| *last >= wseq.0).map(|(_, seq)| *seq);
                    let slot = slot.unwrap_or_else(|| panic!("seed {seed}: flushed before it was built"));
                    assert!((1..=slot).all(|seq| world.stored.contains(&seq)), "seed {seed}: flush {flush} lied");
                }
            }
        }
        world.settle();
        assert!(flushes.iter().all(|(flush, _)| world.ended_well(*flush)), "seed {seed}: a flush was forgotten");
    }
}

#[test]
fn nothing_ends_well_after_a_fence() {
    for seed in 0..100 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = World::new();
        for tag in 0..random.random_range(1..40) {
            world.write(tag, 3);
            if random.random_bool(0.3) {
                world.request(1000 + tag, Op::Flush);
            }
            if random.random_bool(0.5) && !world.builds.is_empty() {
                world.build();
            }
        }
        let before = world.ends.0.lock().unwrap().len();
        world.step(Event::Lost(Error::new(Kind::Shutdown, "fenced")));
        world.write(5000, 1);
        world.request(5001, Op::Flush);
        world.request(5002, Op::Read(ByteRange::between(0, 4096)));
        while !world.puts.is_empty() {
            world.store(0);
        }
        let ends = world.ends.0.lock().unwrap();
        assert!(ends[before..].iter().all(|(_, well)| !well), "seed {seed}: {:?}", &ends[before..]);
        let tags: BTreeSet<u64> = ends.iter().map(|(tag, _)| *tag).collect();
        assert_eq!(tags.len(), ends.len(), "seed {seed}: a request ended twice");
        assert!((5000..5003).all(|tag| tags.contains(&tag)));
    }
}

#[test]
fn a_clean_engine_wants_nothing() {
    let mut world = World::new();
    world.request(1, Op::Flush);
    assert!(world.ended_well(1));
    world.step(Event::Tick(Timer::Seal));
    assert_eq!((world.timers, world.checkpoints, world.builds.len(), world.puts.len()), (0, 0, 0, 0));
}

#[test]
fn overwrites_within_a_batch_coalesce_and_across_batches_do_not() {
    let mut world = World::new();
    for _ in 0..5 {
        world.write(3, 2);
    }
    world.request(1, Op::Flush);
    assert_eq!(world.builds[0].batch.content.iter().map(|(range, _)| range.nblocks).sum::<u64>(), 2);
    world.write(3, 2);
    world.settle();
    assert!(world.ended_well(1));
    assert_eq!(world.engine.log.durable, Wseq(5));
}

#[test]
fn the_deadline_of_a_read_covers_its_index_and_its_frames() {
    let mut world = World::tuned(&Tuning { index_budget: 0, ..Tuning::default() });
    world.write(1, 4);
    world.request(1, Op::Flush);
    world.settle();
    world.now = 1000;
    world.request(2, Op::Read(ByteRange::between(4096, 8192)));
    let (segment, deadline) = world.loads.pop().expect("the index is asked for");
    assert_eq!(deadline, 31_000);
    world.now = 25_000;
    let index = Arc::clone(&world.indexes[0]);
    world.step(Event::Index(segment, Ok(index)));
    assert_eq!(world.fetches[0].deadline, 31_000, "a slow index uses up the time of its read");
}
