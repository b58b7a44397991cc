//! Waiting until what was answered so far is in the store, whatever a FLUSH of this disk waits for.

use nbdgate_api::Reply;

use super::{Effect, Engine};

impl Engine {
    /// Ends `reply` when every mutation appended so far is committed. A FLUSH may be answered by the journal; a snapshot
    /// is an object of the store, and so is what it shows.
    pub(super) fn cut(&mut self, reply: Reply, effects: &mut Vec<Effect>) {
        match self.failure() {
            Some(error) => effects.push(Effect::End(reply, Err(error))),
            None if self.log.durable >= self.log.last => effects.push(Effect::End(reply, Ok(()))),
            None => self.log.waiters.push(self.log.last, reply),
        }
    }
}
