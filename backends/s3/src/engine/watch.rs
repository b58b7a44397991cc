//! The watch over an advisory store (OBJECT-LOG §6.7): fences may be overwritten there, so while anything is dirty
//! the manifest is read again every second. An idle disk asks nothing.

use super::{Effect, Engine, Millis, Timer};

/// How often the manifest is read again.
const EVERY: Millis = 1000;

/// Where the watch stands.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// When the manifest may be read next. Not sooner, or every short write of a clean disk would read it.
    next: Millis,
    running: bool,
    armed: bool,
}

impl Engine {
    /// Reads the manifest if it is time, and sees to it that it will be.
    pub(super) fn keep_watch(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if !self.shape.advisory || self.watch.running || self.log.oldest().is_none() {
            return;
        }
        if now >= self.watch.next {
            self.watch.running = true;
            self.watch.next = now + EVERY;
            effects.push(Effect::Watch(self.shape.writer));
        } else if !self.watch.armed {
            self.watch.armed = true;
            effects.push(Effect::Timer(Timer::Watch, self.watch.next - now));
        }
    }

    /// The time has come to look again, if there is still a reason.
    pub(super) fn watch_due(&mut self) {
        self.watch.armed = false;
    }

    /// The manifest was read and is still ours, or could not be read.
    pub(super) fn watched(&mut self) {
        self.watch.running = false;
    }
}
