//! Backends around backends: for tests that need misfortune on demand, and for restricting an export.
//!
//! - [`Fault`]: requests fail, are held back or get lost, by rules.
//! - [`Shuffle`]: requests reach the backend in a random order, from another thread.
//! - [`Volatile`]: a write cache that a crash empties.
//! - [`Record`]: a log of requests and their ends.
//! - [`ReadOnly`]: no mutation gets through.
//! - [`Limit`]: fewer capabilities and larger blocks than the backend has.
//!
//! Every layer keeps the contract of [`backend`](nbdgate_api::backend) itself, apart from the faults it is told to
//! have, and passes the caller's duties on. Randomness starts from a given seed. No layer holds a lock that requests
//! share while it calls the backend below or a reply.

mod fault;
mod limit;
mod read_only;
mod record;
mod relay;
mod shuffle;
mod volatile;

pub use crate::{
    fault::{Action, Fault, Rule},
    limit::{Limit, Limits},
    read_only::ReadOnly,
    record::{Record, Request},
    shuffle::Shuffle,
    volatile::{Survivors, Volatile},
};
