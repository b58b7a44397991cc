//! Counts requests in flight, so that closing can wait for them and refuse later ones.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use parking_lot::{Condvar, Mutex};

const CLOSED: u64 = 1 << 63;

/// Open until it is closed, for ever after closed.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Requests inside, and `CLOSED`.
    state: AtomicU64,
    lock: Mutex<()>,
    empty: Condvar,
}

impl Gate {
    /// One more inside; false if the gate is closed. Each success needs one `leave`.
    pub(crate) fn enter(&self) -> bool {
        if self.state.fetch_add(1, SeqCst) & CLOSED == 0 {
            return true;
        }
        self.leave();
        false
    }

    /// One less inside.
    pub(crate) fn leave(&self) {
        if self.state.fetch_sub(1, SeqCst) == CLOSED + 1 {
            // Taken so that the notification cannot fall between the waiter's look and its sleep.
            drop(self.lock.lock());
            self.empty.notify_all();
        }
    }

    /// Refuses all who come later and waits until nobody is inside.
    pub(crate) fn close(&self) {
        self.state.fetch_or(CLOSED, SeqCst);
        let mut guard = self.lock.lock();
        while self.state.load(SeqCst) != CLOSED {
            self.empty.wait(&mut guard);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    #[test]
    fn closing_waits_for_those_inside_and_refuses_others() {
        let gate = Arc::new(Gate::default());
        assert!(gate.enter());
        let (sender, receiver) = mpsc::channel();
        let closer = std::thread::spawn({
            let gate = gate.clone();
            move || {
                gate.close();
                sender.send(()).unwrap();
            }
        });
        while gate.enter() {
            gate.leave(); // until the closer has come
        }
        assert!(receiver.try_recv().is_err(), "one is still inside");
        gate.leave();
        closer.join().unwrap();
        assert!(receiver.recv().is_ok() && !gate.enter());
    }
}
