//! A disk's database as anyone can open it, to make of it what nbdgate never would.

use std::path::Path;

use rocksdb::{DB, Options};

const FAMILIES: [&str; 4] = ["default", "meta", "bits", "data"];

/// The database of a disk that is closed.
pub(crate) fn open(path: &Path) -> DB {
    DB::open_cf(&Options::default(), path.join("db"), FAMILIES).unwrap()
}

/// Puts a value into a family, or takes one away.
pub(crate) fn put(path: &Path, family: &str, key: &[u8], value: Option<&[u8]>) {
    let db = open(path);
    let family = db.cf_handle(family).unwrap();
    match value {
        Some(value) => db.put_cf(family, key, value).unwrap(),
        None => db.delete_cf(family, key).unwrap(),
    }
    db.flush_cf(family).unwrap();
}

/// Makes one table of all extents, in the lowest level.
pub(crate) fn compact(path: &Path) {
    let db = open(path);
    db.compact_range_cf(db.cf_handle("data").unwrap(), None::<&[u8]>, None::<&[u8]>);
}
