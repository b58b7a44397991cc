//! What is no disk, is in use, is from the future or makes no sense is refused, by name, and left alone.

use std::{fs, path::Path, process::Command};

use nbdgate_api::{Backend, Kind};
use nbdgate_rocksdb::{CreateOptions, OpenOptions, RocksDisk};

use crate::{
    raw,
    support::{Place, again, close, content, levels, noise, read, write},
};

const SIZE: u64 = 1 << 20;
const EXTENT: u32 = 16 << 10;

/// A closed disk with something on it.
fn disk(place: &Place) -> std::path::PathBuf {
    let path = place.path();
    let disk = place.create(&path, SIZE, EXTENT);
    write(&disk, 0, noise(1, 100_000));
    close(disk);
    path
}

/// Refused with these words; nothing is different afterwards.
#[track_caller]
fn is_refused(place: &Place, path: &Path, kind: Kind, words: &str) {
    let before = content(path);
    for read_only in [false, true] {
        let error = RocksDisk::open(path, &OpenOptions { read_only, ..place.options() }).unwrap_err();
        assert!(error.kind() == kind && error.chain().contains(words), "{:?}: {}", error.kind(), error.chain());
    }
    let create = Some(CreateOptions { size: SIZE, extent: EXTENT, ..CreateOptions::default() });
    let error = RocksDisk::open(path, &OpenOptions { create: create.map(Into::into), ..place.options() }).unwrap_err();
    assert!(error.kind() == kind && error.chain().contains(words), "{:?}: {}", error.kind(), error.chain());
    assert!(content(path) == before, "something was changed");
}

/// For the other process; set by one test alone.
const SECOND: &str = "NBDGATE_TEST_SECOND";

#[test]
fn a_disk_is_not_opened_twice_in_one_process_nor_by_another() {
    if let Some(path) = std::env::var_os(SECOND) {
        let place = Place::new();
        let error = place.refusal(Path::new(&path));
        assert!(error.kind() == Kind::Permission && error.to_string().contains("is in use"), "{}", error.chain());
        println!("refused");
        return;
    }
    let place = Place::new();
    let path = disk(&place);
    let first = place.open(&path);
    let error = place.refusal(&path);
    assert!(error.kind() == Kind::Permission && error.to_string().contains("is in use"), "{}", error.chain());
    let read_only = OpenOptions { read_only: true, ..place.options() };
    let error = RocksDisk::open(&path, &read_only).unwrap_err();
    assert!(error.kind() == Kind::Permission && error.to_string().contains("written to"), "{}", error.chain());
    let me = Command::new(std::env::current_exe().unwrap());
    let output = again(me, "opening::a_disk_is_not_opened_twice_in_one_process_nor_by_another", SECOND, &path);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("refused"), "{told}");
    // The first does not mind.
    write(&first, 0, noise(2, 1000));
    assert_eq!(read(&first, 0, 1000), noise(2, 1000));
    close(first);
    close(place.open(&path));
}

#[test]
fn readers_keep_writers_out_and_one_another_not() {
    let place = Place::new();
    let path = disk(&place);
    let open = || RocksDisk::open(&path, &OpenOptions { read_only: true, ..place.options() }).unwrap();
    let readers = [open(), open()];
    assert_eq!(place.refusal(&path).kind(), Kind::Permission);
    for reader in readers {
        assert_eq!(read(&reader, 0, 100_000), noise(1, 100_000));
        close(reader);
    }
    close(place.open(&path));
}

#[test]
fn a_database_of_somebody_else_is_named_and_left_alone() {
    let place = Place::new();
    let path = place.path();
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    let db = rocksdb::DB::open(&options, &path).unwrap();
    db.put(b"theirs", b"precious").unwrap();
    drop(db);
    is_refused(&place, &path, Kind::Invalid, "nbdgate did not make");
    assert_eq!(rocksdb::DB::open_default(&path).unwrap().get(b"theirs").unwrap().unwrap(), b"precious");
}

#[test]
fn a_database_of_somebody_else_in_place_of_ours_is_named_and_left_alone() {
    let place = Place::new();
    let path = disk(&place);
    fs::remove_dir_all(path.join("db")).unwrap();
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    rocksdb::DB::open(&options, path.join("db")).unwrap().put(b"theirs", b"precious").unwrap();
    is_refused(&place, &path, Kind::Invalid, "nbdgate did not make");
}

#[test]
fn a_directory_with_other_things_is_named_and_left_alone() {
    let place = Place::new();
    let path = place.path();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("letter"), "dear").unwrap();
    is_refused(&place, &path, Kind::Invalid, "something else");
    let file = place.path();
    fs::write(&file, "no directory").unwrap();
    assert!(place.refusal(&file).to_string().contains("no directory"));
    assert_eq!(fs::read(&file).unwrap(), b"no directory");
}

