//! Option haggling: from the first byte of a connection to the transmission phase ("Handshake").
//!
//! [`haggle`] speaks fixed newstyle over any stream, one file per option, and ends in an [`Outcome`]. Each option
//! is answered by one write. A client cannot make it hold more than [`MAX_OPTION_BYTES`] of input, and cannot
//! haggle for more than [`MAX_OPTIONS`] options; time is limited by the caller, who drops the future.
//!
//! Absent by design: sockets, deadlines, TLS itself, and anything of the transmission phase.
//!
//! ```text
//! greeting → client flags → option ⇄ reply … → GO or EXPORT_NAME → Outcome::Transmission
//!                                     │ STARTTLS → Outcome::StartTls → resume() over TLS
//!                                     └ ABORT, end of stream, violation → Outcome::Ended
//! ```

mod abort;
mod export_name;
mod extended_headers;
mod flags;
mod info;
mod input;
mod list;
mod meta_context;
mod outcome;
mod session;
mod starttls;
mod structured_reply;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

pub use self::{
    flags::transmission_flags,
    input::{MAX_OPTION_BYTES, MAX_SKIPPED_BYTES},
    meta_context::MAX_QUERIES,
    outcome::{Ended, Haggled, Outcome, Resume},
    starttls::TlsPolicy,
};
use self::{
    input::{Data, Input},
    session::{Session, Step},
};
use super::proto::{
    constants::{NBD_FLAG_C_FIXED_NEWSTYLE, NBD_FLAG_C_NO_ZEROES, NBD_OPT_ABORT, NBD_OPT_EXPORT_NAME},
    option::OptionHeader,
    option_reply::greeting,
};
use crate::export::Registry;

/// Most options of one handshake.
pub const MAX_OPTIONS: u32 = 1024;

/// What a connection is offered.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The exports there are.
    pub exports: &'a Registry,
    /// Whether TLS may or must be used.
    pub tls: TlsPolicy,
    /// Set once the server is shutting down; options are then refused.
    pub stopping: &'a AtomicBool,
}

/// Greets a client and haggles with it.
pub async fn haggle<S>(stream: &mut S, terms: Terms<'_>) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut out = BytesMut::new();
    greeting(&mut out);
    let mut input = Input::default();
    let flags = async {
        send(stream, &mut out).await?;
        input.client_flags(stream).await
    };
    match flags.await {
        Ok(flags) if flags & !(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES) != 0 => {
            Outcome::Ended(Ended::Violation(format!("client flags {flags:#010x} hold unknown ones").into()))
        }
        Ok(flags) => options(stream, terms, Session::new(flags), input).await,
        Err(ended) => Outcome::Ended(ended),
    }
}

/// Goes on after [`Outcome::StartTls`], over the now encrypted stream. Nothing negotiated before is kept.
pub async fn resume<S>(stream: &mut S, terms: Terms<'_>, resume: Resume) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    options(stream, terms, Session::secured(resume), Input::default()).await
}

async fn options<S>(stream: &mut S, terms: Terms<'_>, mut session: Session, mut input: Input) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut out = BytesMut::new();
    for _ in 0..MAX_OPTIONS {
        let step = match input.option(stream).await {
            Ok((header, data)) => decide(&mut session, terms, header, &data, &mut out).await,
            Err(ended) => return Outcome::Ended(ended),
        };
        let sent = send(stream, &mut out).await;
        match (step, sent) {
            (Step::Next, Ok(())) => input.consume(),
            (Step::Transmission(haggled), Ok(())) => {
                return Outcome::Transmission(haggled.with_leftover(input.into_leftover()));
            }
            (Step::StartTls, Ok(())) => return session.start_tls(&input),
            (Step::End(ended), _) | (_, Err(ended)) => return Outcome::Ended(ended),
        }
    }
    Outcome::Ended(Ended::Violation(format!("more than {MAX_OPTIONS} options in one handshake").into()))
}

/// The rules that stand above every option; then the option's own.
async fn decide(
    session: &mut Session,
    terms: Terms<'_>,
    header: OptionHeader,
    data: &Data<'_>,
    out: &mut BytesMut,
) -> Step {
    if header.option == NBD_OPT_ABORT {
        return abort::answer(session, out);
    }
    if !session.is_fixed() && header.option != NBD_OPT_EXPORT_NAME {
        let text = format!("option {} without fixed newstyle", header.option);
        return Step::End(Ended::Violation(text.into()));
    }
    if terms.stopping.load(Ordering::Relaxed) {
        return session::refuse_for_shutdown(header, out);
    }
    if let Some(step) = starttls::require(session, terms.tls, header, out) {
        return step;
    }
    session.open_snapshot(terms.exports, header.option, data).await;
    session.answer(terms, header, data, out)
}

/// Writes what there is in one go, and leaves `out` empty.
async fn send<S: AsyncWrite + Unpin>(stream: &mut S, out: &mut BytesMut) -> Result<(), Ended> {
    let write = async {
        stream.write_all(out).await?;
        stream.flush().await
    };
    write.await.map_err(Ended::Io)?;
    out.clear();
    Ok(())
}
