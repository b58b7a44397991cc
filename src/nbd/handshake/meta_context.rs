//! NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT.

use std::sync::Arc;

use super::{
    input::Data,
    session::{Refused, Session, Step, find, whole},
};
use crate::{
    export::Registry,
    nbd::proto::{
        ALLOCATION, DIRTY_BITMAP, MAX_BITMAPS, MetaContext, MetaContexts, ReplyStyle,
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
    let export = find(session, exports, request.name)?;
    let mut found = Found::default();
    let everything = wish == Wish::List && request.count == 0;
    let asked = |name: &str| everything || request.queries().any(|query| matches(name, wish, query));
    if asked(ALLOCATION) {
        found.contexts.insert(MetaContext::Allocation);
        tell(reply, wish, MetaContext::Allocation.id(), ALLOCATION);
    }
    for bitmap in export.backend().bitmaps() {
        let name = format!("{DIRTY_BITMAP}{bitmap}");
        if !asked(&name) {
            continue;
        }
        let number = u8::try_from(found.bitmaps.len()).ok().filter(|number| *number < MAX_BITMAPS);
        match (wish, number) {
            (Wish::List, _) => tell(reply, wish, 0, &name),
            (Wish::Set, Some(number)) => {
                let context = MetaContext::Bitmap(number);
                found.contexts.insert(context);
                found.bitmaps.push(bitmap);
                tell(reply, wish, context.id(), &name);
            }
            // What is not told was not selected.
            (Wish::Set, None) => {}
        }
    }
    if wish == Wish::Set {
        session.selection = Some((export, found));
    }
    reply.ack();
    Ok(Step::Next)
}

/// The contexts that were selected: every export has `base:allocation` (where a backend knows no extents, the scheduler
/// tells it as data), and the dirty bitmaps that its backend has now.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) contexts: MetaContexts,
    /// The names of those that are bitmaps, by their numbers.
    pub(super) bitmaps: Vec<Arc<str>>,
}

fn tell(reply: &mut OptionReply<'_>, wish: Wish, id: u32, name: &str) {
    // The id of a listed context is reserved.
    reply.meta_context(if wish == Wish::Set { id } else { 0 }, name);
}

/// A full name finds its context; `namespace:` and `qemu:dirty-bitmap:` find all that begin with it, in a LIST only.
/// Anything else, known namespace or not, finds nothing and is no error.
fn matches(name: &str, wish: Wish, query: &str) -> bool {
    let wildcard = || query.ends_with(':') && name.starts_with(query);
    query == name || wish == Wish::List && wildcard()
}
