//! Who may write a disk: the manifest chain, claims, and fences (OBJECT-LOG §6).
//!
//! Only put-if-absent is used. A claimant takes the next number of the manifest chain, closes its predecessor's
//! log with a fence in the first empty slot, and opens a log of its own. No step relies on a clock.
//! This version writes a serving lease of 0: a partitioned writer may answer reads from the time before the takeover
//! until it next talks to the store; writes and flushes are never affected.

pub(crate) mod chain;
pub(crate) mod claim;
pub(crate) mod fence;
pub(crate) mod host;
pub(crate) mod journal;
