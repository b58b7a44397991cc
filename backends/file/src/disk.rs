//! The backend: takes requests apart by kind, counts them in and out, and closes.

use std::{
    num::NonZeroU64,
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    thread,
};

use nbdgate_api::{Backend, ByteRange, Error, Info, Io, Kind, Op, Reply};
use nbdgate_io::{
    File,
    gate::{Gate, Stripe},
    inside::{self, Gated},
    shared_sync::{Join, SharedSync},
};
use rustix::fs::Advice;

use crate::{
    extents::ExtentCache,
    lock,
    open::{self, OpenOptions, Opened},
    read, status, write,
    zero::Zeroing,
};

/// How often closing looks whether all threads have let go of the file.
const FAREWELLS: u32 = 100_000;

/// A raw image file or a block device.
#[derive(Debug)]
pub struct FileDisk(Arc<Disk>);

/// A request inside the gate.
pub(crate) type Ticket = inside::Ticket<Disk>;
/// A request inside the gate, with its answer.
pub(crate) type Pending = inside::Pending<Disk>;

/// What requests share.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) file: File,
    pub(crate) info: Info,
    pub(crate) name: String,
    /// `None` where holes cannot be told from data.
    pub(crate) extents: Option<ExtentCache>,
    pub(crate) zeroing: Zeroing,
    pub(crate) sync: SharedSync<Pending>,
    gate: Gate,
}

impl FileDisk {
    /// Opens, and with `create_size` makes, the image at `path`, and locks it: one writer or many readers.
    ///
    /// # Errors
    /// Missing, in use, not permitted, not an image, a size that does not fit the options; the text says what
    /// to do.
    pub fn open(path: impl AsRef<Path>, options: OpenOptions) -> Result<Self, Error> {
        let Opened { file, facts, info, name } = open::open(path.as_ref(), options)?;
        Ok(Self(Arc::new(Disk {
            file,
            extents: facts.seeks_holes.then(|| ExtentCache::new(info.size)),
            info,
            name,
            zeroing: Zeroing::new(&facts),
            sync: SharedSync::new(),
            gate: Gate::default(),
        })))
    }
}

impl Backend for FileDisk {
    fn info(&self) -> &Info {
        &self.0.info
    }

    fn submit(&self, io: Io) {
        let Some(inside) = Inside::enter(&self.0) else {
            return io.reply.end(Err(Error::new(Kind::Shutdown, format!("{} is closed", self.0.name))));
        };
        let reply = io.reply;
        match io.op {
            Op::Read(range) => read::submit(inside.pending(reply), range),
            Op::Write { offset, payload, fua } => write::submit(inside, reply, offset, payload, fua),
            Op::Flush => flush(inside.pending(reply)),
            Op::Trim { range, fua } => write::trim(inside.pending(reply), range, fua),
            Op::WriteZeroes { range, zeroes, fua } => write::zero(inside.pending(reply), range, zeroes, fua),
            Op::BlockStatus { range, req_one } => status::submit(inside.pending(reply), range, req_one),
            Op::DirtyStatus { .. } => reply.end(Err(Error::new(Kind::NotSupported, "an image has no dirty bitmaps"))),
            Op::Cache(range) => cache(inside.pending(reply), range),
        }
    }

    fn close(&self) -> Result<(), Error> {
        let disk = &self.0;
        disk.gate.close();
        let outcome = if disk.info.read_only { Ok(()) } else { disk.sync.sync(|| disk.sync_now()) };
        lock::release(disk.file.as_fd());
        // Threads that have left the gate let go of the file a few instructions later. Waited for, so that the caller
        // can open an exclusive device again.
        for _ in 0..FAREWELLS {
            if Arc::strong_count(disk) == 1 && !disk.file.is_shared() {
                break;
            }
            thread::yield_now();
        }
        outcome
    }
}

impl Gated for Disk {
    fn gate(&self) -> &Gate {
        &self.gate
    }
}

impl Disk {
    pub(crate) fn sync_now(&self) -> Result<(), Error> {
        loop {
            match rustix::fs::fdatasync(&self.file) {
                Err(rustix::io::Errno::INTR) => {}
                outcome => return outcome.map_err(|errno| self.failed(errno.into(), "sync")),
            }
        }
    }

    /// The error of a request: what was `tried` on the image.
    pub(crate) fn failed(&self, error: std::io::Error, tried: &str) -> Error {
        Error::from_io(error, format!("cannot {tried} {}", self.name))
    }
}

/// A request inside the gate, as long as `submit` runs: counts no reference.
#[derive(Debug)]
pub(crate) struct Inside<'a> {
    disk: &'a Arc<Disk>,
    stripe: Stripe,
}

impl<'a> Inside<'a> {
    fn enter(disk: &'a Arc<Disk>) -> Option<Self> {
        disk.gate.enter().map(|stripe| Self { disk, stripe })
    }

    /// Stays inside when `submit` returns.
    pub(crate) fn pending(self, reply: Reply) -> Pending {
        Pending { reply, ticket: self.keep() }
    }

    fn keep(self) -> Ticket {
        let ticket = Ticket::of(self.disk, self.stripe);
        std::mem::forget(self);
        ticket
    }
}

