//! Looking for more work for a while before an I/O thread sleeps.
//!
//! A client that waits for each answer sends its next request some microseconds after it got the last. Putting the
//! thread to sleep and waking it again in between costs both sides more than the request: on a virtual machine, where
//! a sleeping processor is left and entered through the hypervisor, many times more. So a thread that had work polls its
//! descriptors, without waiting, for up to a limit after it.
//!
//! Only where it pays: a time of polling that found nothing doubles the number of pieces of work that are let pass before
//! it is tried again, up to [`MOST_SKIPPED`], and one that found something starts over. An idle thread sleeps. Between
//! looks the processor is offered to others; if somebody takes it, there are no processors to spare, and it was in vain.
//!
//! Not while ring operations are under way: they reach the kernel when the thread is about to wait.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use crate::ring;

/// Pieces of work let pass at most after times of polling that found nothing.
const MOST_SKIPPED: u32 = 63;

/// Somebody else ran if offering the processor took longer.
const TAKEN: Duration = Duration::from_micros(5);

thread_local! {
    /// Pieces of work since the poller last looked.
    static WORK: Cell<u32> = const { Cell::new(0) };
    /// The poller, while it sleeps.
    static SLEEPER: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// Polls on this thread after work, for up to `limit`. Runs until it is dropped; one on each thread, on its `LocalSet`.
pub async fn run(limit: Duration) {
    let mut pace = Pace::default();
    loop {
        std::future::poll_fn(|cx| wait_for_work(&mut pace, cx)).await;
        let mut found = false;
        let mut alone = true;
        let mut since = Instant::now();
        while alone && ring::is_idle() {
            let offered = Instant::now();
            thread::yield_now();
            alone = offered.elapsed() < TAKEN;
            // Looks at all descriptors of the thread and runs what is ready.
            tokio::task::yield_now().await;
            let now = Instant::now();
            if WORK.replace(0) > 0 {
                (found, since) = (true, now);
            } else if now - since > limit {
                break;
            }
        }
        pace.polled(found && alone);
    }
}

fn wait_for_work(pace: &mut Pace, cx: &mut Context<'_>) -> Poll<()> {
    if pace.pass(WORK.replace(0)) {
        return Poll::Ready(());
    }
    SLEEPER.with_borrow_mut(|sleeper| *sleeper = Some(cx.waker().clone()));
    Poll::Pending
}

/// A future each of whose polls is work of its thread.
#[derive(Debug)]
pub struct Working<F>(pub F);

impl<F: Future + Unpin> Future for Working<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        WORK.set(WORK.get().saturating_add(1));
        if let Some(sleeper) = SLEEPER.with_borrow_mut(Option::take) {
            sleeper.wake();
        }
        Pin::new(&mut self.0).poll(cx)
    }
}

/// When to poll: where it has paid lately.
#[derive(Debug, Default)]
pub struct Pace {
    /// Work to let pass.
    skip: u32,
    /// Work that was let pass the last time.
    skipped: u32,
}

impl Pace {
    /// Whether polling is worth a try after so much more work.
    pub fn pass(&mut self, work: u32) -> bool {
        let goes = work > self.skip;
        self.skip = self.skip.saturating_sub(work);
        goes
    }

    /// A time of polling has ended, and has found work or not.
    pub fn polled(&mut self, found: bool) {
        self.skipped = if found { 0 } else { (self.skipped * 2 + 1).min(MOST_SKIPPED) };
        self.skip = self.skipped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_in_vain_becomes_rare_and_success_brings_it_back() {
        let mut pace = Pace::default();
        let mut tried = Vec::new();
        for work in 0..300 {
            if pace.pass(1) {
                tried.push(work);
                pace.polled(false);
            }
        }
        assert_eq!(tried, [0, 2, 6, 14, 30, 62, 126, 190, 254]);
        pace.polled(true);
        assert!(pace.pass(1) && pace.pass(1), "every piece of work is worth a try");
        assert!(!pace.pass(0), "without work there is no polling");
    }
}
