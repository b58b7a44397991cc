//! Counts requests in flight, so that closing can wait for them and refuse later ones.
//!
//! Counted in [`STRIPES`] places, of which each thread uses one, so that I/O threads do not fight for one cache line
//! with every request. A request leaves by the stripe it came in by, whatever thread ends it, so each stripe counts for
//! itself: once it is closed nobody comes in there, and it is empty when its own count is zero.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

use parking_lot::{Condvar, Mutex};

/// Places to count in; a power of two. More threads than that share some.
const STRIPES: usize = 8;
const CLOSED: u64 = 1 << 63;

thread_local! {
    static HERE: Stripe = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Stripe(NEXT.fetch_add(1, Relaxed) % STRIPES)
    };
}

/// Open until it is closed, for ever after closed.
#[derive(Debug, Default)]
pub struct Gate {
    stripes: [Count; STRIPES],
    lock: Mutex<()>,
    empty: Condvar,
}

/// Requests inside, and `CLOSED`. Alone on its cache line, and on the one that processors fetch with it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Count(AtomicU64);

/// Where a request came in, and has to leave.
#[derive(Clone, Copy, Debug)]
pub struct Stripe(usize);

impl Gate {
    /// One more inside; `None` if the gate is closed. Each success needs one `leave`.
    pub fn enter(&self) -> Option<Stripe> {
        let stripe = HERE.with(|here| *here);
        if self.stripes[stripe.0].0.fetch_add(1, SeqCst) & CLOSED == 0 {
            return Some(stripe);
        }
        self.leave(stripe);
        None
    }

    /// One less inside.
    pub fn leave(&self, stripe: Stripe) {
        if self.stripes[stripe.0].0.fetch_sub(1, SeqCst) == CLOSED + 1 {
            // Taken so that the notification cannot fall between the waiter's look and its sleep.
            drop(self.lock.lock());
            self.empty.notify_all();
        }
    }

    /// Refuses all who come later and waits until nobody is inside.
    pub fn close(&self) {
        for stripe in &self.stripes {
            stripe.0.fetch_or(CLOSED, SeqCst);
        }
        let mut guard = self.lock.lock();
        while self.stripes.iter().any(|stripe| stripe.0.load(SeqCst) != CLOSED) {
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
        let inside = gate.enter().unwrap();
        let (sender, receiver) = mpsc::channel();
        let closer = std::thread::spawn({
            let gate = gate.clone();
            move || {
                gate.close();
                sender.send(()).unwrap();
            }
        });
        while let Some(stripe) = gate.enter() {
            gate.leave(stripe); // until the closer has come
        }
        assert!(receiver.try_recv().is_err(), "one is still inside");
        gate.leave(inside);
        closer.join().unwrap();
        assert!(receiver.recv().is_ok() && gate.enter().is_none());
    }

    #[test]
    fn closing_waits_for_requests_of_many_threads_that_other_threads_end() {
        let gate = Arc::new(Gate::default());
        let enter = |_| {
            let gate = gate.clone();
            std::thread::spawn(move || gate.enter().unwrap()).join().unwrap()
        };
        let inside: Vec<_> = (0..3 * STRIPES).map(enter).collect();
        let used: std::collections::HashSet<_> = inside.iter().map(|stripe| stripe.0).collect();
        assert!(used.len() > 1, "threads count in different places");
        let (sender, receiver) = mpsc::channel();
        let closer = std::thread::spawn({
            let gate = gate.clone();
            move || {
                gate.close();
                sender.send(()).unwrap();
            }
        });
        for stripe in inside {
            assert!(receiver.try_recv().is_err(), "requests are still inside");
            gate.leave(stripe);
        }
        closer.join().unwrap();
        assert!(receiver.recv().is_ok() && gate.enter().is_none());
    }
}
