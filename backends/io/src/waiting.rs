//! Whether a thread is in a call that a device may keep it in.
//!
//! Such calls are made where they hardly ever wait, but a file system that is frozen, or a device that does not answer,
//! ends only with its cause. Who sees a thread not turn can tell that from a bug. Costs two stores per call.

use std::{
    cell::OnceCell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

thread_local! {
    static WAITS: OnceCell<Arc<AtomicBool>> = const { OnceCell::new() };
}

/// Says of the calling thread, and to any other, whether it is in such a call.
pub fn of_this_thread() -> Arc<AtomicBool> {
    WAITS.with(|waits| waits.get_or_init(Arc::default).clone())
}

/// Makes a call that a device may hold up.
pub(crate) fn for_device<T>(call: impl FnOnce() -> T) -> T {
    WAITS.with(|waits| {
        // Nobody asked.
        let Some(waits) = waits.get() else { return call() };
        waits.store(true, Relaxed);
        let outcome = call();
        waits.store(false, Relaxed);
        outcome
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_waits_while_it_is_in_the_call_and_only_then() {
        let mine = of_this_thread();
        assert!(!mine.load(Relaxed));
        assert!(for_device(|| mine.load(Relaxed)), "it is told while the call lasts");
        assert!(!mine.load(Relaxed));
        let other = std::thread::spawn(of_this_thread).join().expect("no panic");
        for_device(|| assert!(!other.load(Relaxed), "each thread speaks for itself"));
    }
}
