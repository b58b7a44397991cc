//! Where a connection's answers arrive, from whatever thread they come.

use std::task::Waker;

use nbdgate_api::{Error, Piece, Sink};
use parking_lot::Mutex;

/// Something happened to request `tag`.
#[derive(Debug)]
pub struct Event {
    /// As given to the `Reply`.
    pub tag: u64,
    /// A part of its answer, or its end.
    pub what: What,
}

/// See [`Event`].
#[derive(Debug)]
pub enum What {
    /// A part of the answer.
    Piece(Piece),
    /// The end.
    End(Result<(), Error>),
}

/// An unbounded list whose length is bounded by the requests in flight, with one reader.
#[derive(Debug, Default)]
pub struct Queue {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    events: Vec<Event>,
    /// Present only while the reader sleeps, so inline completions wake nobody.
    waker: Option<Waker>,
    /// Asked for, and not yet taken notice of.
    stop: bool,
}

impl Queue {
    /// Swaps all events into `events`, which must be empty. The reader is awake now, whatever woke it.
    pub fn drain(&self, events: &mut Vec<Event>) {
        debug_assert!(events.is_empty(), "the reader handles all events before it drains again");
        let stale = {
            let mut inner = self.inner.lock();
            std::mem::swap(&mut inner.events, events);
            inner.waker.take()
        };
        drop(stale);
    }

    /// Registers the reader to be woken by the next event or stop; `false` if there is one already.
    pub fn sleep(&self, waker: &Waker) -> bool {
        let mut inner = self.inner.lock();
        if !inner.events.is_empty() || inner.stop {
            return false;
        }
        inner.waker = Some(waker.clone());
        true
    }

    /// Asks the reader to take no more requests, finish and end.
    pub fn stop(&self) {
        let waker = {
            let mut inner = self.inner.lock();
            inner.stop = true;
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether [`Queue::stop`] was called since the last call.
    pub fn take_stop(&self) -> bool {
        std::mem::take(&mut self.inner.lock().stop)
    }

    fn push(&self, tag: u64, what: What) {
        let waker = {
            let mut inner = self.inner.lock();
            inner.events.push(Event { tag, what });
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Sink for Queue {
    fn piece(&self, tag: u64, piece: Piece) {
        self.push(tag, What::Piece(piece));
    }

    fn end(&self, tag: u64, outcome: Result<(), Error>) {
        self.push(tag, What::End(outcome));
    }
}
