//! The contract, as every backend is held to it.

use std::sync::Arc;

use nbdgate_api::conformance::{self, Case, Harness};
use nbdgate_memory::{CHUNK_SIZE, Memory};

fn open(size: u64, limit: u64) -> Arc<Memory> {
    Arc::new(Memory::bounded(size, limit).expect("a memory disk for the suite"))
}

#[test]
fn memory_keeps_the_contract() {
    conformance::run(Harness::new(|size| open(size, u64::MAX)));
}

#[test]
fn a_full_memory_disk_fails_within_the_range_of_the_request() {
    let harness = Harness::new(|size| open(size, size / CHUNK_SIZE / 2 * CHUNK_SIZE)).expecting_failures();
    let seed = harness.seed();
    if let Err(failure) = Case::named("random_requests_match_a_model").run(&Arc::new(harness)) {
        panic!("{failure} (seed {seed})");
    }
}
