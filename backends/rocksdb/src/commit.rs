//! The committer: one thread of each disk, through which all its mutations go.
//!
//! It takes what has queued up while it was busy, makes one batch of it, and writes that: so writes that arrive together are
//! combined and logged together, no two of them meet at one extent, and nothing needs a lock. A mutation is answered after it
//! is in RocksDB's log.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use nbdgate_api::{ByteRange, Error};
use nbdgate_io::busy_poll;
use rocksdb::WriteBatch;

use crate::{
    bases,
    bits::Bits,
    database::Family,
    disk::{self, Core},
    draft::{Change, Content, Draft},
    levels::count,
    pace::{self, Pace},
    queue::{BATCH_BYTES, Mutation, Taken},
};

/// Extents of one batch of a long range of zeros that stay allocated.
const MARKS: u64 = 16 << 10;
/// Deleting at least this many bytes gives whole tables back at once.
const DROPPED_BYTES: u64 = 256 << 20;
/// Bytes of a batch beside each extent, at most.
const RECORD: usize = 64;
/// After so long without a mutation, memtables are written out: they are memory that other disks could use.
const IDLE: Duration = Duration::from_secs(5);

/// Starts the committer of a disk; it ends when the queue is closed and empty.
///
/// # Errors
/// There is no thread to be had.
pub(crate) fn start(core: &Arc<Core>) -> Result<thread::JoinHandle<()>, Error> {
    let core = core.clone();
    let serve = move || {
        let (mut pacer, mut pays, mut patience) = (Pacer::new(), busy_poll::Pace::default(), None);
        loop {
            core.queue.linger(&mut pays);
            match core.queue.take(core.extent, patience) {
                Taken::Batch(batch) => {
                    pacer.wait(&core, batch.iter().map(Mutation::weight).sum());
                    // Nothing that goes wrong with one batch may keep those waiting that come next.
                    if catch_unwind(AssertUnwindSafe(|| commit(&core, batch))).is_err() {
                        tracing::error!(disk = core.name, "a batch of writes panicked");
                    }
                    patience = Some(IDLE);
                }
                Taken::Nothing => {
                    core.database.begin_settling();
                    patience = None;
                }
                Taken::Closed => break,
            }
        }
    };
    let started = thread::Builder::new().name("rocksdb-commit".to_owned()).spawn(serve);
    started.map_err(|error| Error::from_io(error, "cannot start a thread"))
}

/// The pace with its clock.
struct Pacer {
    pace: Pace,
    looked: Instant,
    wrote: Instant,
}

impl Pacer {
    fn new() -> Self {
        let now = Instant::now();
        Self { pace: Pace::default(), looked: now, wrote: now }
    }

    fn wait(&mut self, core: &Core, bytes: u64) {
        let now = Instant::now();
        if now - self.looked >= pace::LOOK {
            self.pace.look(core.signs(), now - self.looked);
            self.looked = now;
        }
        let wait = self.pace.wait(bytes, now - self.wrote);
        if !wait.is_zero() {
            thread::sleep(wait);
            core.counters.paced_micros.fetch_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX), Relaxed);
        }
        self.wrote = now;
    }
}

/// Writes a batch and answers it.
fn commit(core: &Arc<Core>, batch: Vec<Mutation>) {
    let outcome = match &batch[..] {
        [Mutation { change: Change::Zero { range, keep: true }, .. }] if batch[0].is_long(core.extent) => {
            keep_zeros(core, *range)
        }
        [Mutation { change: Change::Zero { range, keep: false }, .. }] if batch[0].is_long(core.extent) => {
            delete(core, *range)
        }
        _ => write(core, &batch),
    };
    count(&core.counters.batches);
    match outcome {
        Ok(()) => batch.into_iter().for_each(|mutation| done(core, mutation)),
        // An extent that cannot be completed must not fail the others: each for itself, in their order.
        Err(_) if batch.len() > 1 => batch.into_iter().for_each(|mutation| commit(core, vec![mutation])),
        Err(error) => batch.into_iter().for_each(|mutation| mutation.request.end(Err(error.duplicate()))),
    }
}

