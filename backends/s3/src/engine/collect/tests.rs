use std::sync::Arc;

use nbdgate_api::{ByteRange, Io, Op, Reply, Sink};

use super::*;
use crate::{
    Tuning,
    engine::{Committed, Event, Limits, LogStart, Shape},
    format::{Epoch, Nonce, Seq, VolumeId, Writer, manifest::FlushMode},
    map::{PagedMap, SegmentTable},
};

struct Deaf;

impl Sink for Deaf {
    fn piece(&self, _tag: u64, _piece: nbdgate_api::Piece) {}

    fn end(&self, _tag: u64, _outcome: Result<(), nbdgate_api::Error>) {}
}

fn engine(read_only: bool) -> Engine {
    let writer = Writer { epoch: Epoch(1), nonce: Nonce(7) };
    let shape = Shape {
        blocks: 1 << 20,
        read_only,
        writer,
        segment_target: 64 << 10,
        advisory: false,
        lease: 0,
        flush: FlushMode::Object,
    };
    let (map, segments) = (PagedMap::new(1 << 20), SegmentTable::new());
    let volumes = vec![VolumeId(uuid::Uuid::nil())];
    let committed = Committed::new(volumes, map, segments, CheckpointNo(0), Wseq(0));
    let tuning = Tuning { dirty_budget: 1 << 20, ..Tuning::default() };
    Engine::new(shape, Limits::from(&tuning), committed, LogStart { seq: Seq(1), wseq: Wseq(0) })
}

/// What an event makes the collector want: a round, and its timers.
fn wants(engine: &mut Engine, now: Millis, event: Event) -> (usize, Vec<Millis>) {
    let mut effects = Vec::new();
    engine.step(now, event, &mut effects);
    let rounds = effects.iter().filter(|effect| matches!(effect, Effect::Collect(_))).count();
    let timers = effects.iter().filter_map(|effect| match effect {
        Effect::Timer(Timer::Collect, wait) => Some(*wait),
        _ => None,
    });
    (rounds, timers.collect())
}

fn trim(blocks: u64) -> Event {
    let reply = Reply::new(Arc::new(Deaf), 0);
    Event::Request(Io { op: Op::Trim { range: ByteRange::between(0, blocks * 4096), fua: false }, reply })
}

fn write(bytes: usize) -> Event {
    let reply = Reply::new(Arc::new(Deaf), 0);
    Event::Request(Io { op: Op::Write { offset: 0, payload: vec![1; bytes].into(), fua: false }, reply })
}

#[test]
fn a_round_waits_until_the_one_before_is_paid_for() {
    let mut engine = engine(false);
    assert_eq!(wants(&mut engine, 0, Event::Awake), (1, vec![]));
    assert_eq!(wants(&mut engine, 5, Event::Awake), (0, vec![]), "one at a time");
    let moved = Collected { moved_bytes: 80 << 20, more: true, active: true };
    assert_eq!(wants(&mut engine, 0, Event::Collected(moved)), (0, vec![10_000]), "80 MiB at 8 MiB a second");
    assert_eq!(wants(&mut engine, 4000, Event::Awake), (0, vec![]), "the timer is armed once");
    assert_eq!(wants(&mut engine, 10_000, Event::Tick(Timer::Collect)), (1, vec![]));
    assert_eq!(wants(&mut engine, 10_001, Event::Collected(Collected::default())), (0, vec![]));
    assert_eq!(
        wants(&mut engine, 1 << 40, Event::Awake),
        (0, vec![]),
        "nothing changed, so there is no reason to look"
    );
    assert_eq!(wants(&mut engine, 1 << 40, Event::Checkpointed).0, 1);
}

#[test]
fn what_only_reads_never_collects() {
    let mut engine = engine(true);
    assert_eq!(wants(&mut engine, 0, Event::Awake), (0, vec![]));
    assert!(engine.survey().is_none());
}

#[test]
fn moving_waits_while_writes_need_the_store() {
    let mut engine = engine(false);
    assert_eq!(engine.weather(0), Weather::Calm);
    wants(&mut engine, 0, trim(1));
    assert_eq!(engine.weather(0), Weather::Calm);
    assert_eq!(engine.weather(60_000), Weather::Rough, "the oldest write is late: the store throttles, or is gone");
    wants(&mut engine, 0, write(600 << 10));
    assert_eq!(engine.weather(0), Weather::Rough, "the dirty budget is half full");
    wants(&mut engine, 0, Event::Drain);
    assert_eq!(engine.weather(0), Weather::Over);
}
