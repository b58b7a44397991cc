//! Flushes share syncs: while one runs, all that arrive wait together for the next.
//!
//! Invariants: a sync covers only flushes that arrived before it started. A failed sync is final: the kernel tells
//! of lost pages once, so no later sync can be believed, and every later flush fails with the first error.
//!
//! Not in here: the sync itself.

use nbdgate_api::Error;
use parking_lot::Mutex;

/// The flushes of one image; `W` is who waits.
#[derive(Debug)]
pub struct SharedSync<W> {
    state: Mutex<State<W>>,
}

#[derive(Debug)]
struct State<W> {
    running: bool,
    /// Flushes for the next sync.
    next: Vec<W>,
    failed: Option<Error>,
}

/// What a flush has to do.
#[derive(Debug)]
pub enum Join<W> {
    /// Start a sync for these.
    Start(Vec<W>),
    /// Nothing: the end of the sync that runs starts the next.
    Wait,
    /// Fail.
    Failed(W, Error),
}

impl<W> Default for SharedSync<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W> SharedSync<W> {
    /// Nobody waits, and nothing has failed.
    pub fn new() -> Self {
        Self { state: Mutex::new(State { running: false, next: Vec::new(), failed: None }) }
    }

    /// A flush arrives.
    pub fn join(&self, waiter: W) -> Join<W> {
        let mut state = self.state.lock();
        if let Some(error) = &state.failed {
            return Join::Failed(waiter, error.duplicate());
        }
        if state.running {
            state.next.push(waiter);
            return Join::Wait;
        }
        state.running = true;
        Join::Start(vec![waiter])
    }

    /// Runs the sync of a batch, `act`, on the calling thread, unless an earlier one has failed.
    ///
    /// # Errors
    /// Its own, or the first failure.
    pub fn sync(&self, act: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        let outcome = self.check().and_then(|()| act());
        if let Err(error) = &outcome {
            self.latch(error);
        }
        outcome
    }

    /// After the sync of a batch: the next batch. The caller must run its sync too, unless nobody has come.
    pub fn next(&self) -> Vec<W> {
        let mut state = self.state.lock();
        let next = std::mem::take(&mut state.next);
        state.running = !next.is_empty();
        next
    }

    /// As if no sync had failed. For tests: whoever calls it elsewhere promises what is not so.
    #[doc(hidden)]
    pub fn forgive(&self) {
        self.state.lock().failed = None;
    }

    /// A sync has failed, or a durable write in a way that may have lost more than itself.
    pub fn latch(&self, error: &Error) {
        self.state.lock().failed.get_or_insert_with(|| error.duplicate());
    }

    /// Whether durability can still be promised.
    ///
    /// # Errors
    /// The first failure.
    pub fn check(&self) -> Result<(), Error> {
        self.state.lock().failed.as_ref().map_or(Ok(()), |error| Err(error.duplicate()))
    }
}

#[cfg(test)]
mod tests {
    use nbdgate_api::Kind;

    use super::*;

    fn lost() -> Result<(), Error> {
        Err(Error::new(Kind::Io, "cannot sync"))
    }

    #[test]
    fn a_flush_that_arrives_during_a_sync_waits_for_the_next() {
        let sync = SharedSync::new();
        assert!(matches!(sync.join(1), Join::Start(batch) if batch == [1]));
        let outcome = sync.sync(|| {
            assert!(matches!(sync.join(2), Join::Wait));
            Ok(())
        });
        assert!(outcome.is_ok());
        assert!(matches!(sync.join(3), Join::Wait), "1 is being answered");
        assert_eq!(sync.next(), [2, 3], "one sync for both");
        assert!(matches!(sync.join(4), Join::Wait), "the sync of 2 and 3 runs");
        assert!(sync.sync(|| Ok(())).is_ok());
        assert_eq!(sync.next(), [4]);
        assert!(sync.sync(|| Ok(())).is_ok());
        assert!(sync.next().is_empty());
        assert!(matches!(sync.join(5), Join::Start(batch) if batch == [5]));
    }

    #[test]
    fn a_failed_sync_is_final() {
        let sync = SharedSync::new();
        assert!(sync.check().is_ok());
        assert!(matches!(sync.join(1), Join::Start(_)));
        let outcome = sync.sync(|| {
            assert!(matches!(sync.join(2), Join::Wait));
            lost()
        });
        assert_eq!((outcome.unwrap_err().kind(), sync.next()), (Kind::Io, vec![2]));
        // The kernel reports a lost page once, so it would say that all is well.
        let outcome = sync.sync(|| panic!("the next sync is not even tried"));
        assert_eq!(outcome.unwrap_err().to_string(), "cannot sync");
        assert!(matches!(sync.join(3), Join::Failed(3, error) if error.kind() == Kind::Io));
    }

    #[test]
    fn a_latched_write_fails_later_flushes_and_the_first_error_stays() {
        let sync = SharedSync::<()>::new();
        sync.latch(&Error::new(Kind::Io, "first"));
        sync.latch(&Error::new(Kind::Io, "second"));
        assert_eq!(sync.check().unwrap_err().to_string(), "first");
        assert!(matches!(sync.join(()), Join::Failed(..)));
    }
}