/// Answers a mutation that is in the log.
fn done(core: &Core, mutation: Mutation) {
    let Mutation { request, change, fua, .. } = mutation;
    core.counters.user_bytes.fetch_add(change.written(), Relaxed);
    if fua { disk::flush(request) } else { request.end(Ok(())) }
}

fn write(core: &Arc<Core>, mutations: &[Mutation]) -> Result<(), Error> {
    let mut draft = Draft::new(core.extent);
    for mutation in mutations {
        draft.add(&mutation.change);
    }
    core.counters.combined_writes.fetch_add(draft.combined(), Relaxed);
    apply(core, draft)
}

/// Makes a long range zeros that stay allocated: a mark for each extent.
fn keep_zeros(core: &Arc<Core>, range: ByteRange) -> Result<(), Error> {
    range.pieces(core.extent * MARKS).try_for_each(|range| {
        let mut draft = Draft::new(core.extent);
        draft.add(&Change::Zero { range, keep: true });
        apply(core, draft)
    })
}

/// Deletes a long range: what is left of extents at its ends is zeroed, the rest is one deletion.
fn delete(core: &Arc<Core>, range: ByteRange) -> Result<(), Error> {
    let (from, to) = (range.offset().div_ceil(core.extent), range.end() / core.extent);
    let mut draft = Draft::new(core.extent);
    let ends =
        [ByteRange::between(range.offset(), from * core.extent), ByteRange::between(to * core.extent, range.end())];
    ends.into_iter().filter(|end| !end.is_empty()).for_each(|range| draft.add(&Change::Zero { range, keep: false }));
    if draft.extents() > 0 {
        apply(core, draft)?;
    }
    if core.presence.run(from, to) == (false, to) {
        return Ok(());
    }
    let mut batch = WriteBatch::default();
    batch.delete_range_cf(core.database.family(Family::Data), from.to_be_bytes(), to.to_be_bytes());
    let mut bits = Bits::new(core);
    bits.clear(from, to);
    bits.write(batch, false)?;
    if range.length() >= DROPPED_BYTES {
        // The deletion must be durable before what it deletes is gone.
        disk::sync(core)?;
        core.database.drop_tables(from, to)?;
    }
    Ok(())
}

/// Writes what a draft makes of its extents.
fn apply(core: &Arc<Core>, mut draft: Draft) -> Result<(), Error> {
    let needed = draft.needs(|index| core.presence.has(index));
    let bases = bases::read(core, &needed)?;
    let extent = usize::try_from(core.extent).expect("an extent fits in memory");
    let most = usize::try_from(2 * BATCH_BYTES).expect("two batches fit in memory");
    let capacity = (draft.extents() * (extent + RECORD)).min(most);
    let mut batch = WriteBatch::with_capacity_bytes(capacity);
    let mut grows = false;
    let mut bits = Bits::new(core);
    let data = core.database.family(Family::Data);
    let stored = |index, memory: &mut [u8]| {
        let base: &Vec<u8> = bases.get(&index).ok_or_else(|| core.lost(index))?;
        if base.is_empty() {
            memory.fill(0);
        } else {
            memory.copy_from_slice(base);
        }
        Ok::<_, Error>(())
    };
    draft.finish(stored, |index, content| {
        match content {
            Content::Bytes(bytes) => batch.put_cf(data, index.to_be_bytes(), bytes),
            // No bytes: zeros that are allocated.
            Content::Kept => batch.put_cf(data, index.to_be_bytes(), []),
            Content::Absent if core.presence.has(index) => batch.delete_cf(data, index.to_be_bytes()),
            Content::Absent => {}
        }
        bits.set(index, content != Content::Absent);
        grows |= content != Content::Absent;
    })?;
    bits.write(batch, grows)
}
