//! nbdgate: a storage gateway that serves disks over NBD from memory, files and object stores.
//!
//! Knowledge flows one way: `main → cli → gateway → {nbd, status, metrics} → export → scheduler → nbdgate-api ←
//! backends`. `nbd::proto` and the scheduler's planning are pure: no I/O, no async.

pub mod cli;
pub mod config;
pub mod cost;
pub mod export;
pub mod gateway;
pub mod metrics;
pub mod nbd;
pub mod scheduler;
pub mod status;
