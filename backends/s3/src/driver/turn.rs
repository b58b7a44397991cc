//! Effects are executed one after the other, also those of requests that come from within an effect.
//!
//! The end of a request may submit the next one, whose end may submit the next: executed where they arise, a long
//! chain would use up the stack. So a thread that is executing effects already only queues what is new.

use std::{cell::RefCell, collections::VecDeque, sync::Arc};

use super::Driver;
use crate::engine::Effect;

#[derive(Default)]
struct Turn {
    /// The thread is executing.
    busy: bool,
    queue: VecDeque<(Arc<Driver>, Effect)>,
}

thread_local! {
    /// What this thread is executing, if it is. The queue keeps its memory for the next turn.
    static TURN: RefCell<Turn> = RefCell::default();
}

/// Executes `effects` on this thread, in order: before it returns, unless it was called from within an effect.
pub(super) fn execute(driver: &Arc<Driver>, effects: impl IntoIterator<Item = Effect>) {
    let nested = TURN.with_borrow_mut(|turn| {
        turn.queue.extend(effects.into_iter().map(|effect| (Arc::clone(driver), effect)));
        std::mem::replace(&mut turn.busy, true)
    });
    if nested {
        return;
    }
    let _over = Over;
    while let Some((driver, effect)) = TURN.with_borrow_mut(|turn| turn.queue.pop_front()) {
        driver.execute(effect);
    }
}

/// Ends the turn, also when a sink panics; what is left is dropped, and its replies end with an error (B2).
struct Over;

impl Drop for Over {
    fn drop(&mut self) {
        // Taken first: what is dropped may ask again.
        let left = TURN.with_borrow_mut(|turn| {
            turn.busy = false;
            if turn.queue.is_empty() { VecDeque::new() } else { std::mem::take(&mut turn.queue) }
        });
        drop(left);
    }
}
