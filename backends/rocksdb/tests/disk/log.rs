//! Damage to the log, the manifest and what says how far was flushed: what was flushed is there, or the disk is refused and left
//! as it is. What was not flushed may be lost from the end backwards, and only so.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nbdgate_api::{Kind, wait};
use nbdgate_rocksdb::{OpenOptions, RocksDisk};

use crate::{
    raw,
    support::{Place, close, content, copy, crash, cut, files, flip, levels, noise, read, wait_for, write},
};

const LENGTH: usize = 16 << 10;
const EXTENT: u64 = LENGTH as u64;
const SIZE: u64 = 64 << 20;

/// A disk whose process crashed with everything in the log.
struct Crashed {
    place: Place,
    path: PathBuf,
    /// Extents that were flushed, and those written after them.
    flushed: u64,
    written: u64,
    /// How long the log was at the flush, and at the end.
    log_flushed: u64,
    log_written: u64,
}

impl Crashed {
    fn new() -> Self {
        let place = Place::new();
        let path = place.path();
        let disk = place.create(&path, SIZE, 16 << 10);
        let put = |index: u64| write(&disk, index * EXTENT, noise(index, LENGTH));
        let length = || fs::metadata(log(&path)).unwrap().len();
        (0..5).for_each(put);
        wait::flush(&disk).unwrap();
        let log_flushed = length();
        (5..10).for_each(put);
        let log_written = length();
        crash(disk);
        assert!(log_flushed > 5 * EXTENT && log_written > log_flushed + 5 * EXTENT);
        Self { place, path, flushed: 5, written: 10, log_flushed, log_written }
    }

    /// A copy of it, to be damaged.
    fn copy(&self) -> PathBuf {
        let path = self.place.path();
        copy(&self.path, &path);
        path
    }

    /// Opens a copy that may have lost changes, and says how many there are: what is missing is missing at the end.
    #[track_caller]
    fn prefix(&self, path: &Path) -> u64 {
        let disk = self.place.open(path);
        let there: Vec<bool> = (0..self.written)
            .map(|index| {
                let bytes = read(&disk, index * EXTENT, EXTENT);
                assert!(bytes == noise(index, LENGTH) || bytes.iter().all(|byte| *byte == 0), "extent {index}");
                bytes[..8] != [0; 8]
            })
            .collect();
        assert!(there.is_sorted_by(|a, b| a >= b), "a hole in what was written: {there:?}");
        let count = there.iter().filter(|there| **there).count() as u64;
        assert_eq!(levels(&disk).allocated, count * EXTENT);
        // It goes on from there.
        write(&disk, 20 * EXTENT, noise(20, LENGTH));
        close(disk);
        let disk = self.place.open(path);
        assert_eq!(read(&disk, 20 * EXTENT, EXTENT), noise(20, LENGTH));
        close(disk);
        count
    }
}

/// The log that is written to.
fn log(path: &Path) -> PathBuf {
    files(path, ".log").pop().unwrap()
}

/// Refused with one of these words, for writing and for reading, and nothing is different afterwards.
#[track_caller]
fn is_refused(place: &Place, path: &Path, words: &[&str]) {
    let before = content(path);
    for read_only in [true, false] {
        let error = RocksDisk::open(path, &OpenOptions { read_only, ..place.options() }).unwrap_err();
        assert_eq!(error.kind(), Kind::Io, "{}", error.chain());
        assert!(words.iter().any(|words| error.chain().contains(words)), "{}", error.chain());
    }
    let differing = content(path).into_iter().filter(|file| !before.contains(file));
    let names: Vec<_> = differing.map(|(path, _)| path).collect();
    assert!(names.is_empty() && before.iter().all(|(path, _)| path.exists()), "something was changed: {names:?}");
}

#[test]
fn everything_written_survives_the_crash_of_the_process() {
    let crashed = Crashed::new();
    assert_eq!(crashed.prefix(&crashed.path), crashed.written);
}

