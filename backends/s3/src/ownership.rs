//! Who may write a disk: the manifest chain, claims, and fences (OBJECT-LOG §6).
//!
//! Only put-if-absent is used. A claimant takes the next number of the manifest chain, closes its predecessor's
//! log with a fence in the first empty slot, and opens a log of its own. No step relies on a clock, except that reads
//! are answered only for a while after a proof of ownership, which a claimant on another host waits out (§6.6).

pub(crate) mod chain;
pub(crate) mod claim;
pub(crate) mod fence;
pub(crate) mod host;
pub(crate) mod journal;
pub(crate) mod phase;
pub(crate) mod proof;
pub(crate) mod when;
