//! NBD_OPT_INFO and NBD_OPT_GO: everything about one export; GO then enters the transmission phase.
//!
//! Size constraints are always sent, and enforced whether or not the client asked for them: a client that did not
//! is served all the same and has its unaligned requests refused one by one.

use bytes::BytesMut;

use super::{
    flags::transmission_flags,
    meta_context::Found,
    outcome::Haggled,
    session::{Refused, Session, Step, find},
};
use crate::{
    export::Registry,
    nbd::proto::{
        constants::{NBD_INFO_BLOCK_SIZE, NBD_INFO_DESCRIPTION, NBD_INFO_NAME},
        option::InfoRequest,
        option_reply::{BlockSizeInfo, OptionReply},
    },
};

/// Which of the two options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Info,
    Go,
}

pub(super) fn answer(
    session: &Session,
    exports: &Registry,
    ask: Ask,
    data: &[u8],
    reply: &mut OptionReply<'_>,
) -> Result<Step, Refused> {
    let request = InfoRequest::parse(data)?;
    let export = find(session, exports, request.name)?;
    let info = export.info();
    let Found { contexts, bitmaps } = session.contexts_for(&export);
    let flags = transmission_flags(info, session.style, contexts);
    reply.info_export(info.size, flags);
    reply.info_block_size(BlockSizeInfo {
        minimum: info.block.minimum,
        preferred: info.block.preferred,
        maximum_payload: info.block.maximum_payload,
    });
    if request.wants(NBD_INFO_NAME) {
        reply.info_name(export.name().as_str());
    }
    if request.wants(NBD_INFO_DESCRIPTION) {
        reply.info_description(export.description());
    }
    reply.ack();
    Ok(match ask {
        Ask::Info => Step::Next,
        Ask::Go => Step::Transmission(Haggled {
            export,
            style: session.style,
            contexts,
            bitmaps,
            flags,
            block_sizes_negotiated: request.wants(NBD_INFO_BLOCK_SIZE),
            leftover: BytesMut::new(),
        }),
    })
}
