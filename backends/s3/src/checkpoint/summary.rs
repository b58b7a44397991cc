//! What a ROOT says of itself, for who looks for roots without a manifest.

use super::{Position, root_codec};
use crate::format::{CheckpointNo, FormatError};

/// A root without what it points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RootSummary {
    pub(crate) checkpoint: CheckpointNo,
    pub(crate) position: Position,
    pub(crate) blocks: u64,
}

/// Reads a decoded ROOT blob.
pub(crate) fn root_summary(raw: &[u8]) -> Result<RootSummary, FormatError> {
    let root = root_codec::parse(raw)?.root;
    Ok(RootSummary { checkpoint: root.checkpoint(), position: root.position(), blocks: root.blocks() })
}
