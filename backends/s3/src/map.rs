//! The committed state of a disk in memory: which block of which segment holds each block of the disk.
//!
//! [`PagedMap`] maps the disk to the log, [`SegmentTable`] names the segments. Both remember what changed since
//! the last checkpoint and hand out copy-on-write pictures of it, so the owner goes on writing while a checkpoint is
//! encoded elsewhere.

mod page;
mod paged_map;
pub mod segments;
mod spans;

pub use page::{Extent, PAGE_BLOCKS, Page};
pub use paged_map::{FrozenPages, PagedMap};
pub use segments::{Entries, FrozenSegments, SegmentEntry, SegmentKind, SegmentName, SegmentTable, Usage};
pub use spans::{Run, Span, Spans};