#[test]
fn a_log_torn_behind_what_was_flushed_loses_its_end_and_no_more() {
    let crashed = Crashed::new();
    let (from, to) = (crashed.log_flushed, crashed.log_written);
    let mut counts = Vec::new();
    for at in [from, from + 3, from + 5000, to - EXTENT - 1000, to - 1] {
        let path = crashed.copy();
        cut(&log(&path), at);
        counts.push(crashed.prefix(&path));
        let path = crashed.copy();
        flip(&log(&path), at);
        counts.push(crashed.prefix(&path));
    }
    assert!(counts.is_sorted() && counts[0] == crashed.flushed && counts[9] == crashed.written - 1, "{counts:?}");
}

#[test]
fn a_log_that_ends_before_what_was_flushed_is_refused_and_nothing_is_changed() {
    let crashed = Crashed::new();
    for at in [0, 100, EXTENT + 3, crashed.log_flushed - 1] {
        let path = crashed.copy();
        cut(&log(&path), at);
        is_refused(&crashed.place, &path, &["damaged or incomplete"]);
        let path = crashed.copy();
        flip(&log(&path), at.saturating_sub(64));
        is_refused(&crashed.place, &path, &["damaged or incomplete"]);
        // As the text says.
        fs::remove_file(path.join("flushed")).unwrap();
        assert!(crashed.prefix(&path) < crashed.flushed);
    }
}

#[test]
fn a_log_that_is_gone_is_refused() {
    let crashed = Crashed::new();
    let path = crashed.copy();
    fs::remove_file(log(&path)).unwrap();
    is_refused(&crashed.place, &path, &["damaged or incomplete", "Missing WAL"]);
}

#[test]
fn a_number_of_what_was_flushed_that_is_damaged_is_refused() {
    let crashed = Crashed::new();
    for bytes in [&b"nonsense"[..], &[1; 12], &[0; 13]] {
        let path = crashed.copy();
        fs::write(path.join("flushed"), bytes).unwrap();
        is_refused(&crashed.place, &path, &["nobody knows what was flushed"]);
    }
    let path = crashed.copy();
    fs::remove_file(path.join("flushed")).unwrap();
    assert_eq!(crashed.prefix(&path), crashed.written, "without it the log is believed");
}

/// Tables of extents are written while the bits that say they are there are in an old log alone.
struct Spread {
    place: Place,
    path: PathBuf,
}

impl Spread {
    fn new() -> Self {
        const EXTENTS: u64 = 3000;
        let place = Place::new();
        let path = place.path();
        let disk = place.create(&path, SIZE, 16 << 10);
        write(&disk, 0, noise(0, LENGTH));
        wait::flush(&disk).unwrap();
        for index in 1..EXTENTS {
            write(&disk, index * EXTENT, noise(index, LENGTH));
        }
        wait_for("a table of extents", || {
            let levels = levels(&disk);
            levels.live_blob_bytes > 0 && levels.immutable_memtables == 0 && levels.running_flushes == 0
        });
        crash(disk);
        Self { place, path }
    }
}

#[test]
fn a_log_that_only_the_bits_still_need_is_missed() {
    let spread = Spread::new();
    let logs = files(&spread.path, ".log");
    assert!(logs.len() > 1, "{logs:?}");
    for gone in [&logs[..1], &logs[..]] {
        let path = spread.place.path();
        copy(&spread.path, &path);
        for log in gone {
            fs::remove_file(path.join("db").join(log.file_name().unwrap())).unwrap();
        }
        let disk = RocksDisk::open(&path, &spread.place.options());
        let Ok(disk) = disk else { continue };
        assert!(read(&disk, 0, EXTENT) == noise(0, LENGTH), "what was flushed reads as something else");
        close(disk);
    }
    let disk = spread.place.open(&spread.path);
    assert!(read(&disk, 0, EXTENT) == noise(0, LENGTH));
    close(disk);
}

