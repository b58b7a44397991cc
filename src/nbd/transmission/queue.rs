//! Where a connection's answers arrive, from whatever thread they come.
//!
//! Small reads are written by the backend straight to where they are sent from: the queue lends memory with room for
//! the reply's header before the data, so that nothing is copied again and nothing is allocated.

use std::task::Waker;

use nbdgate_api::{Error, Piece, Sink, Stored, fill_fresh};
use parking_lot::{Mutex, MutexGuard};

use super::arena::Arena;

/// Longer data than this many bytes is not worth a copy: it is shared with the backend where that is possible.
const LENT_BYTES: usize = 32 << 10;

/// Something happened to request `tag`.
#[derive(Debug)]
pub(super) struct Event {
    /// As given to the `Reply`.
    pub(super) tag: u64,
    /// A part of its answer, or its end.
    pub(super) what: What,
}

/// See [`Event`].
#[derive(Debug)]
pub(super) enum What {
    /// A part of the answer.
    Piece(Piece),
    /// Data in the arena that comes with this event.
    Lent(Lent),
    /// Data in a file.
    Stored(Stored),
    /// The end.
    End(Result<(), Error>),
}

/// Data of a read in an arena, with headroom before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lent {
    /// In the arena.
    pub(super) at: usize,
    /// In the export.
    pub(super) offset: u64,
    pub(super) length: usize,
}

/// An unbounded list whose length is bounded by the requests in flight, with one reader.
#[derive(Debug)]
pub struct Queue {
    /// Bytes left free before lent data.
    headroom: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    events: Vec<Event>,
    /// What the `Lent` among the events are in.
    arena: Option<Arena>,
    /// Present only while the reader sleeps, so inline completions wake nobody.
    waker: Option<Waker>,
    /// Asked for, and not yet taken notice of.
    stop: bool,
}

impl Queue {
    /// An empty queue, for a connection whose data has headers of `headroom` bytes.
    pub(super) fn new(headroom: usize) -> Self {
        Self { headroom, inner: Mutex::default() }
    }

    /// Swaps all events into `events`, which must be empty, and hands out the arena that they speak of. The reader is
    /// awake now, whatever woke it.
    pub(super) fn drain(&self, events: &mut Vec<Event>) -> Option<Arena> {
        debug_assert!(events.is_empty(), "the reader handles all events before it drains again");
        let (stale, arena) = {
            let mut inner = self.inner.lock();
            std::mem::swap(&mut inner.events, events);
            (inner.waker.take(), inner.arena.take())
        };
        drop(stale);
        arena
    }

    /// Registers the reader to be woken by the next event or stop; `false` if there is one already.
    pub(super) fn sleep(&self, waker: &Waker) -> bool {
        let mut inner = self.inner.lock();
        if !inner.events.is_empty() || inner.stop {
            return false;
        }
        inner.waker = Some(waker.clone());
        true
    }

    /// Asks the reader to take no more requests, finish and end.
    pub fn stop(&self) {
        let mut inner = self.inner.lock();
        inner.stop = true;
        wake(inner);
    }

    /// Whether [`Queue::stop`] was called since the last call.
    pub(super) fn take_stop(&self) -> bool {
        std::mem::take(&mut self.inner.lock().stop)
    }

    fn push(&self, tag: u64, what: What) {
        let mut inner = self.inner.lock();
        inner.events.push(Event { tag, what });
        wake(inner);
    }
}

/// Wakes the reader if it sleeps, with the lock given back.
fn wake(mut inner: MutexGuard<'_, Inner>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Inner {
    /// Where `length` bytes can be written, with `headroom` free ones before them; `None` if they do not fit.
    fn lend(&mut self, headroom: usize, length: usize) -> Option<&mut [u8]> {
        let arena = self.arena.get_or_insert_with(Arena::new);
        let whole = headroom + length;
        (length <= LENT_BYTES && whole <= arena.room()).then(|| &mut arena.reserve(whole)[headroom..])
    }

    /// Counts what was written to lent memory in; where it stands.
    fn keep(&mut self, headroom: usize, length: usize) -> usize {
        let arena = self.arena.as_mut().expect("it has lent memory under this lock");
        let at = arena.filled() + headroom;
        arena.advance(headroom + length);
        at
    }
}

impl Sink for Queue {
    fn piece(&self, tag: u64, piece: Piece) {
        self.push(tag, What::Piece(piece));
    }

    fn fill(&self, tag: u64, offset: u64, length: usize, write: &mut dyn FnMut(&mut [u8]) -> bool) -> bool {
        let mut inner = self.inner.lock();
        let Some(memory) = inner.lend(self.headroom, length) else {
            drop(inner);
            return fill_fresh(self, tag, offset, length, write);
        };
        if !write(memory) {
            return false;
        }
        let at = inner.keep(self.headroom, length);
        inner.events.push(Event { tag, what: What::Lent(Lent { at, offset, length }) });
        wake(inner);
        true
    }

    fn stored(&self, tag: u64, stored: Stored) -> Result<(), Stored> {
        self.push(tag, What::Stored(stored));
        Ok(())
    }

    fn end(&self, tag: u64, outcome: Result<(), Error>) {
        self.push(tag, What::End(outcome));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_between_the_check_and_the_sleep_is_not_missed() {
        let queue = Queue::new(0);
        assert!(queue.sleep(Waker::noop()));
        queue.stop();
        assert!(!queue.sleep(Waker::noop()), "there is something to do");
    }
}
