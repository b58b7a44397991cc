//! The backend contract, as every backend is held to it.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use nbdgate_api::{
    Backend,
    conformance::{self, Harness},
};
use nbdgate_rocksdb::OpenOptions;

use crate::support::Place;

/// Disks that the suite has open, by the address of their backend.
type Disks = Arc<Mutex<HashMap<usize, PathBuf>>>;

fn address(disk: &Arc<dyn Backend>) -> usize {
    Arc::as_ptr(disk).cast::<()>().addr()
}

fn harness(extent: u32) -> Harness {
    let place = Arc::new(Place::new());
    let disks = Disks::default();
    let again = {
        let (place, disks) = (place.clone(), disks.clone());
        move |disk: Arc<dyn Backend>| {
            let path = disks.lock().unwrap().remove(&address(&disk)).unwrap();
            drop(disk);
            let disk: Arc<dyn Backend> = Arc::new(place.open(&path));
            disks.lock().unwrap().insert(address(&disk), path);
            disk
        }
    };
    let open = move |size| {
        let path = place.path();
        let disk: Arc<dyn Backend> = Arc::new(place.create(&path, size, extent));
        disks.lock().unwrap().insert(address(&disk), path);
        disk
    };
    // A crash is that the disk is dropped without being closed: what RocksDB has not written to its log is gone.
    Harness::new(open).with_reopen(again.clone()).with_crash(again)
}

#[test]
fn disks_with_extents_in_tables_keep_the_contract() {
    conformance::run(harness(4 << 10));
}

#[test]
fn disks_with_extents_in_blob_files_keep_the_contract() {
    conformance::run(harness(16 << 10));
}

#[test]
fn disks_with_the_largest_extents_keep_the_contract() {
    conformance::run(harness(64 << 10));
}

#[test]
fn read_only_disks_keep_the_contract() {
    let place = Place::new();
    let open = move |size| {
        let path = place.path();
        let disk = place.create(&path, size, 16 << 10);
        disk.close().unwrap();
        drop(disk);
        let options = OpenOptions { read_only: true, ..place.options() };
        Arc::new(nbdgate_rocksdb::RocksDisk::open(&path, &options).unwrap()) as Arc<dyn Backend>
    };
    conformance::run(Harness::new(open));
}