impl std::ops::Deref for Inside<'_> {
    type Target = Disk;

    fn deref(&self) -> &Disk {
        self.disk
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.disk.gate.leave(self.stripe);
    }
}

/// Ends `request` when what ended before it is durable.
pub(crate) fn flush(request: Pending) {
    if request.ticket.info.read_only {
        return request.end(Ok(()));
    }
    let disk = request.ticket.shared().clone();
    match disk.sync.join(request) {
        Join::Start(batch) => sync(&disk, batch),
        Join::Wait => {}
        Join::Failed(request, error) => request.end(Err(error)),
    }
}

/// Runs a sync for `batch`, and goes on with those that arrive meanwhile, on one thread: waking another for each would
/// take longer than the replies that it could overtake.
fn sync(disk: &Arc<Disk>, mut batch: Vec<Pending>) {
    let this = disk.clone();
    disk.file.run(move |_| {
        while !batch.is_empty() {
            let outcome = this.sync.sync(|| this.sync_now());
            if let Err(error) = &outcome {
                tracing::error!(
                    image = this.name,
                    error = error.chain(),
                    "flushes fail until the image is opened again"
                );
            }
            let replies = || batch.into_iter().for_each(|request| request.end(duplicate(&outcome)));
            // Nothing that goes wrong while replying may keep those waiting who come next.
            if catch_unwind(AssertUnwindSafe(replies)).is_err() {
                tracing::error!(image = this.name, "a reply to a flush panicked");
            }
            batch = this.sync.next();
        }
    });
}

fn duplicate(outcome: &Result<(), Error>) -> Result<(), Error> {
    outcome.as_ref().copied().map_err(Error::duplicate)
}

/// Reads ahead. A hint: a failure is not told.
fn cache(request: Pending, range: ByteRange) {
    let file = request.ticket.file.clone();
    file.run(move |file| {
        let length = NonZeroU64::new(range.length());
        if let Err(error) = rustix::fs::fadvise(file, range.offset(), length, Advice::WillNeed) {
            tracing::debug!(%error, image = request.ticket.name, "cannot read ahead");
        }
        request.end(Ok(()));
    });
}

#[cfg(test)]
mod tests {
    use nbdgate_api::{BlockSizes, Capabilities, Home, wait};

    use super::*;

    /// A disk on a pipe, which takes every call but a sync: fdatasync fails on it with EINVAL.
    fn unsyncable() -> FileDisk {
        let (_, writer) = std::io::pipe().unwrap();
        let facts = crate::device::Facts {
            size: 4096,
            sector: 1,
            rotational: false,
            seeks_holes: false,
            punches: false,
            zeroes: false,
        };
        let info = Info {
            size: 4096,
            block: BlockSizes::default(),
            read_only: false,
            rotational: false,
            capabilities: Capabilities::NONE,
            read_piece: 4096,
            home: Home::Spread,
        };
        FileDisk(Arc::new(Disk {
            file: File::new(writer).unwrap(),
            extents: None,
            info,
            name: "pipe".to_owned(),
            zeroing: Zeroing::new(&facts),
            sync: SharedSync::new(),
            gate: Gate::default(),
        }))
    }

    #[test]
    fn a_failed_flush_fails_all_later_flushes_and_durable_writes_and_close() {
        let disk = unsyncable();
        let first = wait::flush(&disk).unwrap_err();
        assert!(first.chain().starts_with("cannot sync pipe: "), "{}", first.chain());
        let later = wait::flush(&disk).unwrap_err();
        assert_eq!(later.chain(), first.chain(), "the first error stays");
        let durable = Op::Write { offset: 0, payload: vec![1].into(), fua: true };
        assert_eq!(wait::call(&disk, durable).outcome.unwrap_err().chain(), first.chain());
        assert_eq!(disk.close().unwrap_err().chain(), first.chain());
    }

    /// A sink whose first reply waits for a second flush and then panics.
    #[derive(Debug)]
    struct Panics(std::sync::Barrier);

    impl nbdgate_api::Sink for Panics {
        fn piece(&self, _: u64, _: nbdgate_api::Piece) {}

        fn end(&self, _: u64, _: Result<(), Error>) {
            self.0.wait();
            self.0.wait();
            panic!("meant to panic");
        }
    }

    #[test]
    fn a_panicking_reply_does_not_strand_the_flushes_behind_it() {
        let disk = unsyncable();
        let sink = Arc::new(Panics(std::sync::Barrier::new(2)));
        disk.submit(Io { op: Op::Flush, reply: Reply::new(sink.clone(), 0) });
        sink.0.wait(); // its sync is over, its reply is not
        disk.0.sync.forgive();
        let behind: Vec<_> = (0..3).map(|_| wait::submit(&disk, Op::Flush)).collect();
        sink.0.wait();
        for flush in behind {
            assert!(flush.wait().outcome.unwrap_err().chain().starts_with("cannot sync pipe: "));
        }
    }

    #[test]
    fn all_flushes_waiting_for_a_failing_sync_fail() {
        let disk = unsyncable();
        let pending: Vec<_> = (0..100).map(|_| wait::submit(&disk, Op::Flush)).collect();
        for flush in pending {
            assert!(flush.wait().outcome.is_err());
        }
    }
}
