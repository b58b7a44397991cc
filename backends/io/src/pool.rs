//! A bounded blocking pool: for what neither the page cache nor a ring can do.
//!
//! Each file has its own, so that a hung device stalls nobody else. Threads are made when there is work and no
//! idle thread, up to [`THREADS`], and leave after [`IDLE`] without work; an unused pool costs nothing. A full
//! queue makes the caller do the work itself: full means waiting, never growth and never an error.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

/// Threads of one pool at most.
pub const THREADS: usize = 16;
/// Jobs waiting at most.
pub const QUEUE: usize = 4096;
/// How long a thread waits for work before it leaves.
pub const IDLE: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce() + Send>;

/// A pool of blocking threads. Dropping it lets the queued jobs finish.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Pool {
    /// An empty pool whose threads bear `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { shared: Arc::new(Shared { name: name.into(), state: Mutex::default(), work: Condvar::new() }) }
    }

    /// Runs `job` on a thread of the pool; on the calling one where the queue is full or no thread can be had.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.state.lock();
        if state.queue.len() >= QUEUE {
            drop(state);
            return run_caught(job);
        }
        state.queue.push_back(Box::new(job));
        if state.idle >= state.queue.len() {
            drop(state);
            self.shared.work.notify_one();
        } else if state.threads < THREADS {
            state.threads += 1;
            drop(state);
            self.start_thread();
        }
    }

    fn start_thread(&self) {
        let shared = self.shared.clone();
        if let Err(error) = thread::Builder::new().name(self.shared.name.clone()).spawn(move || shared.serve()) {
            tracing::warn!(%error, pool = self.shared.name, "cannot start a blocking thread");
            let mut state = self.shared.state.lock();
            state.threads -= 1;
            // Another thread takes the job when it is done; without any, the caller has to.
            let stranded = if state.threads == 0 { state.queue.pop_back() } else { None };
            drop(state);
            if let Some(job) = stranded {
                run_caught(job);
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    fn serve(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                run_caught(job);
                state = self.state.lock();
                continue;
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let timed_out = self.work.wait_for(&mut state, IDLE).timed_out();
            state.idle -= 1;
            if timed_out && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }
}

/// A job that panics loses its own request, which its reply token reports, and nobody else's.
fn run_caught(job: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        tracing::error!("a blocking file operation panicked");
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("queued", &self.queue.len())
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, mpsc};

    use super::*;

    #[test]
    fn every_job_runs_once_also_when_one_panics() {
        let pool = Pool::new("test");
        let (sender, receiver) = mpsc::channel();
        for number in 0..1000 {
            let sender = sender.clone();
            pool.run(move || {
                assert!(number != 500, "meant to panic");
                sender.send(number).unwrap();
            });
        }
        drop((sender, pool));
        let mut seen: Vec<i32> = receiver.iter().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).filter(|number| *number != 500).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_queue_makes_the_caller_work() {
        let pool = Pool::new("test");
        let barrier = Arc::new(Barrier::new(THREADS + 1));
        for _ in 0..THREADS {
            let barrier = barrier.clone();
            pool.run(move || {
                barrier.wait();
                barrier.wait();
            });
        }
        barrier.wait(); // every thread is busy
        let (sender, receiver) = mpsc::channel();
        for _ in 0..=QUEUE {
            let sender = sender.clone();
            pool.run(move || sender.send(thread::current().id()).unwrap());
        }
        assert_eq!(receiver.try_recv(), Ok(thread::current().id()), "the one above the limit ran here");
        assert!(receiver.try_recv().is_err(), "the others wait");
        barrier.wait();
        drop((sender, pool));
        assert_eq!(receiver.iter().count(), QUEUE);
    }

    #[test]
    fn jobs_run_side_by_side_up_to_the_limit() {
        let pool = Pool::new("test");
        let barrier = Arc::new(Barrier::new(THREADS));
        let (sender, receiver) = mpsc::channel();
        for _ in 0..THREADS {
            let (barrier, sender) = (barrier.clone(), sender.clone());
            pool.run(move || {
                barrier.wait(); // would hang with fewer threads
                sender.send(()).unwrap();
            });
        }
        drop(sender);
        assert_eq!(receiver.iter().count(), THREADS);
    }
}
