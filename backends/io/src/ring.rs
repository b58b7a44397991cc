//! The ring engine: runtime, and file operations on the calling thread's ring.
//!
//! A ring operation needs a `tokio_uring::fs::File`, which is bound to a thread and owns its descriptor. One is
//! made from a duplicate when a thread starts its first operation on a file, shared by the operations that
//! overlap with it, and closed with the last of them: an idle thread never keeps a file open, so closing a
//! [`File`](crate::File) needs no word to other threads.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::Future,
    io,
    os::fd::OwnedFd,
    rc::{Rc, Weak},
};

use tokio_uring::{
    buf::{BoundedBuf, IoBuf, IoBufMut},
    fs,
};

use crate::Buffer;

/// Submission entries of a ring, more than one turn of the thread submits as a rule: a full queue is submitted at once, in the
/// middle of an operation, where tokio-uring survives no error of the kernel. (With 8, direct reads at depth 32 gained 9 %.)
const ENTRIES: u32 = 256;
/// Completion entries of a ring. The kernel keeps what does not fit, at a higher cost.
const COMPLETIONS: u32 = 1024;

thread_local! {
    /// Whether this thread is inside `run`.
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    /// Operations in flight.
    static IN_FLIGHT: Cell<usize> = const { Cell::new(0) };
    /// Files with operations in flight, by identity.
    static FILES: RefCell<HashMap<u64, Weak<fs::File>>> = RefCell::default();
}

pub(crate) fn probe() -> io::Result<()> {
    // Making a runtime makes a ring; dropping it gives the ring back.
    runtime().map(drop)
}

fn runtime() -> io::Result<tokio_uring::Runtime> {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_cqsize(COMPLETIONS);
    let plain = ring.clone();
    // A completion does not interrupt the thread: at work, it sees it at its next system call; asleep, it is woken.
    ring.setup_coop_taskrun();
    let make = |ring| tokio_uring::Runtime::new(tokio_uring::builder().entries(ENTRIES).uring_builder(ring));
    match make(&ring) {
        // Linux before 5.19 does not know the flag.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => make(&plain),
        outcome => outcome,
    }
}

pub(crate) fn run<F: Future>(future: F) -> io::Result<F::Output> {
    struct Running;
    impl Drop for Running {
        fn drop(&mut self) {
            RUNNING.set(false);
        }
    }
    // Declared before the guard: tasks dropped with the runtime no longer see a ring.
    let runtime = runtime()?;
    RUNNING.set(true);
    let _running = Running;
    Ok(runtime.block_on(future))
}

/// Whether nothing is in flight on this thread's ring.
pub(crate) fn is_idle() -> bool {
    IN_FLIGHT.get() == 0
}

/// A file bound to this thread's ring, for one operation.
pub(crate) struct RingFile(Rc<fs::File>);

impl RingFile {
    fn new(file: Rc<fs::File>) -> Self {
        IN_FLIGHT.set(IN_FLIGHT.get() + 1);
        Self(file)
    }
}

impl Drop for RingFile {
    fn drop(&mut self) {
        IN_FLIGHT.set(IN_FLIGHT.get() - 1);
    }
}

/// The file for use on this thread's ring; `None` where the thread has no ring or descriptors have run out.
pub(crate) fn attach(identity: u64, descriptor: &OwnedFd) -> Option<RingFile> {
    if !RUNNING.get() {
        return None;
    }
    FILES.with_borrow_mut(|files| {
        if let Some(file) = files.get(&identity).and_then(Weak::upgrade) {
            return Some(RingFile::new(file));
        }
        files.retain(|_, file| file.strong_count() > 0);
        let file = Rc::new(fs::File::from_std(descriptor.try_clone().ok()?.into()));
        files.insert(identity, Rc::downgrade(&file));
        Some(RingFile::new(file))
    })
}

impl RingFile {
    /// Fills `buffer` from byte `start` of it on, from `offset` of the file on.
    pub(crate) fn read(
        self,
        mut buffer: Buffer,
        mut start: usize,
        mut offset: u64,
        done: impl FnOnce(Buffer, io::Result<()>) + 'static,
    ) {
        tokio::task::spawn_local(async move {
            let outcome = loop {
                if start == buffer.len() {
                    break Ok(());
                }
                let (outcome, slice) = self.0.read_at(buffer.slice(start..), offset).await;
                buffer = slice.into_inner();
                match outcome {
                    Ok(0) => break Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(count) => (start, offset) = (start + count, offset + count as u64),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => break Err(error),
                }
            };
            // Before the callback: what it ends may be the last use of the file.
            drop(self);
            done(buffer, outcome);
        });
    }

    /// Writes `buffer` from byte `start` of it on, at `offset` of the file.
    pub(crate) fn write(
        self,
        mut buffer: Buffer,
        mut start: usize,
        mut offset: u64,
        done: impl FnOnce(Buffer, io::Result<()>) + 'static,
    ) {
        tokio::task::spawn_local(async move {
            let outcome = loop {
                if start == buffer.len() {
                    break Ok(());
                }
                let (outcome, slice) = self.0.write_at(buffer.slice(start..), offset).submit().await;
                buffer = slice.into_inner();
                match outcome {
                    Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => (start, offset) = (start + count, offset + count as u64),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => break Err(error),
                }
            };
            drop(self);
            done(buffer, outcome);
        });
    }
}

// SAFETY: a buffer's memory does not move while it is owned, and all `len` bytes are initialised.
#[expect(unsafe_code, reason = "tokio-uring's contract for memory that the kernel writes to")]
unsafe impl IoBuf for Buffer {
    fn stable_ptr(&self) -> *const u8 {
        self.as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.len()
    }

    fn bytes_total(&self) -> usize {
        self.len()
    }
}

// SAFETY: as above; `set_init` has nothing to do because every byte is initialised from the start.
#[expect(unsafe_code, reason = "tokio-uring's contract for memory that the kernel writes to")]
unsafe impl IoBufMut for Buffer {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.as_mut_ptr()
    }

    unsafe fn set_init(&mut self, _length: usize) {}
}
