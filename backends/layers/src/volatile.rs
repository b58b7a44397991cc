//! A volatile write cache, as a disk has one: mutations end at once, FLUSH and FUA take them to the backend below,
//! and a crash loses the rest.
//!
//! ```text
//!   mutation ──► pending, in order ──► (FLUSH: all; FUA: what it overlaps) ──► backend below
//!   read     ──► backend below, then what is pending over it
//! ```
//!
//! No more than the contract asks for is made durable, so that a caller who relies on more is found out: a FUA write
//! does not take others along. What reaches the backend below does so from one thread, in order, one at a time.

mod pending;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
};

use nbdgate_api::{Backend, ByteRange, Error, Extent, ExtentKind, Info, Io, Kind, Op, Reply, wait};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};

use self::pending::Pending;

/// Payload bytes that may be pending; above, mutations are written through.
const PENDING_BYTES_MAX: u64 = 64 << 20;
/// Mutations that may be pending.
const PENDING_COUNT_MAX: usize = 16 << 10;
/// What survives a crash is decided for each stretch of this length, or of a minimum block if that is longer.
const SURVIVOR: u64 = 4096;

/// What a crash leaves of the mutations that are not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survivors {
    /// Nothing.
    None,
    /// A random half of them, in pieces of 4 KiB: torn writes, and later ones without earlier ones.
    Some {
        /// Decides which.
        seed: u64,
    },
}

/// A write cache over a backend.
pub struct Volatile {
    inner: Arc<dyn Backend>,
    shared: Arc<Shared>,
    jobs: Mutex<Option<Sender<Job>>>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    pending: Mutex<Pending>,
    crashed: AtomicBool,
}

/// What needs the backend below and may wait for it.
enum Job {
    Flush(Reply),
    /// A pending mutation that must not stay so.
    Through(u64, Reply),
    Read(ByteRange, Reply),
}

impl Volatile {
    /// An empty cache over `inner`.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn new(inner: Arc<dyn Backend>) -> Result<Self, Error> {
        let shared = Arc::<Shared>::default();
        let (jobs, queue) = mpsc::channel();
        let (below, state) = (inner.clone(), shared.clone());
        let worker = thread::Builder::new()
            .name("volatile".into())
            .spawn(move || work(&*below, &state, &queue))
            .map_err(|error| Error::from_io(error, "starting the thread of a volatile layer"))?;
        Ok(Self { inner, shared, jobs: Mutex::new(Some(jobs)), worker: Mutex::new(Some(worker)) })
    }

    /// Mutations that a crash would lose.
    pub fn pending(&self) -> usize {
        self.shared.pending.lock().len()
    }

    /// Ends this backend without closing it, as a loss of power would: what is in flight fails, what is pending is lost
    /// but for the survivors. The backend below is returned, holding what is left.
    ///
    /// # Errors
    /// A survivor could not be written to the backend below.
    pub fn crash(&self, survivors: Survivors) -> Result<Arc<dyn Backend>, Error> {
        self.shared.crashed.store(true, Ordering::SeqCst);
        let lost = self.stop();
        if let Survivors::Some { seed } = survivors {
            let mut rng = StdRng::seed_from_u64(seed);
            let step = SURVIVOR.max(self.info().block.minimum.into());
            for piece in lost.iter().flat_map(|op| pending::pieces(op, step)) {
                if rng.random() {
                    wait::call(&*self.inner, piece).outcome?;
                }
            }
            wait::flush(&*self.inner)?;
        }
        Ok(self.inner.clone())
    }

    /// Ends the thread, after the jobs that are queued; what is still pending then.
    fn stop(&self) -> Vec<Op> {
        self.shared.pending.lock().refuse();
        drop(self.jobs.lock().take());
        if let Some(worker) = self.worker.lock().take() {
            // A panic of the backend below dropped the jobs' replies, which ended them (B2).
            let _ = worker.join();
        }
        self.shared.pending.lock().take()
    }

    fn send(&self, job: Job) {
        let unsent = match self.jobs.lock().as_ref() {
            Some(jobs) => jobs.send(job).err().map(|mpsc::SendError(job)| job),
            None => Some(job),
        };
        if let Some(Job::Flush(reply) | Job::Through(_, reply) | Job::Read(_, reply)) = unsent {
            reply.end(Err(closed()));
        }
    }

    fn mutate(&self, mut io: Io) {
        io.op.detach();
        let through = io.op.is_durable();
        let mut pending = self.shared.pending.lock();
        let full = pending.bytes() >= PENDING_BYTES_MAX || pending.len() >= PENDING_COUNT_MAX;
        let number = pending.push(io.op);
        drop(pending);
        match number {
            None => io.reply.end(Err(closed())),
            Some(number) if through || full => self.send(Job::Through(number, io.reply)),
            Some(_) => io.reply.end(Ok(())),
        }
    }
}

