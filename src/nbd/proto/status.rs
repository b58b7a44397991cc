//! Block status descriptors (NBD_REPLY_TYPE_BLOCK_STATUS, NBD_REPLY_TYPE_BLOCK_STATUS_EXT).
//!
//! Legal whatever the extents are: descriptors follow each other from the request's offset without gaps, none is
//! empty, neighbours differ in status, none passes the request's end, REQ_ONE gives one, there is always one and
//! never more than [`MAX_DESCRIPTORS`]. Extents that do not continue the range end the answer early, which the
//! protocol allows; where that leaves nothing, the range is told as what is always true: data, or dirty.

use bytes::BytesMut;
use nbdgate_api::{Extent, ExtentKind};

use super::{
    constants::{NBD_STATE_DIRTY, NBD_STATE_HOLE, NBD_STATE_ZERO},
    meta_context::MetaContext,
    reply::Asked,
};

/// Most descriptors of one chunk. The specification allows 2^20; this keeps a chunk at 64 KiB, which no maximum
/// payload forbids, and clients ask on from where an answer ends.
pub(super) const MAX_DESCRIPTORS: u32 = 4096;

/// Most bytes of descriptors in one chunk.
pub const MAX_STATUS_BYTES: u32 = MAX_DESCRIPTORS * 16;

/// Longest 32-bit descriptor: the greatest length that every minimum block divides.
const MAX_LENGTH_32: u64 = 0xffff_0000;

/// Appends 64-bit descriptors; returns how many.
pub(super) fn put_64(out: &mut BytesMut, context: MetaContext, asked: Asked, extents: &[Extent]) -> u32 {
    describe(context, asked, extents, u64::MAX, |length, status| {
        let mut descriptor = [0; 16];
        descriptor[..8].copy_from_slice(&length.to_be_bytes());
        descriptor[8..].copy_from_slice(&u64::from(status).to_be_bytes());
        out.extend_from_slice(&descriptor);
    })
}

/// Appends 32-bit descriptors; returns how many. Longer stretches become several, or with REQ_ONE a shorter one.
pub(super) fn put_32(out: &mut BytesMut, context: MetaContext, asked: Asked, extents: &[Extent]) -> u32 {
    let longest = u32::try_from(asked.range.length()).map_or(MAX_LENGTH_32, |_| u64::from(u32::MAX));
    describe(context, asked, extents, longest, |length, status| {
        let length = u32::try_from(length).expect("descriptors are cut to 32 bits");
        let mut descriptor = [0; 8];
        descriptor[..4].copy_from_slice(&length.to_be_bytes());
        descriptor[4..].copy_from_slice(&status.to_be_bytes());
        out.extend_from_slice(&descriptor);
    })
}

fn describe(
    context: MetaContext,
    asked: Asked,
    extents: &[Extent],
    longest: u64,
    mut put: impl FnMut(u64, u32),
) -> u32 {
    let unknown = match context {
        MetaContext::Allocation => 0,
        MetaContext::Bitmap(_) => NBD_STATE_DIRTY,
    };
    let most = if asked.req_one { 1 } else { MAX_DESCRIPTORS };
    let mut count = 0;
    let mut told = asked.range.offset();
    let mut rest = extents.iter().filter(|extent| !extent.range.is_empty()).peekable();
    while count < most {
        let (mut end, state) = match rest.next() {
            Some(extent) if extent.range.offset() <= told && told < extent.range.end() => {
                (extent.range.end(), status(extent.kind))
            }
            Some(extent) if extent.range.end() <= told => continue,
            _ if count == 0 => (asked.range.end(), unknown),
            _ => break,
        };
        while let Some(next) = rest.next_if(|next| next.range.offset() == end && status(next.kind) == state) {
            end = next.range.end();
        }
        let end = end.min(asked.range.end());
        while told < end && count < most {
            let length = longest.min(end - told);
            put(length, state);
            told += length;
            count += 1;
        }
        if told == asked.range.end() {
            break;
        }
    }
    count
}

const fn status(kind: ExtentKind) -> u32 {
    match kind {
        ExtentKind::Data | ExtentKind::Clean => 0,
        ExtentKind::Dirty => NBD_STATE_DIRTY,
        ExtentKind::Hole => NBD_STATE_HOLE | NBD_STATE_ZERO,
        ExtentKind::Zero => NBD_STATE_ZERO,
    }
}
