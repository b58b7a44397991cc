//! EXPERIMENT
use std::{cell::{Cell, RefCell}, task::{Poll, Waker}, time::{Duration, Instant}};
thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static WAKER: RefCell<Option<Waker>> = const { RefCell::new(None) };
}
/// x
pub fn touch() {
    COUNT.set(COUNT.get() + 1);
    if let Some(w) = WAKER.with_borrow_mut(Option::take) { w.wake(); }
}
/// x
pub fn start() {
    let us: u64 = std::env::var("SPIN").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    if us == 0 { return; }
    let budget = Duration::from_micros(us);
    tokio::task::spawn_local(async move {
        let mut skip = 0u32;
        let mut penalty = 0u32;
        loop {
            std::future::poll_fn(|cx| {
                let seen = COUNT.replace(0);
                if seen > u64::from(skip) { return Poll::Ready(()); }
                skip -= seen as u32;
                WAKER.with_borrow_mut(|w| *w = Some(cx.waker().clone()));
                Poll::Pending
            }).await;
            skip = 0;
            let mut since = Instant::now();
            let mut hits = 0;
            loop {
                tokio::task::yield_now().await; if *YIELD { std::thread::yield_now(); }
                let now = Instant::now();
                if COUNT.replace(0) > 0 { since = now; hits += 1; continue; }
                if now - since > budget { break; }
            }
            if hits > 0 { penalty = 0 } else { penalty = (penalty * 2 + 1).min(63); skip = penalty; }
        }
    });
}
static YIELD: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| std::env::var("YIELD").is_ok());
