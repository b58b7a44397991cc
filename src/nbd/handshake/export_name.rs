//! NBD_OPT_EXPORT_NAME: the old way into the transmission phase. It cannot refuse but by closing.

use bytes::BytesMut;

use super::{
    flags::transmission_flags,
    input::Data,
    meta_context::Found,
    outcome::{Ended, Haggled},
    session::{Session, Step},
};
use crate::{
    export::Registry,
    nbd::proto::{ReplyStyle, option_reply, text},
};

pub(super) fn answer(session: &Session, exports: &Registry, data: &Data<'_>, out: &mut BytesMut) -> Step {
    if session.style == ReplyStyle::Extended {
        return Step::End(Ended::Violation("EXPORT_NAME after extended headers".into()));
    }
    let name = match data {
        Data::Whole(bytes) => text::received(bytes),
        Data::Oversized => None,
    };
    let Some(name) = name else {
        return Step::End(Ended::Violation("EXPORT_NAME with a name that is not a string of the protocol".into()));
    };
    let export = match session.find(exports, name) {
        Ok(export) => export,
        Err(text) => return Step::End(Ended::Refused(text)),
    };
    let Found { contexts, bitmaps } = session.contexts_for(&export);
    let flags = transmission_flags(export.info(), session.style, contexts);
    option_reply::export_name(out, export.info().size, flags, session.wants_zeroes());
    Step::Transmission(Haggled {
        export,
        style: session.style,
        contexts,
        bitmaps,
        flags,
        block_sizes_negotiated: false,
        leftover: BytesMut::new(),
    })
}
