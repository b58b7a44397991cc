//! Holes: told as they are, read without I/O, and never where data is.

use nbdgate_api::{Backend, ByteRange, Extent, ExtentKind, Op, Piece, Zeroes, wait};
use nbdgate_file::FileDisk;
use rustix::fs::SeekFrom;

use crate::support::{Place, open};

const MIB: u64 = 1 << 20;

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::between(start, end)
}

fn all(disk: &FileDisk) -> Vec<Extent> {
    wait::extents(disk, range(0, disk.info().size)).unwrap()
}

fn extent(start: u64, end: u64, kind: ExtentKind) -> Extent {
    Extent { range: range(start, end), kind }
}

/// What the file system says, without the backend.
fn asked_from_kernel(path: &std::path::Path) -> Vec<Extent> {
    let file = std::fs::File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    let (mut at, mut extents) = (0, Vec::new());
    while at < size {
        let data = rustix::fs::seek(&file, SeekFrom::Data(at)).unwrap_or(size);
        if at < data {
            extent(at, data, ExtentKind::Hole).push_onto(&mut extents);
        }
        at = if data < size { rustix::fs::seek(&file, SeekFrom::Hole(data)).unwrap() } else { size };
        if data < at {
            extent(data, at, ExtentKind::Data).push_onto(&mut extents);
        }
    }
    extents
}

#[test]
fn extents_are_those_of_the_file_system() {
    let place = Place::new();
    let path = place.sparse(200 * MIB);
    let disk = open(&path).unwrap();
    for number in 0..50 {
        wait::write(&disk, number * 3 * MIB + number * 4096, vec![1; 8192]).unwrap();
    }
    wait::flush(&disk).unwrap();
    let told = all(&disk);
    assert_eq!(told, asked_from_kernel(&path), "kept true by mutations");
    disk.close().unwrap();
    let again = open(&path).unwrap();
    assert_eq!(all(&again), told, "found by scans");
    assert_eq!(all(&again), told, "and remembered");
}

#[test]
fn more_extents_than_the_cache_lists_are_all_told() {
    let place = Place::new();
    let path = place.sparse(16 * MIB);
    let disk = open(&path).unwrap();
    for number in 0..1000 {
        wait::write(&disk, number * 16384, vec![1; 4096]).unwrap();
    }
    wait::flush(&disk).unwrap();
    assert_eq!(all(&disk), asked_from_kernel(&path));
    disk.close().unwrap();
    assert_eq!(all(&open(&path).unwrap()), asked_from_kernel(&path));
}

#[test]
fn a_known_hole_is_read_as_a_hole() {
    let place = Place::new();
    let path = place.sparse(4 * MIB);
    let disk = open(&path).unwrap();
    wait::write(&disk, MIB, vec![1; 65536]).unwrap();
    all(&disk); // scans
    let pieces = wait::call(&disk, Op::Read(range(MIB - 65536, MIB + 131_072))).pieces;
    let mut shapes: Vec<_> = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Data { offset, bytes } => (*offset, bytes.len() as u64, "data"),
            Piece::Hole(range) => (range.offset(), range.length(), "hole"),
            other => panic!("{other:?}"),
        })
        .collect();
    shapes.sort_unstable();
    assert_eq!(shapes, [(MIB - 65536, 65536, "hole"), (MIB, 65536, "data"), (MIB + 65536, 65536, "hole")]);
}

#[test]
fn reads_alone_make_holes_known() {
    let place = Place::new();
    let disk = open(&place.sparse(4 * MIB)).unwrap();
    for _ in 0..1_000_000 {
        let pieces = wait::call(&disk, Op::Read(range(0, 4096))).pieces;
        if matches!(pieces[..], [Piece::Hole(_)]) {
            return;
        }
        std::thread::yield_now(); // the scan runs on another thread
    }
    panic!("a read never had its region scanned");
}

#[test]
fn trimmed_space_is_given_back_and_told_as_a_hole() {
    let place = Place::new();
    let path = place.full(4 << 20, 9);
    let disk = open(&path).unwrap();
    assert_eq!(all(&disk), [extent(0, 4 * MIB, ExtentKind::Data)]);
    let blocks = || std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path).unwrap());
    wait::flush(&disk).unwrap();
    let before = blocks();
    wait::call(&disk, Op::Trim { range: range(MIB, 3 * MIB), fua: true }).outcome.unwrap();
    assert!(blocks() * 512 <= before * 512 - 2 * MIB, "{before} blocks became {}", blocks());
    let expected = [
        extent(0, MIB, ExtentKind::Data),
        extent(MIB, 3 * MIB, ExtentKind::Hole),
        extent(3 * MIB, 4 * MIB, ExtentKind::Data),
    ];
    assert_eq!(all(&disk), expected);
    assert_eq!(asked_from_kernel(&path), expected);
}

#[test]
fn zeroes_without_a_hole_stay_allocated() {
    let place = Place::new();
    let path = place.sparse(4 * MIB);
    let disk = open(&path).unwrap();
    let zeroes = Zeroes { no_hole: true, fast: false };
    wait::call(&disk, Op::WriteZeroes { range: range(MIB, 2 * MIB), zeroes, fua: false }).outcome.unwrap();
    let allocated = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path).unwrap()) * 512;
    wait::flush(&disk).unwrap();
    assert!(allocated >= MIB, "{allocated} bytes are allocated");
    let middle = wait::extents(&disk, range(MIB, 2 * MIB)).unwrap();
    assert_eq!(middle, [extent(MIB, 2 * MIB, ExtentKind::Zero)]);
}

#[test]
fn one_extent_is_told_where_one_is_asked_for() {
    let place = Place::new();
    let disk = open(&place.sparse(64 * MIB)).unwrap();
    wait::write(&disk, MIB, vec![1; 4096]).unwrap();
    for _ in 0..2 {
        let answer = wait::call(&disk, Op::BlockStatus { range: range(0, 64 * MIB), req_one: true });
        let [Piece::Extents(extents)] = &answer.pieces[..] else { panic!("{answer:?}") };
        assert_eq!(extents[..], [extent(0, MIB, ExtentKind::Hole)]);
    }
}

#[test]
fn a_terabyte_of_nothing_is_told_in_a_few_requests() {
    let place = Place::new();
    let disk = open(&place.sparse(1 << 40)).unwrap();
    let (mut at, mut requests) = (0, 0);
    while at < 1 << 40 {
        let answer = wait::call(&disk, Op::BlockStatus { range: range(at, 1 << 40), req_one: false });
        let [Piece::Extents(extents)] = &answer.pieces[..] else { panic!("{answer:?}") };
        assert!(extents.iter().all(|extent| extent.kind == ExtentKind::Hole));
        at = extents.last().unwrap().range.end();
        requests += 1;
    }
    assert!(requests <= 16, "{requests} requests");
}
