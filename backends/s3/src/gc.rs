//! Garbage collection (OBJECT-LOG §9): what is dead, who still needs it, what is worth moving, and how fast.
//!
//! ```text
//!  overwritten blocks ─► select ─► move the rest ─► segment without live blocks
//!                                                        │ checkpoint that stops naming it, published
//!                                                        ▼
//!                            pins: a snapshot needs it? ─ yes ─► stays, until the snapshot is deleted
//!                                                        │ no
//!                                                        ▼
//!                                               garbage: waits for its time, then the object is deleted
//! ```
//!
//! Everything here is pure; `engine::collect` says when, `driver::collect` does it. Absent by design: reference
//! counts, and any deletion that is not behind a published manifest.

pub(crate) mod garbage;
pub(crate) mod offline;
pub(crate) mod pace;
pub mod pins;
pub(crate) mod ranges;
pub(crate) mod select;