#[test]
fn a_disk_of_a_later_format_is_left_to_a_later_nbdgate() {
    let place = Place::new();
    let path = disk(&place);
    raw::put(&path, "meta", b"format", Some(&2u32.to_le_bytes()));
    is_refused(&place, &path, Kind::NotSupported, "newer nbdgate");
}

#[test]
fn damage_to_what_a_disk_is_is_named() {
    let values: [(&str, Option<&[u8]>); 14] = [
        ("format", None),
        ("format", Some(&[1])),
        ("format", Some(&[0; 4])),
        ("size", None),
        ("size", Some(&[0; 8])),
        ("size", Some(&[0xff; 8])),
        ("size", Some(&[1; 7])),
        ("extent", None),
        ("extent", Some(&[0; 4])),
        ("extent", Some(&[1, 0x40, 0, 0])),
        ("compression", Some(&[9])),
        ("compression", Some(&[])),
        ("uuid", Some(&[1; 15])),
        ("created", Some(&[])),
    ];
    let place = Place::new();
    let path = disk(&place);
    for (key, value) in values {
        let db = raw::open(&path);
        let sound = db.get_cf(db.cf_handle("meta").unwrap(), key).unwrap().unwrap();
        drop(db);
        raw::put(&path, "meta", key.as_bytes(), value);
        is_refused(&place, &path, Kind::Io, "is damaged");
        assert!(nbdgate_rocksdb::info(&path).unwrap_err().to_string().contains(key), "{key} is named");
        raw::put(&path, "meta", key.as_bytes(), Some(&sound));
    }
    assert_eq!(read(&place.open(&path), 0, 100_000), noise(1, 100_000));
}

#[test]
fn damage_to_which_extents_there_are_is_named() {
    let beyond = {
        let mut page = [0; 512];
        page[usize::try_from(SIZE / u64::from(EXTENT) / 8).unwrap()] = 1;
        page
    };
    let pages: [(&[u8], &[u8]); 6] = [
        (&[0; 4], &[1; 511]),
        (&[0; 4], &[1; 513]),
        (&[0; 4], &[]),
        (&[0; 3], &[1; 512]),
        (&[0; 4], &beyond),
        (&[0xff; 4], &[1; 512]),
    ];
    for (key, page) in pages {
        let place = Place::new();
        let path = disk(&place);
        raw::put(&path, "bits", key, Some(page));
        for read_only in [false, true] {
            let error = RocksDisk::open(&path, &OpenOptions { read_only, ..place.options() }).unwrap_err();
            assert!(error.kind() == Kind::Io && error.chain().contains("presence bitmap"), "{}", error.chain());
        }
        assert!(nbdgate_rocksdb::info(&path).unwrap_err().to_string().contains("presence bitmap"));
    }
}

/// The bitmap says that an extent is there, and the database has none, or one that is too short.
#[test]
fn an_extent_that_is_lost_or_cut_is_an_error_and_the_rest_is_read() {
    let place = Place::new();
    let path = disk(&place);
    let extent = u64::from(EXTENT);
    raw::put(&path, "data", &1u64.to_be_bytes(), None);
    raw::put(&path, "data", &2u64.to_be_bytes(), Some(b"short"));
    let disk = place.open(&path);
    for (index, words) in [(1, "is lost"), (2, "is damaged")] {
        let range = crate::support::range(index * extent, extent);
        let error = nbdgate_api::wait::read(&disk, range).unwrap_err();
        assert!(error.kind() == Kind::Io && error.to_string().contains(words), "{}", error.chain());
        // What is not known cannot be completed.
        let error = nbdgate_api::wait::write(&disk, index * extent + 5, vec![1; 5]).unwrap_err();
        assert!(error.kind() == Kind::Io && error.to_string().contains(words), "{}", error.chain());
    }
    let told = levels(&disk).corruptions;
    assert!(told >= 4, "{told} of 4 were counted");
    assert_eq!(read(&disk, 0, extent), noise(1, 100_000)[..EXTENT as usize]);
    assert_eq!(read(&disk, 3 * extent, extent), noise(1, 100_000)[3 * EXTENT as usize..4 * EXTENT as usize]);
    // Written whole, it is there again.
    write(&disk, extent, noise(2, 2 * EXTENT as usize));
    assert_eq!(read(&disk, extent, 2 * extent), noise(2, 2 * EXTENT as usize));
    disk.close().unwrap();
}
