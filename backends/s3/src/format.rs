//! The on-bucket format, byte exact (docs/OBJECT-LOG.md, "On-bucket format").
//!
//! Everything here is pure: encoders turn values into bytes, parsers turn untrusted bytes into values or a
//! [`FormatError`]. No parser panics, and none allocates by a length it has read before that length was held
//! against the bytes at hand or a named maximum.

pub mod descriptor;
pub mod error;
pub mod fence;
pub mod frame;
pub mod ids;
pub mod ledger;
pub mod manifest;
pub mod names;
pub mod object;
pub mod prelude;
pub mod seal;
pub mod segment;
pub mod segment_index;
mod wire;

pub use descriptor::{Descriptor, Parent};
pub use error::{FormatError, FormatErrorKind};
pub use fence::Fence;
pub use frame::{Codec, Frame};
pub use ids::{
    BLOCK_SHIFT, BLOCK_SIZE, BlockRange, CheckpointNo, Epoch, Lba, ManifestNo, Nonce, SegId, SegmentAddress, Seq,
    SnapshotId, VolumeId, Writer, Wseq,
};
pub use ledger::{LedgerEntry, LedgerOp};
pub use manifest::{Manifest, RootLocator};
pub use names::{Object, ObjectName, PackName, VolumeName};
pub use object::Head;
pub use prelude::{Expected, Kind, Place, Prelude};
pub use seal::Sealing;
pub use segment::{DataRecord, SegmentMeta, ZeroRecord};
pub use segment_index::SegmentIndex;
pub(crate) use wire::{Reader, put_varint, zigzag};
