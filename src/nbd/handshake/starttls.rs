//! NBD_OPT_STARTTLS, and what TLS means for the other options ("TLS support").

use bytes::BytesMut;

use super::{
    outcome::Ended,
    session::{Refused, Session, Step},
};
use crate::nbd::proto::{
    constants::{NBD_OPT_EXPORT_NAME, NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID, NBD_REP_ERR_POLICY, NBD_REP_ERR_TLS_REQD},
    option::OptionHeader,
    option_reply::OptionReply,
};

/// The specification's modes NOTLS, SELECTIVETLS without TLS-only exports, and FORCEDTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPolicy {
    /// No TLS.
    Off,
    /// TLS for clients that want it.
    Allow,
    /// Nothing but TLS.
    Require,
}

/// Answers STARTTLS itself.
pub(super) fn answer(session: &Session, policy: TlsPolicy, reply: &mut OptionReply<'_>) -> Result<Step, Refused> {
    if policy == TlsPolicy::Off {
        return Err(Refused::new(NBD_REP_ERR_POLICY, "this server is not set up for tls"));
    }
    if session.secured {
        return Err(Refused::new(NBD_REP_ERR_INVALID, "tls is already in use"));
    }
    reply.ack();
    Ok(Step::StartTls)
}

/// Refuses an option that has to wait for TLS; `None` lets it pass.
pub(super) fn require(session: &Session, policy: TlsPolicy, header: OptionHeader, out: &mut BytesMut) -> Option<Step> {
    if policy != TlsPolicy::Require || session.secured || header.option == NBD_OPT_STARTTLS {
        return None;
    }
    if header.option == NBD_OPT_EXPORT_NAME {
        return Some(Step::End(Ended::Refused("EXPORT_NAME without tls, which is required".into())));
    }
    OptionReply::new(out, header.option).error(NBD_REP_ERR_TLS_REQD, "this server requires tls: use STARTTLS first");
    Some(Step::Next)
}
