//! Disks in RocksDB, through the backend contract and the file system beneath.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod contract;
mod damage;
mod full;
mod log;
mod model;
mod opening;
mod raw;
mod support;
mod sync;
mod trims;
mod waiting;
