//! BLOCK_STATUS with a payload: the effect length and the metadata contexts wanted (NBD_CMD_BLOCK_STATUS).

use super::{Command, NBD_CMD_BLOCK_STATUS, RawRequest, Refusal, Shape, check_range};
use crate::nbd::proto::meta_context::{MetaContext, MetaContexts};

const LENGTH_BYTES: usize = 8;
const ID_BYTES: usize = 4;

/// A filtered BLOCK_STATUS whose payload has still to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockStatusFilter {
    offset: u64,
    req_one: bool,
    payload_bytes: usize,
}

impl BlockStatusFilter {
    /// Longest payload that is read: one id for each context there is.
    pub const MAX_PAYLOAD_BYTES: usize = LENGTH_BYTES + ID_BYTES * MetaContext::COUNT;

    /// Refuses payloads that cannot be a filter by their size alone: no id, half an id, or more ids than there are
    /// contexts, so that one is unknown or given twice.
    pub(super) fn of(request: &RawRequest, req_one: bool) -> Result<Command, Refusal> {
        let payload_bytes = usize::try_from(request.length).unwrap_or(usize::MAX);
        let ids = payload_bytes.saturating_sub(LENGTH_BYTES);
        if ids == 0 || !ids.is_multiple_of(ID_BYTES) || payload_bytes > Self::MAX_PAYLOAD_BYTES {
            return Err(Refusal::invalid(format!("a block status payload of {payload_bytes} bytes fits no filter")));
        }
        Ok(Command::FilteredBlockStatus(Self { offset: request.offset, req_one, payload_bytes }))
    }

    /// Bytes of payload that follow on the wire, at most [`Self::MAX_PAYLOAD_BYTES`].
    pub const fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// Reads the payload; gives [`Command::BlockStatus`].
    ///
    /// # Errors
    /// The filter is refused; nothing of its payload is left on the wire.
    pub fn read(&self, payload: &[u8], shape: &Shape) -> Result<Command, Refusal> {
        let (length, ids) = match payload.split_first_chunk::<LENGTH_BYTES>() {
            Some(parts) if payload.len() == self.payload_bytes => parts,
            _ => return Err(Refusal::invalid("the block status payload is incomplete")),
        };
        let mut contexts = MetaContexts::default();
        for id in ids.as_chunks::<ID_BYTES>().0 {
            let id = u32::from_be_bytes(*id);
            let context = MetaContext::from_id(id).filter(|context| shape.contexts.contains(*context));
            let Some(context) = context else {
                return Err(Refusal::invalid(format!("metadata context {id} was not selected")));
            };
            if !contexts.insert(context) {
                return Err(Refusal::invalid(format!("metadata context {id} is given twice")));
            }
        }
        let range = check_range(NBD_CMD_BLOCK_STATUS, self.offset, u64::from_be_bytes(*length), shape)?;
        Ok(Command::BlockStatus { range, req_one: self.req_one, contexts })
    }
}
