//! NBD_OPT_LIST: every export with its description.

use super::session::Step;
use crate::{export::Registry, nbd::proto::option_reply::OptionReply};

pub(super) fn answer(exports: &Registry, reply: &mut OptionReply<'_>) -> Step {
    for export in exports.iter() {
        reply.server(export.name().as_str(), export.description());
    }
    reply.ack();
    Step::Next
}