impl Backend for Volatile {
    fn info(&self) -> &Info {
        self.inner.info()
    }

    fn submit(&self, io: Io) {
        let (refusing, covered) = {
            let pending = self.shared.pending.lock();
            (pending.is_refusing(), io.op.range().is_some_and(|range| pending.overlaps(range)))
        };
        if refusing {
            return io.reply.end(Err(closed()));
        }
        match io.op {
            Op::Flush => self.send(Job::Flush(io.reply)),
            Op::Write { .. } | Op::Trim { .. } | Op::WriteZeroes { .. } => self.mutate(io),
            Op::Read(range) if covered => self.send(Job::Read(range, io.reply)),
            Op::BlockStatus { range, .. } if covered => {
                // Data is always true (B8).
                io.reply.extents(vec![Extent { range, kind: ExtentKind::Data }]);
                io.reply.end(Ok(()));
            }
            Op::DirtyStatus { range, .. } if covered => {
                // Dirty is always safe (B8).
                io.reply.extents(vec![Extent { range, kind: ExtentKind::Dirty }]);
                io.reply.end(Ok(()));
            }
            Op::Read(_) | Op::BlockStatus { .. } | Op::DirtyStatus { .. } | Op::Cache(_) => self.inner.submit(io),
        }
    }

    fn bitmaps(&self) -> Vec<Arc<str>> {
        self.inner.bitmaps()
    }

    fn close(&self) -> Result<(), Error> {
        let left = self.stop();
        let written = left.into_iter().try_for_each(|op| wait::call(&*self.inner, pending::plain(op)).outcome);
        written.and(self.inner.close())
    }
}

fn closed() -> Error {
    Error::new(Kind::Shutdown, "volatile disk is closed")
}

fn work(inner: &dyn Backend, shared: &Shared, jobs: &Receiver<Job>) {
    for job in jobs {
        if shared.crashed.load(Ordering::SeqCst) {
            continue;
        }
        match job {
            Job::Flush(reply) => reply.end(flush(inner, shared)),
            Job::Through(number, reply) => reply.end(through(inner, shared, number)),
            Job::Read(range, reply) => {
                let outcome = read(inner, shared, range).map(|bytes| reply.data(range.offset(), bytes.into()));
                reply.end(outcome);
            }
        }
    }
}

fn flush(inner: &dyn Backend, shared: &Shared) -> Result<(), Error> {
    let all = shared.pending.lock().up_to(u64::MAX);
    write_back(inner, shared, all)?;
    wait::flush(inner)
}

/// Takes the mutation below, after the earlier ones that it depends on. It is not pending any more even if that fails:
/// its range may then hold anything (B6).
fn through(inner: &dyn Backend, shared: &Shared, number: u64) -> Result<(), Error> {
    let (op, earlier) = {
        let pending = shared.pending.lock();
        (pending.get(number), pending.dependencies(number))
    };
    // A FLUSH that was queued before took it along, and may have failed after that.
    let Some(op) = op else { return wait::flush(inner) };
    let outcome = write_back(inner, shared, earlier).and_then(|()| wait::call(inner, op).outcome);
    shared.pending.lock().remove(number);
    outcome
}

fn write_back(inner: &dyn Backend, shared: &Shared, ops: Vec<(u64, Op)>) -> Result<(), Error> {
    for (number, op) in ops {
        wait::call(inner, pending::plain(op)).outcome?;
        // Only now: until the backend below has it, reads find it here.
        shared.pending.lock().remove(number);
    }
    Ok(())
}

fn read(inner: &dyn Backend, shared: &Shared, range: ByteRange) -> Result<Vec<u8>, Error> {
    let over = shared.pending.lock().up_to(u64::MAX);
    let mut bytes = wait::read(inner, range)?;
    for (_, op) in over {
        pending::patch(&mut bytes, range, &op);
    }
    Ok(bytes)
}
