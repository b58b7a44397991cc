//! The backend: takes requests apart by kind, counts them in and out, and closes.

use std::{path::Path, sync::Arc};

use nbdgate_api::{Backend, ByteRange, Error, Info, Io, Kind, Op, Reply};
use nbdgate_io::File;
use rustix::fs::Advice;

use crate::{
    extents::ExtentCache,
    gate::Gate,
    lock,
    open::{self, OpenOptions, Opened},
    read, status,
    sync::{Join, SharedSync},
    write,
    zero::Zeroing,
};

/// A raw image file or a block device.
#[derive(Debug)]
pub struct FileDisk(Arc<Disk>);

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
        let Some(request) = Ticket::new(&self.0) else {
            return io.reply.end(Err(Error::new(Kind::Shutdown, format!("{} is closed", self.0.name))));
        };
        let request = Pending { reply: io.reply, ticket: request };
        match io.op {
            Op::Read(range) => read::submit(request, range),
            Op::Write { offset, payload, fua } => write::submit(request, offset, payload, fua),
            Op::Flush => flush(request),
            Op::Trim { range, fua } => write::trim(request, range, fua),
            Op::WriteZeroes { range, zeroes, fua } => write::zero(request, range, zeroes, fua),
            Op::BlockStatus { range, req_one } => status::submit(request, range, req_one),
            Op::Cache(range) => cache(request, range),
        }
    }

    fn close(&self) -> Result<(), Error> {
        let disk = &self.0;
        disk.gate.close();
        let outcome = if disk.info.read_only { Ok(()) } else { disk.sync.sync(|| disk.sync_now()).0 };
        lock::release(std::os::fd::AsFd::as_fd(&disk.file));
        outcome
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

/// A request inside the gate.
#[derive(Debug)]
pub(crate) struct Ticket(Arc<Disk>);

impl Ticket {
    pub(crate) fn new(disk: &Arc<Disk>) -> Option<Self> {
        disk.gate.enter().then(|| Self(disk.clone()))
    }

    pub(crate) fn shared(&self) -> &Arc<Disk> {
        &self.0
    }
}

impl std::ops::Deref for Ticket {
    type Target = Disk;

    fn deref(&self) -> &Disk {
        &self.0
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.gate.leave();
    }
}

/// A request with its answer; ends with an I/O error if it is dropped. The reply ends before the gate is left.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) reply: Reply,
    pub(crate) ticket: Ticket,
}

impl Pending {
    pub(crate) fn end(self, outcome: Result<(), Error>) {
        self.reply.end(outcome);
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

fn sync(disk: &Arc<Disk>, batch: Vec<Pending>) {
    let this = disk.clone();
    disk.file.run(move |_| {
        let (outcome, next) = this.sync.sync(|| this.sync_now());
        if let Err(error) = &outcome {
            tracing::error!(image = this.name, error = error.chain(), "flushes fail until the image is opened again");
        }
        // First, so that nothing that goes wrong while replying can keep them waiting.
        if !next.is_empty() {
            sync(&this, next);
        }
        for request in batch {
            request.end(outcome.as_ref().copied().map_err(Error::duplicate));
        }
    });
}

/// Reads ahead. A hint: a failure is not told.
fn cache(request: Pending, range: ByteRange) {
    let file = request.ticket.file.clone();
    file.run(move |file| {
        if let Err(error) =
            rustix::fs::fadvise(file, range.offset(), std::num::NonZeroU64::new(range.length()), Advice::WillNeed)
        {
            tracing::debug!(%error, image = request.ticket.name, "cannot read ahead");
        }
        request.end(Ok(()));
    });
}
