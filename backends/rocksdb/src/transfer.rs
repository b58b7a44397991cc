//! Raw images in and out, with holes kept, through the backend that serves clients.
//!
//! ```text
//!  image ─► data, without zeros ─► writes, several at once ─► RocksDisk      (into PATH.new-ID where the disk is made)
//!  RocksDisk ─► extents that are there ─► reads, several at once ─► IMAGE.new-ID ─► rename to IMAGE
//! ```
//!
//! What is made anew is made beside its place: an interrupted transfer leaves no half disk and no half image.

mod export;
mod import;
mod raw;
mod target;

pub use self::{
    export::{Exported, export},
    import::{Imported, import},
    target::Target,
};

/// Bytes of a request.
const PIECE: u64 = 1 << 20;
/// Requests in flight.
const DEPTH: usize = 16;
/// Bytes that are looked at together for zeros: holes of images are seldom smaller.
const BLOCK: usize = 4096;
