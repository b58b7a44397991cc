//! NBD_OPT_EXTENDED_HEADERS: takes the place of structured replies, which need not be asked for first.

use super::session::{Session, Step};
use crate::nbd::proto::{ReplyStyle, option_reply::OptionReply};

/// Asking again changes nothing and is acknowledged.
pub(super) fn answer(session: &mut Session, reply: &mut OptionReply<'_>) -> Step {
    session.style = ReplyStyle::Extended;
    reply.ack();
    Step::Next
}
