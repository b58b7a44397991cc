//! What a rebuild found and did.

use crate::inspect::affected::Affected;

/// What a rebuilt state begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RebuildBase {
    /// The empty disk: the log from its first slot.
    #[default]
    Nothing,
    /// A checkpoint.
    Checkpoint {
        /// The pack that holds its root, below the store's root.
        object: String,
        /// Its number.
        number: u32,
    },
}

/// See the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RebuildReport {
    /// What the state begins with.
    pub base: RebuildBase,
    /// Log segments applied behind it.
    pub log_segments: u64,
    /// Segments of moved data applied.
    pub moved_segments: u64,
    /// The last mutation in the state.
    pub mutation: u64,
    /// Bytes of the disk.
    pub size: u64,
    /// What cannot be known, or is known to be lost; empty if the state is exactly what was last stored.
    pub unknown: Vec<String>,
    /// Bytes that the state refers to and whose objects are gone, or no segments any more: reads of them fail. The data of the
    /// others is not read: `fsck` does that.
    pub unreadable: Affected,
    /// The disk opens as it is.
    pub healthy: bool,
    /// Where the rebuilt state is another than that of a disk that opens.
    pub differs: Option<Affected>,
    /// The checkpoint that was written; `None` if none was.
    pub written: Option<u32>,
    /// Objects that were made again, below the root.
    pub restored: Vec<String>,
    /// What is left to be done by hand.
    pub left: Vec<String>,
    /// How many of name and descriptor are missing or damaged.
    pub lost_names: u32,
}

impl RebuildReport {
    /// Whether the state is exactly what was last stored.
    pub fn exact(&self) -> bool {
        self.unknown.is_empty() && self.unreadable.bytes == 0
    }
}
