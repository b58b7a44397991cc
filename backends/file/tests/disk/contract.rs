//! The backend contract, as every backend is held to it.
//!
//! A crash is not part of it here: what survives the host's is between fdatasync and the device, and all that was
//! answered survives the process's.

use std::{
    collections::HashMap,
    fs::File,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use nbdgate_api::{
    Backend,
    conformance::{self, Harness},
};
use nbdgate_file::{FileDisk, OpenOptions};
use rustix::fs::FallocateFlags;

use crate::support::{Place, Placed, Submitter, submitters};

/// Images that the suite has open, by the address of their backend.
type Images = Arc<Mutex<HashMap<usize, PathBuf>>>;

fn address(disk: &Arc<dyn Backend>) -> usize {
    Arc::as_ptr(disk).cast::<()>().addr()
}

fn harness(submitter: Submitter, options: OpenOptions, allocated: bool) -> Harness {
    let place = Place::new();
    let (images, number) = (Images::default(), AtomicU64::new(0));
    let open = move |images: &Images, path: PathBuf| {
        let disk = FileDisk::open(&path, options).unwrap();
        let disk: Arc<dyn Backend> = Arc::new(Placed::new(disk, submitter));
        images.lock().unwrap().insert(address(&disk), path);
        disk
    };
    let again = images.clone();
    Harness::new(move |size| {
        let path = place.path(&number.fetch_add(1, Relaxed).to_string());
        let file = File::create(&path).unwrap();
        file.set_len(size).unwrap();
        if allocated {
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size).unwrap();
        }
        open(&images, path)
    })
    .with_reopen(move |disk| {
        let path = again.lock().unwrap().remove(&address(&disk)).unwrap();
        drop(disk);
        open(&again, path)
    })
}

fn on_every_thread(options: OpenOptions, allocated: bool) {
    for submitter in submitters() {
        println!("{submitter:?}");
        conformance::run(harness(submitter, options, allocated));
    }
}

#[test]
fn sparse_images_keep_the_contract() {
    on_every_thread(OpenOptions::default(), false);
}

#[test]
fn allocated_images_keep_the_contract() {
    on_every_thread(OpenOptions::default(), true);
}

#[test]
fn images_past_the_page_cache_keep_the_contract() {
    on_every_thread(OpenOptions { direct: true, ..OpenOptions::default() }, false);
}
