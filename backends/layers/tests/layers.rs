//! What each layer is there for.

use std::sync::Arc;

use nbdgate_api::{Backend, ByteRange, Capabilities, Kind, Op, Piece, wait};
use nbdgate_layers::{Action, Fault, Limit, Limits, ReadOnly, Record, Rule, Survivors, Volatile};
use nbdgate_memory::Memory;

const SIZE: u64 = 1 << 20;

fn memory() -> Arc<dyn Backend> {
    Arc::new(Memory::new(SIZE).expect("a memory disk"))
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::between(start, end)
}

fn write(offset: u64, byte: u8, length: usize, fua: bool) -> Op {
    Op::Write { offset, payload: vec![byte; length].into(), fua }
}

fn is_write(op: &Op) -> bool {
    matches!(op, Op::Write { .. })
}

fn is_read(op: &Op) -> bool {
    matches!(op, Op::Read(_))
}

#[test]
fn the_nth_write_fails_and_only_that() {
    let disk = Fault::new(memory(), 1);
    disk.add(Rule::new(Action::Fail(Kind::NoSpace), is_write).nth(3).times(2));
    let kinds: Vec<_> = (0..6).map(|_| wait::write(&disk, 0, vec![1; 10]).err().map(|error| error.kind())).collect();
    let full = Some(Kind::NoSpace);
    assert_eq!(kinds, [None, None, full, full, None, None]);
    wait::read(&disk, range(0, 10)).unwrap();
}

#[test]
fn the_kinds_of_failure_differ_in_what_they_leave() {
    for (action, left) in [
        (Action::Fail(Kind::Io), [0; 4]),
        (Action::FailPart(Kind::Io), [7, 7, 0, 0]),
        (Action::FailAfter(Kind::Io), [7; 4]),
        (Action::Lose, [0; 4]),
    ] {
        let disk = Fault::new(memory(), 1);
        disk.add(Rule::new(action, is_write));
        assert_eq!(wait::write(&disk, 0, vec![7; 4]).unwrap_err().kind(), Kind::Io, "{action:?}");
        assert_eq!(wait::read(&disk, range(0, 4)).unwrap(), left, "{action:?}");
    }
}

#[test]
fn a_piece_of_a_read_can_fail() {
    let disk = Fault::new(memory(), 1);
    disk.add(Rule::new(Action::FailPiece(Kind::Io), is_read));
    let answer = wait::call(&disk, Op::Read(range(5, 9)));
    answer.outcome.unwrap();
    assert!(matches!(&answer.pieces[..], [Piece::Failed(part, _)] if *part == range(5, 9)));
}

#[test]
fn held_requests_wait_for_their_release() {
    let disk = Fault::new(memory(), 1);
    disk.add(Rule::new(Action::Hold, is_write).always());
    let first = wait::submit(&disk, write(0, 1, 10, false));
    let second = wait::submit(&disk, write(10, 2, 10, false));
    assert_eq!(wait::read(&disk, range(0, 20)).unwrap(), [0; 20]);
    assert!(disk.release());
    assert!(first.is_ended() && !second.is_ended());
    disk.release_all();
    second.wait().outcome.unwrap();
    assert!(!disk.release(), "nothing is held any more");
    assert_eq!(wait::read(&disk, range(9, 11)).unwrap(), [1, 2]);
}

#[test]
fn requests_held_for_later_ones_go_on_with_them() {
    let disk = Fault::new(memory(), 1);
    disk.add(Rule::new(Action::HoldFor(3), is_write));
    let held = wait::submit(&disk, write(0, 1, 10, false));
    assert!(!held.is_ended());
    for _ in 0..3 {
        wait::flush(&disk).unwrap();
    }
    assert!(held.is_ended());
}

#[test]
fn closing_ends_what_is_held() {
    let disk = Fault::new(memory(), 1);
    disk.add(Rule::new(Action::Hold, is_write));
    let held = wait::submit(&disk, write(0, 1, 10, false));
    disk.close().unwrap();
    held.wait().outcome.unwrap();
}

#[test]
fn a_seed_decides_the_order_of_release() {
    let order = |seed| {
        let record = Arc::new(Record::new(memory()));
        let disk = Fault::new(record.clone(), seed);
        disk.add(Rule::new(Action::Hold, is_write).always());
        let writes: Vec<_> = (0..20).map(|index| wait::submit(&disk, write(index * 10, 1, 10, false))).collect();
        disk.release_shuffled();
        for write in writes {
            write.wait().outcome.unwrap();
        }
        let offsets = record.requests().into_iter().filter_map(|request| request.op.range());
        offsets.map(ByteRange::offset).collect::<Vec<_>>()
    };
    assert_eq!(order(3), order(3));
    assert_ne!(order(3), order(4));
    assert!(!order(3).is_sorted());
}

