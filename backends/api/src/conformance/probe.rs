//! The sink of one request, which sees what a request must not do, and the bounded wait for its end.

use std::{sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};

use crate::{
    Error, Piece, Sink,
    conformance::{Duty, Failure},
};

/// Collects an answer and counts its ends.
#[derive(Default)]
pub(super) struct Probe {
    state: Mutex<State>,
    changed: Condvar,
    then: Mutex<Option<Then>>,
}

/// What to do inside the end of a request.
pub(super) type Then = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    pieces: Vec<Piece>,
    outcome: Option<Result<(), Error>>,
    ends: u32,
    late_pieces: u32,
}

impl Probe {
    pub(super) fn new(then: Option<Then>) -> Arc<Self> {
        Arc::new(Self { then: Mutex::new(then), ..Self::default() })
    }

    /// Waits for the end and takes the answer; once.
    pub(super) fn wait(&self, what: &str, patience: Duration) -> Result<(Vec<Piece>, Result<(), Error>), Failure> {
        let mut state = self.state.lock();
        self.changed.wait_while_for(&mut state, |state| state.ends == 0, patience);
        if state.ends == 0 {
            return Err(Failure::new(Duty::B2, format!("{what} did not end within {patience:?}")));
        }
        let outcome = state.outcome.take().expect("an answer is taken once");
        Ok((std::mem::take(&mut state.pieces), outcome))
    }

    pub(super) fn is_ended(&self) -> bool {
        self.state.lock().ends > 0
    }

    /// After the close of its backend: ended once, and nothing after the end.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let state = self.state.lock();
        match (state.ends, state.late_pieces) {
            (1, 0) => Ok(()),
            (0, _) => Err(Failure::new(Duty::B10, "close left a request without an end")),
            (1, late) => Err(Failure::new(Duty::B2, format!("{late} pieces came after the end"))),
            (ends, _) => Err(Failure::new(Duty::B2, format!("a request ended {ends} times"))),
        }
    }
}

impl Sink for Probe {
    fn piece(&self, _tag: u64, piece: Piece) {
        let mut state = self.state.lock();
        if state.ends > 0 {
            state.late_pieces += 1;
        } else {
            state.pieces.push(piece);
        }
    }

    fn end(&self, _tag: u64, outcome: Result<(), Error>) {
        let then = self.then.lock().take();
        let mut state = self.state.lock();
        state.ends += 1;
        if state.ends == 1 {
            state.outcome = Some(outcome);
        }
        drop(state);
        self.changed.notify_all();
        if let Some(then) = then {
            then();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ByteRange, Reply};

    #[test]
    fn a_second_end_and_a_late_piece_are_seen() {
        let hole = || Piece::Hole(ByteRange::between(0, 1));
        let (good, twice, late) = (Probe::new(None), Probe::new(None), Probe::new(None));
        for probe in [&good, &twice, &late] {
            probe.piece(0, hole());
            probe.end(0, Ok(()));
        }
        twice.end(0, Ok(()));
        late.piece(0, hole());
        good.verdict().unwrap();
        assert_eq!(twice.verdict().unwrap_err().duty, Duty::B2);
        assert_eq!(late.verdict().unwrap_err().duty, Duty::B2);
        assert_eq!(Probe::new(None).verdict().unwrap_err().duty, Duty::B10);
    }

    #[test]
    fn waiting_is_bounded() {
        let probe = Probe::new(None);
        let reply = Reply::new(probe.clone(), 0);
        let failure = probe.wait("a request", Duration::from_millis(1)).unwrap_err();
        assert_eq!(failure.duty, Duty::B2);
        drop(reply);
        assert!(probe.wait("a request", Duration::from_secs(10)).unwrap().1.is_err());
    }
}
