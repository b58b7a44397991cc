//! The backend: takes requests apart by kind, counts them in and out, flushes and closes.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Acquire, Ordering::Release},
    },
    thread::{self, JoinHandle},
};

use nbdgate_api::{Backend, ByteRange, Error, Info, Io, Kind, Op};
use nbdgate_io::{
    gate::Gate,
    inside::{self, Gated},
    pool::Pool,
    shared_sync::{Join, SharedSync},
};
use parking_lot::Mutex;
use rocksdb::properties;

use crate::{
    OpenOptions, Watch, bases, commit,
    database::Database,
    draft::Change,
    flushed::Flushed,
    levels::{Counters, count},
    open,
    pace::Signs,
    presence::Presence,
    queue::{Mutation, Queue},
    read,
    room::Room,
    status,
};

/// How often closing looks whether all threads have let go of the disk.
const FAREWELLS: u32 = 100_000;
/// The part of the cache that one CACHE request fills at most: one in so many.
const CACHED_SHARE: u64 = 4;

/// A disk in a RocksDB.
#[derive(Debug)]
pub struct RocksDisk {
    core: Arc<Core>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

/// A request inside the gate, with its answer.
pub(crate) type Pending = inside::Pending<Core>;

/// What requests share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) database: Arc<Database>,
    pub(crate) info: Info,
    pub(crate) name: String,
    /// Bytes of an extent.
    pub(crate) extent: u64,
    pub(crate) presence: Presence,
    /// For reads that wait for the device.
    pub(crate) pool: Pool,
    /// For syncs, which no number of reads may hold up.
    pub(crate) syncs: Pool,
    pub(crate) queue: Queue,
    pub(crate) sync: SharedSync<Pending>,
    pub(crate) counters: Counters,
    /// Only of a disk that is open for writing.
    pub(crate) flushed: Option<Flushed>,
    /// Only of a disk that is open for writing.
    pub(crate) room: Option<Room>,
    pub(crate) gate: Gate,
    pub(crate) closed: AtomicBool,
}

impl RocksDisk {
    /// Opens the disk in the directory `path`, or a snapshot of it, and locks it: one writer or many readers.
    ///
    /// # Errors
    /// Missing, in use, foreign, from the future, damaged; the text says what to do.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self, Error> {
        let core = Arc::new(open::open(path, options)?);
        let committer = if core.info.read_only { None } else { Some(commit::start(&core)?) };
        Ok(Self { core, committer: Mutex::new(committer) })
    }

    /// Lets the committer write what waits for it, and end.
    fn end_committer(&self) {
        self.core.queue.close();
        if let Some(committer) = self.committer.lock().take()
            // Whoever lets go of the disk in a reply may be the committer.
            && committer.thread().id() != thread::current().id()
        {
            let _it_caught_what_went_wrong = committer.join();
        }
    }

    /// Threads that have ended a request let go of the disk a few instructions later. Waited for, so that the caller can open
    /// it again.
    fn part(&self) {
        for _ in 0..FAREWELLS {
            if Arc::strong_count(&self.core) == 1 && Arc::strong_count(&self.core.database) == 1 {
                break;
            }
            thread::yield_now();
        }
    }

    /// A look at the disk that does not keep it open.
    pub fn watch(&self) -> Watch {
        Watch(Arc::downgrade(&self.core))
    }
}

impl Backend for RocksDisk {
    fn info(&self) -> &Info {
        &self.core.info
    }

    fn submit(&self, io: Io) {
        let reply = io.reply;
        let Some(ticket) = inside::Ticket::new(&self.core) else {
            return reply.end(Err(Error::new(Kind::Shutdown, format!("{} is closed", self.core.name))));
        };
        let request = Pending { reply, ticket };
        match io.op {
            Op::Read(range) => read::submit(request, range),
            Op::Write { offset, mut payload, fua } => {
                payload.detach();
                mutate(request, Change::Write { offset, payload }, fua);
            }
            Op::Flush => flush(request),
            Op::Trim { range, fua } => mutate(request, Change::Zero { range, keep: false }, fua),
            Op::WriteZeroes { range, fua, zeroes } => {
                mutate(request, Change::Zero { range, keep: zeroes.no_hole }, fua);
            }
            Op::BlockStatus { range, req_one } => {
                request.reply.extents(status::extents(&self.core, range, req_one));
                request.end(Ok(()));
            }
            Op::DirtyStatus { .. } => {
                request.end(Err(Error::new(Kind::NotSupported, "a RocksDB disk has no dirty bitmaps")));
            }
            Op::Cache(range) => read::cache(request, range),
        }
    }

    fn close(&self) -> Result<(), Error> {
        let core = &self.core;
        core.gate.close();
        self.end_committer();
        let outcome = if core.info.read_only { Ok(()) } else { core.leave() };
        core.closed.store(true, Release);
        self.part();
        outcome
    }
}

impl Drop for RocksDisk {
    fn drop(&mut self) {
        self.end_committer();
        self.part();
    }
}

impl Gated for Core {
    fn gate(&self) -> &Gate {
        &self.gate
    }
}

