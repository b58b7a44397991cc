//! The object log from outside: its promises under faults, crashes, races and damage.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod ahead;
mod ask;
mod audit;
mod caching;
mod checkpoints;
mod closing;
mod collecting;
mod conformance;
mod damage;
mod directory;
mod encryption;
mod flushing;
mod fsck;
mod hedging;
mod history;
mod idle;
mod journal;
mod journal_prefix;
mod large;
mod observing;
mod prefix;
mod probing;
mod reading;
mod rebuild;
mod rekeying;
mod s3_server;
mod scrub;
mod sealed_objects;
mod setup;
mod sharing;
mod sim_disk;
mod sim_medium;
mod sim_store;
mod snapshot_lives;
mod snapshots;
mod store_faults;
mod takeover;
mod transfer;
mod unaligned;
mod wire;
