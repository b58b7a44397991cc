//! NBD_OPT_STRUCTURED_REPLY.

use super::session::{Refused, Session, Step};
use crate::nbd::proto::{ReplyStyle, constants::NBD_REP_ERR_EXT_HEADER_REQD, option_reply::OptionReply};

/// Asking again changes nothing and is acknowledged; there is no way back from extended headers.
pub(super) fn answer(session: &mut Session, reply: &mut OptionReply<'_>) -> Result<Step, Refused> {
    if session.style == ReplyStyle::Extended {
        let text = "extended headers are in use and already imply structured replies";
        return Err(Refused::new(NBD_REP_ERR_EXT_HEADER_REQD, text));
    }
    session.style = ReplyStyle::Structured;
    reply.ack();
    Ok(Step::Next)
}
