//! What a client has negotiated so far, and which file answers which option.

use std::sync::Arc;

use bytes::BytesMut;

use super::{
    Terms, export_name, extended_headers,
    info::{self, Ask},
    input::{Data, Input},
    list,
    meta_context::{self, Found, Wish},
    outcome::{Ended, Haggled, Outcome, Resume},
    starttls, structured_reply,
};
use crate::{
    export::{Export, Opened, Registry},
    nbd::proto::{
        ReplyStyle,
        constants::{
            NBD_FLAG_C_FIXED_NEWSTYLE, NBD_FLAG_C_NO_ZEROES, NBD_OPT_EXPORT_NAME, NBD_OPT_EXTENDED_HEADERS, NBD_OPT_GO,
            NBD_OPT_INFO, NBD_OPT_LIST, NBD_OPT_LIST_META_CONTEXT, NBD_OPT_SET_META_CONTEXT, NBD_OPT_STARTTLS,
            NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_INVALID, NBD_REP_ERR_SHUTDOWN, NBD_REP_ERR_TOO_BIG,
            NBD_REP_ERR_UNKNOWN, NBD_REP_ERR_UNSUP,
        },
        option::{InfoRequest, Malformed, MetaContextRequest, OptionHeader},
        option_reply::OptionReply,
        text,
    },
};

/// What to do after the replies to an option are sent.
#[derive(Debug)]
pub(super) enum Step {
    /// Wait for the next option.
    Next,
    /// Enter the transmission phase.
    Transmission(Haggled),
    /// Start TLS.
    StartTls,
    /// Close the connection.
    End(Ended),
}

/// An option refused with an error reply; the connection stays usable.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) reply: u32,
    pub(super) text: String,
}

impl Refused {
    pub(super) fn new(reply: u32, text: impl Into<String>) -> Self {
        Self { reply, text: text.into() }
    }
}

impl From<Malformed> for Refused {
    fn from(Malformed(text): Malformed) -> Self {
        Self::new(NBD_REP_ERR_INVALID, text)
    }
}

/// The negotiated state of one connection.
#[derive(Debug)]
pub(super) struct Session {
    client_flags: u32,
    pub(super) secured: bool,
    pub(super) style: ReplyStyle,
    /// The last selection of metadata contexts, and the export it was made for.
    pub(super) selection: Option<(Arc<Export>, Found)>,
    /// The snapshot that was asked for last, under that name.
    snapshot: Option<(String, Opened)>,
}

impl Session {
    pub(super) fn new(client_flags: u32) -> Self {
        Self { client_flags, secured: false, style: ReplyStyle::Simple, selection: None, snapshot: None }
    }

    pub(super) fn secured(resume: Resume) -> Self {
        Self { secured: true, ..Self::new(resume.client_flags) }
    }

    /// Ends the plain part of a connection. Bytes that came before TLS must not be taken for bytes inside it.
    pub(super) fn start_tls(&self, input: &Input) -> Outcome {
        if input.has_more() {
            return Outcome::Ended(Ended::Violation("plain bytes follow STARTTLS".into()));
        }
        Outcome::StartTls(Resume { client_flags: self.client_flags })
    }

    pub(super) fn is_fixed(&self) -> bool {
        self.client_flags & NBD_FLAG_C_FIXED_NEWSTYLE != 0
    }

    pub(super) fn wants_zeroes(&self) -> bool {
        self.client_flags & NBD_FLAG_C_NO_ZEROES == 0
    }

    /// The contexts selected, if that was for this very export.
    pub(super) fn contexts_for(&self, export: &Arc<Export>) -> Found {
        match &self.selection {
            Some((selected, found)) if Arc::ptr_eq(selected, export) => found.clone(),
            _ => Found::default(),
        }
    }

