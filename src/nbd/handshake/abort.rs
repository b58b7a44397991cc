//! NBD_OPT_ABORT: acknowledged whatever comes with it, in every state, and also if the client is already gone.

use bytes::BytesMut;

use super::{
    outcome::Ended,
    session::{Session, Step},
};
use crate::nbd::proto::{constants::NBD_OPT_ABORT, option_reply::OptionReply};

pub(super) fn answer(session: &Session, out: &mut BytesMut) -> Step {
    // Without fixed newstyle there are no option replies.
    if session.is_fixed() {
        OptionReply::new(out, NBD_OPT_ABORT).ack();
    }
    Step::End(Ended::Aborted)
}
