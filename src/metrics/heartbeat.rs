//! Whether the threads that serve clients still turn: each beats from a task of its own runtime, and what judges them is
//! elsewhere.
//!
//! A busy thread beats late, by milliseconds; only one that is stuck in one task, or gone without having been asked to
//! end, does not beat for seconds. One that a device keeps in a call is silent too, but does not hang: a restart would not
//! bring the device back, and would end all that go on without it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Beats within the time after which a thread counts as hung.
const BEATS_WITHIN_LIMIT: u32 = 4;

/// The beats of all threads of a gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Heartbeat(Arc<Threads>);

#[derive(Debug)]
struct Threads {
    limit: Duration,
    since: Instant,
    beats: Mutex<Vec<Arc<Beat>>>,
}

#[derive(Debug)]
struct Beat {
    thread: String,
    /// When it was last seen turning, in milliseconds after `Threads::since`.
    last_ms: AtomicU64,
    /// When it was last seen waiting for a device, likewise.
    waited_ms: AtomicU64,
    /// Whether it is in a call that a device may keep it in; nothing if it makes none.
    waits: OnceLock<Arc<AtomicBool>>,
    retired: AtomicBool,
}

/// The beat of one thread or runtime. Dropping it is not the way to end: what is gone without a word counts as hung.
#[derive(Clone, Debug)]
pub struct Pulse {
    threads: Arc<Threads>,
    beat: Arc<Beat>,
}

impl Heartbeat {
    /// Nobody beats yet. Who does and is then silent for longer than `limit` counts as hung.
    pub fn new(limit: Duration) -> Self {
        Self(Arc::new(Threads { limit, since: Instant::now(), beats: Mutex::default() }))
    }

    /// From now on `thread` is expected to beat.
    pub fn pulse(&self, thread: impl Into<String>) -> Pulse {
        let beat = Beat {
            thread: thread.into(),
            last_ms: AtomicU64::new(0),
            waited_ms: AtomicU64::new(0),
            waits: OnceLock::new(),
            retired: AtomicBool::new(false),
        };
        let pulse = Pulse { threads: self.0.clone(), beat: Arc::new(beat) };
        pulse.beat();
        self.0.beats.lock().push(pulse.beat.clone());
        pulse
    }

    /// The first thread that hangs, if one does.
    pub fn hung(&self) -> Option<String> {
        self.first(Beat::hangs)
    }

    /// The first thread that has been waiting for a device for so long that it would count as hung.
    pub fn waiting(&self) -> Option<String> {
        self.first(|beat, limit, since| beat.is_silent(limit, since) && beat.waits())
    }

    fn first(&self, is_it: impl Fn(&Beat, u64, Instant) -> bool) -> Option<String> {
        let Threads { limit, since, beats } = &*self.0;
        let beats = beats.lock();
        beats.iter().find(|beat| is_it(beat, millis(*limit), *since)).map(|beat| beat.thread.clone())
    }
}

impl Beat {
    fn is_silent(&self, limit: u64, since: Instant) -> bool {
        // The beat is read before the clock, or one that falls in between would lie in the future.
        let last = self.last_ms.load(Relaxed);
        !self.retired.load(Relaxed) && millis(since.elapsed()).saturating_sub(last) > limit
    }

    /// Whoever was seen waiting has the whole limit to beat again.
    fn hangs(&self, limit: u64, since: Instant) -> bool {
        if !self.is_silent(limit, since) {
            return false;
        }
        if self.waits() {
            self.waited_ms.store(millis(since.elapsed()), Relaxed);
            return false;
        }
        let waited = self.waited_ms.load(Relaxed);
        waited == 0 || millis(since.elapsed()).saturating_sub(waited) > limit
    }

    fn waits(&self) -> bool {
        self.waits.get().is_some_and(|waits| waits.load(Relaxed))
    }
}

