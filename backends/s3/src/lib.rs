//! The object log: a disk as an immutable log of segments in an object store.

pub mod checkpoint;
pub mod format;
pub mod map;
pub mod segment_builder;
