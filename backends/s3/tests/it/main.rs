//! The object log from outside: its promises under faults, crashes, races and damage.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod ask;
mod audit;
mod closing;
mod collecting;
mod conformance;
mod damage;
mod directory;
mod flushing;
mod idle;
mod large;
mod mutants;
mod observing;
mod prefix;
mod probing;
mod reading;
mod s3_server;
mod setup;
mod sim_store;
mod snapshot_lives;
mod snapshots;
mod store_faults;
mod takeover;
mod unaligned;
mod wire;
