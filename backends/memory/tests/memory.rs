//! The RAM disk from outside: thinness, sharing, bounds. The contract is checked by the conformance suite.

use bytes::Bytes;
use nbdgate_api::{ByteRange, Extent, ExtentKind, Kind, Op, Piece, Zeroes, wait};
use nbdgate_memory::{CHUNK_SIZE, Memory};

const TIB: u64 = 1 << 40;

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::between(start, end)
}

fn zeroes(range: ByteRange, no_hole: bool) -> Op {
    Op::WriteZeroes { range, zeroes: Zeroes { no_hole, fast: true }, fua: false }
}

fn kinds(disk: &Memory, range: ByteRange) -> Vec<(u64, u64, ExtentKind)> {
    let told = wait::extents(disk, range).expect("extents of a memory disk");
    told.into_iter().map(|Extent { range, kind }| (range.offset(), range.end(), kind)).collect()
}

#[test]
fn an_empty_disk_is_one_hole_and_stays_empty_when_read() {
    let disk = Memory::new(TIB).unwrap();
    assert_eq!(kinds(&disk, range(0, TIB)), [(0, TIB, ExtentKind::Hole)]);
    let answer = wait::call(&disk, Op::Read(range(TIB - 100_000, TIB)));
    assert!(matches!(answer.pieces[..], [Piece::Hole(hole)] if hole == range(TIB - 100_000, TIB)));
    assert_eq!(disk.allocated(), 0);
}

#[test]
fn memory_is_taken_by_chunks_and_given_back() {
    let disk = Memory::new(TIB).unwrap();
    let offset = 700 * CHUNK_SIZE - 5;
    wait::write(&disk, offset, vec![1; 10]).unwrap();
    assert_eq!(disk.allocated(), 2 * CHUNK_SIZE);
    let (start, end) = (699 * CHUNK_SIZE, 701 * CHUNK_SIZE);
    assert_eq!(
        kinds(&disk, range(start - 1, end + 1)),
        [(start - 1, start, ExtentKind::Hole), (start, end, ExtentKind::Data), (end, end + 1, ExtentKind::Hole)]
    );
    wait::call(&disk, Op::Trim { range: range(offset, offset + 10), fua: false }).outcome.unwrap();
    assert_eq!(disk.allocated(), 0);

    wait::write(&disk, offset, vec![1; 10]).unwrap();
    wait::call(&disk, zeroes(range(0, TIB), false)).outcome.unwrap();
    assert_eq!(disk.allocated(), 0);
    assert_eq!(kinds(&disk, range(0, TIB)), [(0, TIB, ExtentKind::Hole)]);
}

#[test]
fn zeroes_with_no_hole_are_allocated_zeros() {
    let disk = Memory::new(4 * CHUNK_SIZE).unwrap();
    wait::write(&disk, CHUNK_SIZE, vec![1; 4096]).unwrap();
    wait::call(&disk, zeroes(range(0, 2 * CHUNK_SIZE), true)).outcome.unwrap();
    assert_eq!(
        kinds(&disk, range(0, 4 * CHUNK_SIZE)),
        [(0, 2 * CHUNK_SIZE, ExtentKind::Zero), (2 * CHUNK_SIZE, 4 * CHUNK_SIZE, ExtentKind::Hole)]
    );
    assert_eq!(disk.allocated(), 2 * CHUNK_SIZE);
}

#[test]
fn a_bounded_disk_fails_with_no_memory_and_recovers_by_trim() {
    let disk = Memory::bounded(TIB, 2 * CHUNK_SIZE).unwrap();
    wait::write(&disk, 0, vec![1; 1]).unwrap();
    wait::write(&disk, TIB - 1, vec![2; 1]).unwrap();
    let error = wait::write(&disk, TIB / 2, vec![3; 1]).unwrap_err();
    assert_eq!(error.kind(), Kind::NoMemory);
    wait::write(&disk, CHUNK_SIZE - 1, vec![4; 1]).unwrap();
    wait::call(&disk, Op::Trim { range: range(0, CHUNK_SIZE), fua: false }).outcome.unwrap();
    wait::write(&disk, TIB / 2, vec![3; 1]).unwrap();
    assert_eq!(wait::read(&disk, range(TIB - 1, TIB)).unwrap(), [2]);
}

#[test]
fn long_reads_share_the_chunk_and_keep_what_they_read() {
    let disk = Memory::new(4 * CHUNK_SIZE).unwrap();
    wait::write(&disk, 0, vec![1; 2 << 16]).unwrap();
    let pieces = |op| wait::call(&disk, op).pieces;
    let (first, second) = (pieces(Op::Read(range(0, 1 << 16))), pieces(Op::Read(range(0, 1 << 16))));
    let [Piece::Data { bytes: first, .. }] = &first[..] else { panic!("one piece, not {first:?}") };
    let [Piece::Data { bytes: second, .. }] = &second[..] else { panic!("one piece, not {second:?}") };
    assert_eq!(first.as_ptr(), second.as_ptr(), "no copy is made");
    wait::write(&disk, 0, vec![9; 2 << 16]).unwrap();
    assert!(first.iter().all(|&byte| byte == 1), "a delivered piece never changes");
    assert_eq!(wait::read(&disk, range(0, 1)).unwrap(), [9]);
}

