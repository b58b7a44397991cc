//! What the observer is told of where a disk stands: its own progress, and the stores that do not answer.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::observer::{Observer, Phase};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Phases {
    observer: Arc<dyn Observer>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phase: Option<Phase>,
    /// Buckets of the disk that are down. Below zero for a moment when the end of a stall overtakes its beginning.
    stalled: i32,
}

impl Phases {
    pub(crate) fn new(observer: Arc<dyn Observer>) -> Self {
        Self { observer, state: Mutex::default() }
    }

    /// The disk has come to `phase`. What is final stays.
    pub(crate) fn set(&self, phase: Phase) {
        let mut state = self.state.lock();
        if matches!(state.phase, Some(Phase::Fenced | Phase::Failed | Phase::Closed)) {
            return;
        }
        let before = state.shown();
        state.phase = Some(phase);
        self.tell(before, &state);
    }

    /// A bucket is down.
    pub(crate) fn stalled(&self) {
        let mut state = self.state.lock();
        let before = state.shown();
        state.stalled += 1;
        self.tell(before, &state);
    }

    /// A bucket that was down answers.
    pub(crate) fn recovered(&self) {
        let mut state = self.state.lock();
        let before = state.shown();
        state.stalled -= 1;
        self.tell(before, &state);
    }

    /// Under the lock, so that the last phase told is the one that holds.
    fn tell(&self, before: Option<Phase>, state: &State) {
        let now = state.shown();
        if let Some(phase) = now.filter(|_| now != before) {
            self.observer.phase(phase);
        }
    }
}

impl State {
    /// A stall is shown in place of what goes on without the store, not of what is final.
    fn shown(&self) -> Option<Phase> {
        match self.phase {
            Some(Phase::Open) if self.stalled > 0 => Some(Phase::Stalled),
            phase => phase,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Notes(Mutex<Vec<Phase>>);

    impl Observer for Notes {
        fn phase(&self, phase: Phase) {
            self.0.lock().push(phase);
        }
    }

    #[test]
    fn stalls_are_told_once_and_nothing_follows_what_is_final() {
        let notes = Arc::new(Notes::default());
        let listening: Arc<dyn Observer> = Arc::<Notes>::clone(&notes);
        let phases = Phases::new(listening);
        phases.stalled();
        phases.set(Phase::Claiming);
        phases.recovered();
        // The end may be told first.
        phases.recovered();
        phases.stalled();
        phases.set(Phase::Open);
        phases.set(Phase::Open);
        phases.stalled();
        phases.stalled();
        phases.recovered();
        phases.recovered();
        phases.set(Phase::Fenced);
        phases.stalled();
        phases.set(Phase::Closed);
        assert_eq!(*notes.0.lock(), [Phase::Claiming, Phase::Open, Phase::Stalled, Phase::Open, Phase::Fenced]);
    }
}