#[test]
fn the_record_tells_order_and_outcome() {
    let faulty = Arc::new(Fault::new(memory(), 1));
    faulty.add(Rule::new(Action::Hold, is_read));
    faulty.add(Rule::new(Action::Fail(Kind::Io), is_write));
    let disk = Record::new(faulty.clone());
    let read = wait::submit(&disk, Op::Read(range(0, 1)));
    wait::write(&disk, 0, vec![1]).unwrap_err();
    wait::flush(&disk).unwrap();
    let [first, second, third] = &disk.requests()[..] else { panic!("three requests came by") };
    assert!(first.ended.is_none());
    assert!(matches!(second.ended, Some((_, Err(Kind::Io)))));
    assert!(second.ended_before(third) && !first.ended_before(third));
    faulty.release_all();
    read.wait().outcome.unwrap();
    assert_eq!(disk.count(|request| request.ended.is_some()), 3);
    assert!(!disk.requests()[0].ended_before(third));
    disk.clear();
    assert!(disk.requests().is_empty());
}

#[test]
fn a_read_only_view_reads_and_refuses_mutations() {
    let below = memory();
    wait::write(&*below, 0, vec![9; 4]).unwrap();
    let disk = ReadOnly::new(below);
    assert!(disk.info().read_only);
    assert_eq!(wait::read(&disk, range(0, 4)).unwrap(), [9; 4]);
    assert_eq!(wait::write(&disk, 0, vec![1]).unwrap_err().kind(), Kind::Permission);
    let trim = wait::call(&disk, Op::Trim { range: range(0, 4), fua: false });
    assert_eq!(trim.outcome.unwrap_err().kind(), Kind::Permission);
    assert_eq!(wait::read(&disk, range(0, 4)).unwrap(), [9; 4]);
}

#[test]
fn limits_are_told_and_enforced() {
    let capabilities = Capabilities { trim: true, ..Capabilities::NONE };
    let limits = Limits { capabilities, minimum_block: 512, maximum_payload: 4096, ..Limits::default() };
    let disk = Limit::new(memory(), limits).unwrap();
    assert_eq!((disk.info().block.minimum, disk.info().block.maximum_payload), (512, 4096));
    assert_eq!(disk.info().capabilities, capabilities);
    let forbidden = [
        write(0, 1, 511, false),
        write(0, 1, 8192, false),
        write(0, 1, 512, true),
        Op::Read(range(0, 8192)),
        Op::Read(range(1, 513)),
        Op::Read(range(SIZE, SIZE + 512)),
        Op::Trim { range: range(0, 512), fua: true },
        Op::BlockStatus { range: range(0, 512), req_one: false },
        Op::Cache(range(0, 512)),
    ];
    for op in forbidden.clone() {
        assert_eq!(wait::call(&disk, op.clone()).outcome.unwrap_err().kind(), Kind::Invalid, "{op:?}");
    }
    assert_eq!(disk.violations(), forbidden.len() as u64);
    wait::call(&disk, Op::Trim { range: range(0, SIZE), fua: false }).outcome.unwrap();
    wait::call(&disk, write(512, 1, 512, false)).outcome.unwrap();
    assert_eq!(disk.violations(), forbidden.len() as u64);
    let odd: Arc<dyn Backend> = Arc::new(Memory::new(1000).unwrap());
    assert_eq!(Limit::new(odd, limits).err().map(|error| error.kind()), Some(Kind::Invalid));
}

#[test]
fn a_crash_loses_what_was_not_flushed_and_nothing_else() {
    let disk = Volatile::new(memory()).unwrap();
    wait::write(&disk, 0, vec![1; 100]).unwrap();
    wait::flush(&disk).unwrap();
    wait::write(&disk, 50, vec![2; 100]).unwrap();
    assert_eq!(wait::read(&disk, range(49, 51)).unwrap(), [1, 2], "a read sees what is pending");
    wait::call(&disk, write(200, 3, 10, true)).outcome.unwrap();
    assert_eq!(disk.pending(), 1, "FUA takes nothing else along");
    let left = disk.crash(Survivors::None).unwrap();
    assert_eq!(wait::read(&disk, range(0, 1)).unwrap_err().kind(), Kind::Shutdown);
    assert_eq!(wait::read(&*left, range(0, 150)).unwrap(), [[1; 100].as_slice(), &[0; 50]].concat());
    assert_eq!(wait::read(&*left, range(200, 210)).unwrap(), [3; 10]);
}

#[test]
fn a_seed_decides_what_survives_a_crash() {
    let survived = |seed| {
        let disk = Volatile::new(memory()).unwrap();
        for index in 0..20 {
            wait::write(&disk, index * 8192, vec![1; 8192]).unwrap();
        }
        let left = disk.crash(Survivors::Some { seed }).unwrap();
        (0..40).map(|index| wait::read(&*left, range(index * 4096, index * 4096 + 1)).unwrap()[0]).collect::<Vec<_>>()
    };
    assert_eq!(survived(1), survived(1));
    assert_ne!(survived(1), survived(2));
    assert!(survived(1).contains(&0) && survived(1).contains(&1));
}

#[test]
fn a_failed_flush_keeps_what_is_pending() {
    let below = Arc::new(Fault::new(memory(), 1));
    let disk = Volatile::new(below.clone()).unwrap();
    wait::write(&disk, 0, vec![1; 10]).unwrap();
    below.add(Rule::new(Action::Fail(Kind::Io), is_write));
    assert_eq!(wait::flush(&disk).unwrap_err().kind(), Kind::Io);
    assert_eq!((disk.pending(), wait::read(&disk, range(0, 10)).unwrap()), (1, vec![1; 10]));
    wait::flush(&disk).unwrap();
    assert_eq!(disk.pending(), 0);
}
