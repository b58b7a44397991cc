//! A connection without a socket: the whole path of a request from received bytes to sent bytes, and nothing around it.
//!
//! A [`Script`] stands where the socket would be. It hands out prepared batches of requests, swallows the replies and
//! is always ready, so what remains is the gateway's own work in user space, and, where the disk is a file, its
//! system calls. The bench counts its instructions under callgrind, a test its allocations.
//!
//! Absent: sockets, handshakes, threads, and a check of the data read, which the tests of the data path make.

pub mod codec;
pub mod disk;
pub mod script;

use std::{io, path::Path, pin::pin, sync::Arc};

use bytes::BytesMut;
use nbdgate::{
    export::Export,
    nbd::{
        proto::ReplyStyle,
        transmission::{Connection, End, Limits},
    },
    scheduler::permits::Budget,
};
use nbdgate_io::Engine;

use crate::{
    disk::DiskKind,
    script::{Load, Script},
};

/// Enough for every request of the deepest script, so that permits are taken but never waited for, in bytes.
pub const WIDE: u32 = 64 << 20;

/// What is asked of which disk, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Which storage, and whether there is anything in it.
    pub disk: DiskKind,
    /// Which requests.
    pub load: Load,
    /// What option haggling would have agreed on.
    pub style: ReplyStyle,
    /// Requests of one receive.
    pub depth: usize,
    /// Whether the connection finds nothing to receive before each batch, and sleeps, as between those of a client.
    pub sleeps: bool,
}

/// A case and the storage it needs.
#[derive(Debug)]
pub struct Rig {
    case: Case,
    disk: disk::Disk,
}

impl Rig {
    /// Makes the disk; an image file lies in `directory`. The export's metrics reach the recorder of the caller, if there
    /// is one.
    ///
    /// # Errors
    /// The image cannot be made.
    pub fn new(case: Case, directory: &Path) -> anyhow::Result<Self> {
        let rig = Self { case, disk: disk::Disk::new(case.disk, directory)? };
        if case.disk != DiskKind::Hole {
            let fill = Case { load: Load::Write, style: ReplyStyle::Simple, depth: 1, sleeps: false, ..case };
            let script = Script::new(fill, script::BLOCKS, |_| ());
            serve(&rig.disk.export, fill, script, WIDE)?;
        }
        Ok(rig)
    }

    /// Serves so many batches on the calling thread. `on_batch` is called before each is handed out, with its number,
    /// and once more at the end: everything before it has been answered and sent by then, where the disk answers
    /// inline.
    ///
    /// # Errors
    /// The runtime cannot be made.
    pub fn serve(&self, batches: u64, on_batch: impl FnMut(u64)) -> io::Result<()> {
        self.serve_within(WIDE, batches, on_batch)
    }

    /// As [`Rig::serve`], for a connection that may have `limit` bytes in flight.
    ///
    /// # Errors
    /// The runtime cannot be made.
    pub fn serve_within(&self, limit: u32, batches: u64, on_batch: impl FnMut(u64)) -> io::Result<()> {
        serve(&self.disk.export, self.case, Script::new(self.case, batches, on_batch), limit)
    }
}

fn serve<F: FnMut(u64)>(export: &Arc<Export>, case: Case, script: Script<F>, limit: u32) -> io::Result<()> {
    let shape = codec::shape(case.style);
    let limits = Limits { total: Budget::new(WIDE), connection: limit };
    let (expected, swallowed, turns) = (script.reply_bytes(), script.swallowed(), script.turns());
    let connection = Connection::new(script, export.clone(), shape, BytesMut::new(), &limits);
    let mut run = pin!(connection.run());
    let end = Engine::Epoll.run(std::future::poll_fn(|cx| {
        turns.set(turns.get() + 1);
        run.as_mut().poll(cx)
    }))?;
    assert!(matches!(end, End::Closed), "the connection ended with {end:?}");
    // A read that missed the page cache may end after its data has left, and then takes a chunk more to say so.
    assert!(swallowed.get() >= expected, "{} bytes of replies to {case:?} instead of {expected}", swallowed.get());
    Ok(())
}
