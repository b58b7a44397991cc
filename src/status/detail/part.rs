//! Something that takes a while to find out, and may take for ever: searched for once at a time, waited for so long and no
//! longer.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::watch, time};

/// How old something may be that is told because nothing newer came in time.
const MAX_STALE: Duration = Duration::from_mins(1);

/// See the [module](self).
pub(super) struct Part<T>(Arc<Inner<T>>);

struct Inner<T> {
    is_searched: AtomicBool,
    found: watch::Sender<Option<Found<T>>>,
}

struct Found<T> {
    at: Instant,
    /// `None` if it could not be found out.
    value: Option<Arc<T>>,
}

/// A search under way; it ends when this is dropped, be it by a panic.
struct Search<T>(Arc<Inner<T>>);

impl<T> Drop for Search<T> {
    fn drop(&mut self) {
        self.0.is_searched.store(false, Ordering::Release);
    }
}

impl<T: Send + Sync + 'static> Part<T> {
    /// Searches with `search`, unless a search is under way, and waits for what comes of it. After `patience`, what was found
    /// before, if that is not too old. Needs a tokio runtime.
    pub(super) async fn get<F>(&self, patience: Duration, search: F) -> Option<Arc<T>>
    where
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let mut found = self.0.found.subscribe();
        if !self.0.is_searched.swap(true, Ordering::AcqRel) {
            let searching = Search(Arc::clone(&self.0));
            tokio::spawn(async move {
                let value = search.await.map(Arc::new);
                searching.0.found.send_replace(Some(Found { at: Instant::now(), value }));
            });
        }
        let _late = time::timeout(patience, found.changed()).await;
        let found = found.borrow();
        found.as_ref().filter(|found| found.at.elapsed() < MAX_STALE)?.value.clone()
    }

    /// Whether a search is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.0.is_searched.load(Ordering::Acquire)
    }
}

impl<T> Default for Part<T> {
    fn default() -> Self {
        Self(Arc::new(Inner { is_searched: AtomicBool::new(false), found: watch::Sender::new(None) }))
    }
}

impl<T> fmt::Debug for Part<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("is_searched", &self.0.is_searched).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{runtime, sync::oneshot};

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const PATIENCE: Duration = Duration::from_mins(1);

    fn block_on(test: impl Future<Output = ()>) {
        runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
    }

    #[test]
    fn who_waits_too_long_gets_nothing_and_the_one_search_goes_on() {
        block_on(async {
            let part = Part::default();
            let (tell, told) = oneshot::channel::<u32>();
            assert_eq!(part.get(SOON, async { told.await.ok() }).await, None);
            assert_eq!(part.get(SOON, async { panic!("a second search") }).await, None);
            assert!(part.is_busy());
            tell.send(7).expect("it is waited for");
            assert_eq!(part.get(PATIENCE, async { panic!("a second search") }).await.as_deref(), Some(&7));
            assert_eq!(part.get(PATIENCE, async { Some(8) }).await.as_deref(), Some(&8));
        });
    }

    #[test]
    fn what_was_found_is_told_while_a_late_search_goes_on() {
        block_on(async {
            let part = Part::default();
            assert_eq!(part.get(PATIENCE, async { Some(7) }).await.as_deref(), Some(&7));
            assert_eq!(part.get(SOON, std::future::pending()).await.as_deref(), Some(&7));
        });
    }

    #[test]
    fn a_search_that_fails_or_panics_makes_way_for_the_next() {
        block_on(async {
            let part = Part::default();
            assert_eq!(part.get(PATIENCE, async { None::<u32> }).await, None);
            assert_eq!(part.get(SOON, async { panic!("on purpose") }).await, None);
            assert_eq!(part.get(PATIENCE, async { Some(9) }).await.as_deref(), Some(&9));
        });
    }
}
