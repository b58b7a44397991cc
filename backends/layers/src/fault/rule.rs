//! When a fault happens, and what it is.

use nbdgate_api::{Kind, Op};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Fails at once and does nothing.
    Fail(Kind),
    /// Is served, and reported as failed.
    FailAfter(Kind),
    /// A mutation is served in its first half and reported as failed (B6); others are served whole.
    FailPart(Kind),
    /// A read ends well, with its whole range as one failed piece; others fail at once.
    FailPiece(Kind),
    /// Its reply is dropped, so that it ends with an I/O error (B2).
    Lose,
    /// Is held until the test releases it.
    Hold,
    /// Is held until so many later requests have come, from one to the given number, which the seed decides.
    HoldFor(u32),
}

/// Which requests an [`Action`] happens to: those for which the predicate holds, from the N-th on, so many times.
pub struct Rule {
    action: Action,
    predicate: Box<dyn Fn(&Op) -> bool + Send + Sync>,
    skip: u64,
    left: u64,
}

impl Rule {
    /// `action` happens once, to the first request for which `predicate` holds.
    pub fn new(action: Action, predicate: impl Fn(&Op) -> bool + Send + Sync + 'static) -> Self {
        Self { action, predicate: Box::new(predicate), skip: 0, left: 1 }
    }

    /// To the `number`-th such request instead, counted from 1.
    #[must_use]
    pub fn nth(mut self, number: u64) -> Self {
        assert!(number > 0, "requests are counted from 1");
        self.skip = number - 1;
        self
    }

    /// To so many such requests in a row instead of one.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.left = times;
        self
    }

    /// To every such request from the first on.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    /// What happens to the request, which is counted.
    pub(super) fn applies(&mut self, op: &Op) -> Option<Action> {
        if self.left == 0 || !(self.predicate)(op) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        if self.left != u64::MAX {
            self.left -= 1;
        }
        Some(self.action)
    }
}