impl Pulse {
    /// Beats until it is dropped. Needs a tokio runtime with time: the one that is to be shown alive.
    pub async fn run(self) {
        let period = self.threads.limit / BEATS_WITHIN_LIMIT;
        loop {
            self.beat();
            tokio::time::sleep(period).await;
        }
    }

    /// The thread does not hang while this is true: a device keeps it in a call.
    pub fn excuse(&self, waits: Arc<AtomicBool>) {
        let set = self.beat.waits.set(waits);
        assert!(set.is_ok(), "a thread has one excuse");
    }

    /// The thread ends because it was asked to.
    pub fn retire(self) {
        self.beat.retired.store(true, Relaxed);
    }

    fn beat(&self) {
        self.beat.last_ms.store(millis(self.threads.since.elapsed()), Relaxed);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Runs `inside` on a runtime like an I/O thread's, which beats.
    fn beside(pulse: Pulse, inside: impl Future<Output = ()> + Send + 'static) -> thread::JoinHandle<()> {
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            tokio::task::LocalSet::new().block_on(&runtime, async {
                tokio::task::spawn_local(pulse.clone().run());
                inside.await;
                pulse.retire();
            });
        })
    }

    fn wait_until(what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "not in time: {what}");
            thread::yield_now();
        }
    }

    #[test]
    fn a_task_that_blocks_its_thread_is_seen_and_forgiven_when_it_goes_on() {
        let heart = Heartbeat::new(LIMIT);
        let (go_on, blocked) = mpsc::channel::<()>();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let stuck = beside(heart.pulse("stuck"), async move {
            blocked.recv().expect("told to go on");
            ended.await.expect("told to end");
        });
        let (leave, left) = tokio::sync::oneshot::channel::<()>();
        let well = beside(heart.pulse("well"), async move { left.await.expect("told to end") });
        assert_eq!(heart.hung(), None, "a thread has its time before the first beat");
        wait_until("the blocked thread is named", || heart.hung().as_deref() == Some("stuck"));
        go_on.send(()).expect("it waits");
        wait_until("it turns again", || heart.hung().is_none());
        end.send(()).expect("it waits");
        leave.send(()).expect("it waits");
        stuck.join().expect("no panic");
        well.join().expect("no panic");
    }

    #[test]
    fn a_thread_that_a_device_keeps_does_not_hang_until_it_has_had_its_time_again() {
        let heart = Heartbeat::new(LIMIT);
        let waits = Arc::new(AtomicBool::new(false));
        let pulse = heart.pulse("writer");
        pulse.excuse(waits.clone());
        wait_until("it is silent and has no excuse", || heart.hung().as_deref() == Some("writer"));
        assert_eq!(heart.waiting(), None);
        waits.store(true, Relaxed);
        assert_eq!((heart.hung(), heart.waiting().as_deref()), (None, Some("writer")));
        waits.store(false, Relaxed);
        assert_eq!((heart.hung(), heart.waiting()), (None, None), "it comes back, and has not beaten yet");
        wait_until("it does not beat again", || heart.hung().as_deref() == Some("writer"));
    }

    #[test]
    fn a_thread_that_is_merely_busy_beats() {
        let heart = Heartbeat::new(LIMIT);
        let busy = beside(heart.pulse("busy"), async {
            let until = Instant::now() + LIMIT * 3 / 2;
            while Instant::now() < until {
                tokio::task::yield_now().await;
            }
        });
        while !busy.is_finished() {
            assert_eq!(heart.hung(), None);
            thread::yield_now();
        }
        busy.join().expect("no panic");
    }

    #[test]
    fn who_was_asked_to_end_is_not_missed_and_who_is_gone_is() {
        let heart = Heartbeat::new(Duration::from_millis(1));
        heart.pulse("asked").retire();
        drop(heart.pulse("gone"));
        wait_until("the one that is gone is named", || heart.hung().as_deref() == Some("gone"));
    }
}
