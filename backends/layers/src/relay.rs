//! A reply that passes pieces on and shows its outcome on the way.

use std::sync::Arc;

use nbdgate_api::{Error, Piece, Reply, Sink, Stored};
use parking_lot::{Mutex, RwLock};

type Outcome = Result<(), Error>;
type AtEnd = Box<dyn FnOnce(Outcome) -> Outcome + Send>;

/// A reply whose pieces go to `reply`, and whose outcome goes there after `at_end` has seen it and perhaps changed it.
pub(crate) fn relay(reply: Reply, at_end: impl FnOnce(Outcome) -> Outcome + Send + 'static) -> Reply {
    let relay = Relay { reply: RwLock::new(Some(reply)), at_end: Mutex::new(Some(Box::new(at_end))) };
    Reply::new(Arc::new(relay), 0)
}

/// The lock belongs to the one request. It is held across pieces, which may come from several threads, and not across
/// the end, inside which anything may be submitted.
struct Relay {
    reply: RwLock<Option<Reply>>,
    at_end: Mutex<Option<AtEnd>>,
}

impl Relay {
    fn pass(&self, give: impl FnOnce(&Reply)) {
        if let Some(reply) = self.reply.read().as_ref() {
            give(reply);
        }
    }
}

impl Sink for Relay {
    fn piece(&self, _tag: u64, piece: Piece) {
        self.pass(|reply| reply.piece(piece));
    }

    fn fill(&self, _tag: u64, offset: u64, length: usize, write: &mut dyn FnMut(&mut [u8]) -> bool) -> bool {
        let mut written = false;
        self.pass(|reply| written = reply.fill(offset, length, write));
        written
    }

    fn stored(&self, _tag: u64, stored: Stored) -> Result<(), Stored> {
        match self.reply.read().as_ref() {
            Some(reply) => reply.stored(stored),
            None => Ok(()),
        }
    }

    fn end(&self, _tag: u64, outcome: Outcome) {
        let (reply, at_end) = (self.reply.write().take(), self.at_end.lock().take());
        if let (Some(reply), Some(at_end)) = (reply, at_end) {
            reply.end(at_end(outcome));
        }
    }
}
