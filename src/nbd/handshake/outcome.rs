//! How a handshake ends.

use std::{borrow::Cow, fmt, io, sync::Arc};

use bytes::BytesMut;

use crate::{
    export::Export,
    nbd::proto::{MetaContexts, ReplyStyle, Shape},
};

/// How a handshake ended.
#[derive(Debug)]
pub enum Outcome {
    /// The transmission phase begins.
    Transmission(Haggled),
    /// STARTTLS was acknowledged: do the TLS handshake, then call [`resume`](super::resume).
    StartTls(Resume),
    /// The connection must be closed.
    Ended(Ended),
}

/// What was agreed on.
#[derive(Debug)]
pub struct Haggled {
    /// The export the client chose.
    pub export: Arc<Export>,
    /// The form of headers and replies.
    pub style: ReplyStyle,
    /// The metadata contexts selected for this export.
    pub contexts: MetaContexts,
    /// The names of those that are dirty bitmaps, by their numbers.
    pub bitmaps: Vec<Arc<str>>,
    /// The transmission flags the client was told.
    pub flags: u16,
    /// The client asked for block sizes and so must obey them.
    pub block_sizes_negotiated: bool,
    /// Bytes received behind the last option: the beginning of the first request.
    pub leftover: BytesMut,
}

impl Haggled {
    /// What the requests of this connection are measured against.
    pub fn shape(&self) -> Shape {
        let info = self.export.info();
        Shape {
            size: info.size,
            minimum_block: info.block.minimum,
            maximum_payload: info.block.maximum_payload,
            flags: self.flags,
            style: self.style,
            contexts: self.contexts,
        }
    }

    pub(super) fn with_leftover(self, leftover: BytesMut) -> Self {
        Self { leftover, ..self }
    }
}

/// What survives the upgrade to TLS: the client flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    pub(super) client_flags: u32,
}

/// Why a connection ends without a transmission phase.
#[derive(Debug)]
pub enum Ended {
    /// The client sent ABORT.
    Aborted,
    /// The client closed the stream between options.
    Closed,
    /// The stream ended in the middle of something.
    Truncated(String),
    /// The client broke a rule after which it cannot be answered.
    Violation(Cow<'static, str>),
    /// EXPORT_NAME cannot be served, and has no way to say so.
    Refused(String),
    /// The stream failed.
    Io(io::Error),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted => f.write_str("client aborted the handshake"),
            Self::Closed => f.write_str("client closed the connection"),
            Self::Truncated(text) | Self::Refused(text) => f.write_str(text),
            Self::Violation(text) => f.write_str(text),
            Self::Io(error) => write!(f, "connection failed: {error}"),
        }
    }
}