impl Core {
    /// The extents that a range touches.
    pub(crate) fn extents_of(&self, range: ByteRange) -> Range<u64> {
        range.offset() / self.extent..range.end().div_ceil(self.extent)
    }

    /// What extents have of a range that touches all of them.
    pub(crate) fn part(&self, extents: Range<u64>, range: ByteRange) -> ByteRange {
        let (start, end) = (extents.start * self.extent, extents.end * self.extent);
        ByteRange::between(start.max(range.offset()), end.min(range.end()))
    }

    /// # Errors
    /// The value of an extent has another length than extents have; none at all stands for zeros.
    pub(crate) fn check_length(&self, index: u64, length: usize) -> Result<(), Error> {
        if length == 0 || length as u64 == self.extent {
            return Ok(());
        }
        count(&self.counters.corruptions);
        let text = format!("extent {index} of {} is damaged: it has {length} bytes, not {}", self.name, self.extent);
        tracing::error!(disk = self.name, index, length, "an extent has another length than extents have");
        Err(Error::new(Kind::Io, text))
    }

    /// What is said of an extent that is said to be there, and that the database does not have.
    pub(crate) fn lost(&self, index: u64) -> Error {
        count(&self.counters.corruptions);
        tracing::error!(disk = self.name, index, "an extent is lost");
        Error::new(Kind::Io, format!("extent {index} of {} is lost: the database does not have it", self.name))
    }

    /// How RocksDB is doing.
    pub(crate) fn signs(&self) -> Signs {
        let database = &self.database;
        Signs {
            immutable: database.level(properties::NUM_IMMUTABLE_MEM_TABLE),
            level0: database.level("rocksdb.num-files-at-level0"),
            pending: database.level(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
            memory: database.shared.write_memory_fill(),
            memtables: database.level(properties::CUR_SIZE_ALL_MEM_TABLES),
            files: database.level(properties::TOTAL_SST_FILES_SIZE) + database.level("rocksdb.total-blob-file-size"),
            allocated: self.presence.present() * self.extent,
        }
    }

    /// Extents that one CACHE request may bring into the cache.
    pub(crate) fn cacheable(&self) -> usize {
        let bytes = self.database.shared.levels().cache_size / CACHED_SHARE;
        usize::try_from(bytes / self.extent).unwrap_or(usize::MAX)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    /// Makes durable what ended well, and spares the next opening the replay of the log.
    fn leave(&self) -> Result<(), Error> {
        sync(self)?;
        if let Err(error) = self.database.settle() {
            // All is in the log, and durable.
            tracing::warn!(disk = self.name, error = error.chain(), "the log will be replayed when it is opened");
        }
        Ok(())
    }
}

fn mutate(request: Pending, change: Change, fua: bool) {
    if fua && let Err(error) = request.ticket.sync.check() {
        return request.end(Err(error));
    }
    let core = request.ticket.shared().clone();
    let mutation = Mutation::new(request, change, fua);
    let missing = bases::missing(&core, mutation.change.range());
    if missing.is_empty() {
        return core.queue.push(mutation);
    }
    // Side by side, before the committer would read them one after the other.
    let reader = core.clone();
    core.pool.run(move || {
        bases::fetch(&reader, &missing);
        reader.queue.push(mutation);
    });
}

/// Ends `request` when what ended before it is durable.
pub(crate) fn flush(request: Pending) {
    if request.ticket.info.read_only {
        return request.end(Ok(()));
    }
    let core = request.ticket.shared().clone();
    match core.sync.join(request) {
        Join::Start(batch) => sync_for(&core, batch),
        Join::Wait => {}
        Join::Failed(request, error) => request.end(Err(error)),
    }
}

/// Runs a sync for `batch`, and goes on with those that arrive meanwhile, on one thread.
fn sync_for(core: &Arc<Core>, mut batch: Vec<Pending>) {
    let this = core.clone();
    core.syncs.run(move || {
        while !batch.is_empty() {
            let outcome = sync(&this);
            let duplicate = || outcome.as_ref().copied().map_err(Error::duplicate);
            let replies = || batch.into_iter().for_each(|request| request.end(duplicate()));
            // Nothing that goes wrong while replying may keep those waiting who come next.
            if catch_unwind(AssertUnwindSafe(replies)).is_err() {
                tracing::error!(disk = this.name, "a reply to a flush panicked");
            }
            batch = this.sync.next();
        }
    });
}

/// Makes durable what was written before, and writes down that it is. A failure is final.
///
/// # Errors
/// This sync's, or the first that failed.
pub(crate) fn sync(core: &Core) -> Result<(), Error> {
    let sequence = core.database.sequence();
    let outcome = core.sync.sync(|| core.database.sync());
    match (&outcome, &core.flushed) {
        (Ok(()), Some(flushed)) => flushed.record(sequence),
        (Err(error), _) => {
            tracing::error!(disk = core.name, error = error.chain(), "flushes fail until the disk is opened again");
        }
        (Ok(()), None) => {}
    }
    outcome
}
