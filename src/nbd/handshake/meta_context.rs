//! NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT.

use std::sync::Arc;

use super::{
    input::Data,
    session::{Refused, Session, Step, find, whole},
};
use crate::{
    export::{Export, Registry},
    nbd::proto::{
        MetaContext, MetaContexts, ReplyStyle,
        constants::{NBD_REP_ERR_INVALID, NBD_REP_ERR_TOO_BIG},
        option::MetaContextRequest,
        option_reply::OptionReply,
    },
};

/// Most queries of one option.
pub const MAX_QUERIES: u32 = 64;

/// Which of the two options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    List,
    Set,
}

/// A SET replaces the selection before it, also when it fails.
pub(super) fn answer(
    session: &mut Session,
    exports: &Registry,
    wish: Wish,
    data: &Data<'_>,
    reply: &mut OptionReply<'_>,
) -> Result<Step, Refused> {
    if wish == Wish::Set {
        session.selection = None;
    }
    if session.style == ReplyStyle::Simple {
        let text = "metadata contexts need structured replies or extended headers: negotiate them first";
        return Err(Refused::new(NBD_REP_ERR_INVALID, text));
    }
    let request = MetaContextRequest::parse(whole(data)?)?;
    if request.count > MAX_QUERIES {
        return Err(Refused::new(NBD_REP_ERR_TOO_BIG, format!("more than {MAX_QUERIES} queries")));
    }
    let export = find(exports, request.name)?;
    let found = matching(export, wish, &request);
    for context in found.iter() {
        // The id of a listed context is reserved.
        let id = if wish == Wish::Set { context.id() } else { 0 };
        reply.meta_context(id, context.name());
    }
    if wish == Wish::Set {
        session.selection = Some((export.clone(), found));
    }
    reply.ack();
    Ok(Step::Next)
}

fn matching(export: &Arc<Export>, wish: Wish, request: &MetaContextRequest<'_>) -> MetaContexts {
    let available = MetaContext::ALL.into_iter().filter(|context| is_available(export, *context));
    let everything = wish == Wish::List && request.count == 0;
    available.filter(|context| everything || request.queries().any(|query| matches(*context, wish, query))).collect()
}

fn is_available(export: &Export, context: MetaContext) -> bool {
    match context {
        MetaContext::Allocation => export.info().capabilities.extents,
    }
}

/// A full name finds its context; `namespace:` finds all of the namespace, in a LIST only. Anything else, known
/// namespace or not, finds nothing and is no error.
fn matches(context: MetaContext, wish: Wish, query: &str) -> bool {
    let wildcard = || query.ends_with(':') && context.name().starts_with(query);
    query == context.name() || wish == Wish::List && wildcard()
}
