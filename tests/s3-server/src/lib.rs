//! An S3 server in memory, for tests and benches of the real program over real HTTP.
//!
//! ```text
//!  connection ─► wire ── fate: 503, hang, cut, reply lost, applied late ── settings, by flag or while it runs
//!                 │
//!               service ── s3s: HTTP, XML, signatures
//!                 │
//!               objects ── one lock around one map: put-if-absent is atomic
//! ```
//!
//! One pair of keys, path-style addresses, and what the object log uses: GET with ranges, HEAD, PUT with
//! `If-None-Match: *`, LIST (version 2), DELETE of one and of many. Counters tell what was asked.
//!
//! It keeps everything in memory for as long as it runs. It has no versions, no multipart uploads, no access lists.

mod control;
mod counters;
mod fate;
mod objects;
mod server;
mod service;
mod settings;
mod wire;

pub use counters::Counts;
pub use server::Server;
pub use settings::Settings;

/// The access key that is let in.
pub const ACCESS_KEY: &str = "test-access-key";

/// Its secret.
pub const SECRET_KEY: &str = "test-secret-key";

/// The bucket that is there from the start.
pub const BUCKET: &str = "bucket";

/// The region in signatures.
pub const REGION: &str = "us-east-1";
