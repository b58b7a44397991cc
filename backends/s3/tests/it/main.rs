//! The object log from outside: its promises under faults, crashes, races and damage.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod ask;
mod checkpoints;
mod closing;
mod conformance;
mod damage;
mod directory;
mod flushing;
mod fsck;
mod history;
mod idle;
mod large;
mod observing;
mod prefix;
mod probing;
mod reading;
mod rebuild;
mod s3_server;
mod scrub;
mod setup;
mod sim_store;
mod store_faults;
mod takeover;
mod transfer;
mod unaligned;
mod wire;