    /// Opens the snapshot that an option names, if it names one; the answer then finds it.
    pub(super) async fn open_snapshot(&mut self, exports: &Registry, option: u32, data: &Data<'_>) {
        let Data::Whole(data) = data else { return };
        let name = match option {
            NBD_OPT_INFO | NBD_OPT_GO => InfoRequest::parse(data).ok().map(|request| request.name),
            NBD_OPT_LIST_META_CONTEXT | NBD_OPT_SET_META_CONTEXT => {
                MetaContextRequest::parse(data).ok().map(|request| request.name)
            }
            NBD_OPT_EXPORT_NAME => text::received(data),
            _ => None,
        };
        let Some(name) = name else { return };
        if matches!(&self.snapshot, Some((last, Ok(_))) if last == name) {
            return;
        }
        if let Some(opened) = exports.snapshot(name).await {
            self.snapshot = Some((name.to_owned(), opened));
        }
    }

    /// The export of that name, or the text of why there is none.
    pub(super) fn find(&self, exports: &Registry, name: &str) -> Result<Arc<Export>, String> {
        match (exports.find(name), &self.snapshot) {
            (Some(export), _) => Ok(export.clone()),
            (None, Some((asked, opened))) if asked == name => opened.clone(),
            (None, _) => Err(unknown_export(name)),
        }
    }

    /// Answers an option that no rule above it has settled.
    pub(super) fn answer(
        &mut self,
        terms: Terms<'_>,
        header: OptionHeader,
        data: &Data<'_>,
        out: &mut BytesMut,
    ) -> Step {
        if header.option == NBD_OPT_EXPORT_NAME {
            return export_name::answer(self, terms.exports, data, out);
        }
        let start = out.len();
        let mut reply = OptionReply::new(out, header.option);
        let step = match header.option {
            NBD_OPT_LIST => without_data(data).map(|()| list::answer(terms.exports, &mut reply)),
            NBD_OPT_STARTTLS => without_data(data).and_then(|()| starttls::answer(self, terms.tls, &mut reply)),
            NBD_OPT_INFO => whole(data).and_then(|data| info::answer(self, terms.exports, Ask::Info, data, &mut reply)),
            NBD_OPT_GO => whole(data).and_then(|data| info::answer(self, terms.exports, Ask::Go, data, &mut reply)),
            NBD_OPT_STRUCTURED_REPLY => without_data(data).and_then(|()| structured_reply::answer(self, &mut reply)),
            NBD_OPT_EXTENDED_HEADERS => without_data(data).map(|()| extended_headers::answer(self, &mut reply)),
            NBD_OPT_LIST_META_CONTEXT => meta_context::answer(self, terms.exports, Wish::List, data, &mut reply),
            NBD_OPT_SET_META_CONTEXT => meta_context::answer(self, terms.exports, Wish::Set, data, &mut reply),
            unknown => Err(Refused::new(NBD_REP_ERR_UNSUP, format!("option {unknown} is unknown"))),
        };
        step.unwrap_or_else(|Refused { reply: error, text }| {
            out.truncate(start);
            OptionReply::new(out, header.option).error(error, &text);
            Step::Next
        })
    }
}

/// Refuses an option because the server is going away.
pub(super) fn refuse_for_shutdown(header: OptionHeader, out: &mut BytesMut) -> Step {
    if header.option == NBD_OPT_EXPORT_NAME {
        return Step::End(Ended::Refused("the server is shutting down".into()));
    }
    OptionReply::new(out, header.option).error(NBD_REP_ERR_SHUTDOWN, "the server is shutting down");
    Step::Next
}

/// The export of that name, for options that can refuse.
pub(super) fn find(session: &Session, exports: &Registry, name: &str) -> Result<Arc<Export>, Refused> {
    session.find(exports, name).map_err(|text| Refused::new(NBD_REP_ERR_UNKNOWN, text))
}

/// The text about an export that does not exist.
fn unknown_export(name: &str) -> String {
    if name.is_empty() { "there is no default export".into() } else { format!("there is no export {name:?}") }
}

/// The data of an option that needs them.
pub(super) fn whole<'a>(data: &Data<'a>) -> Result<&'a [u8], Refused> {
    match data {
        Data::Whole(bytes) => Ok(bytes),
        Data::Oversized => Err(Refused::new(NBD_REP_ERR_TOO_BIG, "the option's data are too long")),
    }
}

fn without_data(data: &Data<'_>) -> Result<(), Refused> {
    if data.is_empty() { Ok(()) } else { Err(Refused::new(NBD_REP_ERR_INVALID, "this option takes no data")) }
}