#[test]
fn closing_frees_everything_and_refuses_what_follows() {
    use nbdgate_api::Backend;
    let disk = Memory::new(TIB).unwrap();
    wait::write(&disk, 12345, vec![1; 1 << 20]).unwrap();
    disk.close().unwrap();
    assert_eq!(disk.allocated(), 0);
    assert_eq!(wait::flush(&disk).unwrap_err().kind(), Kind::Shutdown);
    assert_eq!(wait::read(&disk, range(12345, 12346)).unwrap_err().kind(), Kind::Shutdown);
}

#[test]
fn block_status_of_many_extents_comes_in_bounded_answers() {
    let chunks = 10_000;
    let disk = Memory::new(2 * chunks * CHUNK_SIZE).unwrap();
    for index in 0..chunks {
        wait::call(&disk, zeroes(range(2 * index * CHUNK_SIZE, (2 * index + 1) * CHUNK_SIZE), true)).outcome.unwrap();
    }
    let whole = range(0, 2 * chunks * CHUNK_SIZE);
    let answer = wait::call(&disk, Op::BlockStatus { range: whole, req_one: false });
    let [Piece::Extents(list)] = &answer.pieces[..] else { panic!("one list, not {answer:?}") };
    assert!(list.len() < 5000, "{} extents in one answer", list.len());
    assert_eq!(kinds(&disk, whole).len() as u64, 2 * chunks);
    let one = wait::call(&disk, Op::BlockStatus { range: whole, req_one: true });
    assert!(matches!(&one.pieces[..], [Piece::Extents(list)] if list.len() == 1));
}

fn only_data(disk: &Memory, range: ByteRange) -> Bytes {
    match wait::call(disk, Op::Read(range)).pieces.as_slice() {
        [Piece::Data { bytes, .. }] => bytes.clone(),
        other => panic!("one piece of data, not {other:?}"),
    }
}

#[test]
fn what_a_chunk_held_before_is_never_seen_again() {
    let size = 100 * CHUNK_SIZE - 1000;
    let disk = Memory::new(size).unwrap();
    for round in 1..=3_u64 {
        wait::write(&disk, 0, vec![0xaa; usize::try_from(size).unwrap()]).unwrap();
        wait::call(&disk, zeroes(range(CHUNK_SIZE / 2, size), round == 2)).outcome.unwrap();
        wait::call(&disk, Op::Trim { range: range(0, CHUNK_SIZE / 2), fua: false }).outcome.unwrap();
        for start in (0..size).step_by(1 << 16) {
            wait::write(&disk, start + 300 * round, vec![1; 1]).unwrap();
        }
        let mut bytes = wait::read(&disk, range(0, size)).unwrap();
        for start in (0..bytes.len()).step_by(1 << 16) {
            assert_eq!(std::mem::take(&mut bytes[start + 300 * usize::try_from(round).unwrap()]), 1);
        }
        assert!(bytes.iter().all(|&byte| byte == 0), "round {round}");
        wait::call(&disk, Op::Trim { range: range(0, size), fua: false }).outcome.unwrap();
    }
}

#[test]
fn what_is_written_in_sequence_lies_in_sequence() {
    let disk = Memory::new(TIB).unwrap();
    wait::write(&disk, TIB / 2, vec![1; 32 << 16]).unwrap();
    let address = |chunk: u64| {
        let start = TIB / 2 + chunk * CHUNK_SIZE;
        only_data(&disk, range(start, start + CHUNK_SIZE)).as_ptr().addr()
    };
    let first = address(0);
    assert!(first.is_multiple_of(2 << 20), "at the start of a huge page");
    for chunk in 1..32 {
        assert_eq!(address(chunk), first + (usize::try_from(chunk).unwrap() << 16));
    }
}

#[test]
fn an_answer_outlives_the_chunk_and_the_disk() {
    let disk = Memory::new(4 * CHUNK_SIZE).unwrap();
    wait::write(&disk, 0, vec![7; 1 << 16]).unwrap();
    let held = only_data(&disk, range(0, CHUNK_SIZE));
    wait::call(&disk, Op::Trim { range: range(0, CHUNK_SIZE), fua: false }).outcome.unwrap();
    wait::write(&disk, 0, vec![8; 4 << 16]).unwrap();
    drop(disk);
    assert!(held.iter().all(|&byte| byte == 7));
}
