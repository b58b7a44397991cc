//! Checkpoints (§7): the map, the segment table and the pack table as copy-on-write blobs in map packs.
//!
//! ```text
//! manifest --> ROOT --> PACKTAB chunks   which pack object each pack number is (in ROOT's own pack)
//!                  \--> DIR chunks       1024 page locators each
//!                  |       \--> PAGE     4 MiB of disk
//!                  |--> SEGTAB chunks    1024 segments each
//!                  \--> DEFER            deletions that wait for snapshots
//! ```
//!
//! A root is a complete, immutable picture. [`RootState`] is a root in memory, [`encode`](encode::encode) makes the
//! next one out of what changed, [`Loader`] reads one back as a series of byte ranges to fetch. PACKTAB is written
//! whole into the pack of its ROOT each time, so that ROOT alone resolves every pack number.
//!
//! A blob is used only after its crc held; everything in it is held against the bounds of what it points to.

mod blob;
mod encode;
mod load;
mod pack_index;
mod pack_writer;
mod packs;
mod page_codec;
mod roll_back;
mod root;
mod root_codec;
mod summary;
mod tables;

pub use blob::{BlobEntry, BlobType};
pub use encode::{Checkpoint, CheckpointSpec, Frozen, PackObject, encode, freeze};
pub use load::{Fetch, KnownPages, Loaded, Loader, Recount};
pub use pack_index::PackIndex;
pub use packs::{PackEntry, PackNo};
pub use roll_back::{Discarded, roll_back};
pub use root::{Deferred, DeferredObject, Position, RootState};
pub(crate) use summary::{RootSummary, root_summary};
