//! Requests in a random order, from another thread.
//!
//! What the contract leaves open, this layer makes use of: requests in flight may be served in any order, and replies
//! may come from any thread. It is what a fast synchronous backend lacks for testing its callers.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use nbdgate_api::{Backend, Error, Info, Io, Kind};
use parking_lot::{Condvar, Mutex};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// Takes requests into a pool, from which a thread of its own draws. The seed decides the draws; which requests are
/// in the pool by then is up to the threads. For an order that is the same each time see
/// [`Fault::release_shuffled`](crate::Fault::release_shuffled).
pub struct Shuffle {
    inner: Arc<dyn Backend>,
    shared: Arc<Shared>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    pool: Mutex<Pool>,
    changed: Condvar,
}

#[derive(Default)]
struct Pool {
    waiting: Vec<Io>,
    stopped: bool,
}

impl Shuffle {
    /// A shuffled `inner`.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn new(inner: Arc<dyn Backend>, seed: u64) -> Result<Self, Error> {
        let shared = Arc::<Shared>::default();
        let (below, pool) = (inner.clone(), shared.clone());
        let worker = thread::Builder::new()
            .name("shuffle".into())
            .spawn(move || draw(&*below, &pool, seed))
            .map_err(|error| Error::from_io(error, "starting the thread of a shuffle layer"))?;
        Ok(Self { inner, shared, worker: Mutex::new(Some(worker)) })
    }

    /// Serves what is waiting and ends the thread.
    fn stop(&self) {
        self.shared.pool.lock().stopped = true;
        self.shared.changed.notify_all();
        let worker = self.worker.lock().take();
        // The last owner may let go inside a reply, on the thread itself; that cannot wait for its own end.
        if let Some(worker) = worker.filter(|worker| worker.thread().id() != thread::current().id()) {
            // A panic of the backend below ended its requests already (B2) and was printed.
            let _ = worker.join();
        }
    }
}

impl Backend for Shuffle {
    fn info(&self) -> &Info {
        self.inner.info()
    }

    fn submit(&self, mut io: Io) {
        io.op.detach();
        let mut pool = self.shared.pool.lock();
        if pool.stopped {
            drop(pool);
            io.reply.end(Err(Error::new(Kind::Shutdown, "shuffled disk is closed")));
            return;
        }
        pool.waiting.push(io);
        drop(pool);
        self.shared.changed.notify_one();
    }

    fn bitmaps(&self) -> Vec<Arc<str>> {
        self.inner.bitmaps()
    }

    fn close(&self) -> Result<(), Error> {
        self.stop();
        self.inner.close()
    }
}

impl Drop for Shuffle {
    fn drop(&mut self) {
        self.stop();
    }
}

fn draw(inner: &dyn Backend, shared: &Shared, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    loop {
        let mut pool = shared.pool.lock();
        shared.changed.wait_while(&mut pool, |pool| pool.waiting.is_empty() && !pool.stopped);
        if pool.waiting.is_empty() {
            return;
        }
        let index = rng.random_range(0..pool.waiting.len());
        let io = pool.waiting.swap_remove(index);
        drop(pool);
        inner.submit(io);
    }
}