#[test]
fn an_old_log_that_is_damaged_is_missed() {
    let spread = Spread::new();
    let old = files(&spread.path, ".log").remove(0);
    for at in [10, 20_000, 1_000_000] {
        let path = spread.place.path();
        copy(&spread.path, &path);
        flip(&path.join("db").join(old.file_name().unwrap()), at);
        let Ok(disk) = RocksDisk::open(&path, &spread.place.options()) else { continue };
        assert!(read(&disk, 0, EXTENT) == noise(0, LENGTH), "what was flushed reads as something else");
        close(disk);
    }
}

/// A disk that was closed, and one whose process crashed. And how long the first one's manifest was when it was opened.
fn both() -> (Place, [PathBuf; 2], u64) {
    let crashed = Crashed::new();
    let path = crashed.copy();
    let disk = crashed.place.open(&path);
    let opened = fs::metadata(manifest(&path)).unwrap().len();
    write(&disk, 0, noise(0, LENGTH));
    close(disk);
    // What is closed needs no log.
    for log in files(&path, ".log") {
        fs::remove_file(log).unwrap();
    }
    let without = crashed.place.path();
    copy(&path, &without);
    assert_eq!(crashed.prefix(&without), crashed.written);
    (crashed.place, [path, crashed.path], opened)
}

#[test]
fn a_manifest_that_is_gone_or_nonsense_is_refused() {
    let (place, paths, _) = both();
    for from in paths {
        let damages: [&dyn Fn(&Path); 6] = [
            &|path| fs::remove_file(path.join("db/CURRENT")).unwrap(),
            &|path| fs::write(path.join("db/CURRENT"), "").unwrap(),
            &|path| fs::write(path.join("db/CURRENT"), "MANIFEST-999999\n").unwrap(),
            &|path| fs::write(path.join("db/CURRENT"), "nonsense\n").unwrap(),
            &|path| fs::remove_file(manifest(path)).unwrap(),
            &|path| flip(&manifest(path), 20),
        ];
        for damage in damages {
            let path = place.path();
            copy(&from, &path);
            damage(&path);
            is_refused(&place, &path, &["cannot open the database of"]);
        }
    }
}

fn manifest(path: &Path) -> PathBuf {
    let current = fs::read_to_string(path.join("db/CURRENT")).unwrap();
    path.join("db").join(current.trim())
}

/// RocksDB takes a manifest that ends early for one whose writer crashed. What it then lacks must not be taken for a hole.
#[test]
fn a_manifest_that_lost_its_last_changes_is_refused_or_nothing_was_lost() {
    let (place, [from, _], opened) = both();
    let length = fs::metadata(manifest(&from)).unwrap().len();
    assert!(length > opened + 100, "closing wrote tables: {opened}, {length}");
    let mut refused = 0;
    for at in (opened..length).step_by(7) {
        let path = place.path();
        copy(&from, &path);
        cut(&manifest(&path), at);
        let Ok(disk) = RocksDisk::open(&path, &place.options()) else {
            refused += 1;
            continue;
        };
        for index in 0..5 {
            assert!(read(&disk, index * EXTENT, EXTENT) == noise(index, LENGTH), "extent {index}, cut at {at}");
        }
        close(disk);
    }
    assert!(refused > 0, "some of it is needed");
}

#[test]
fn tables_of_what_a_disk_is_are_needed() {
    for family in ["meta", "bits"] {
        let crashed = Crashed::new();
        let path = crashed.path;
        close(crashed.place.open(&path));
        let db = raw::open(&path);
        let live = db.live_files().unwrap();
        drop(db);
        let name = &live.iter().find(|file| file.column_family_name == family).unwrap().name;
        let table = path.join("db").join(name.trim_start_matches('/'));
        let copied = crashed.place.path();
        copy(&path, &copied);
        fs::remove_file(copied.join("db").join(table.file_name().unwrap())).unwrap();
        is_refused(&crashed.place, &copied, &["cannot open the database of", "cannot read"]);
        flip(&table, 10);
        is_refused(&Place::new(), &path, &["cannot open the database of", "cannot read"]);
    }
}
