//! Where requests are submitted from, images to open, and their content read behind the backend's back.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use nbdgate_api::{Backend, Error, Info, Io, Op};
use nbdgate_file::{FileDisk, OpenOptions};
use nbdgate_io::{Engine, probe};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// The thread that submits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Submitter {
    /// The test's own, without a runtime.
    Plain,
    /// An I/O thread of this engine.
    Engine(Engine),
}

/// All that this kernel has.
pub(crate) fn submitters() -> Vec<Submitter> {
    let mut all = vec![Submitter::Plain, Submitter::Engine(Engine::Epoll)];
    match probe() {
        Ok(()) => all.push(Submitter::Engine(Engine::Uring)),
        Err(error) => println!("this kernel refuses io_uring: {error}"),
    }
    all
}

/// A disk whose requests are submitted by a chosen thread.
pub(crate) struct Placed {
    disk: Arc<FileDisk>,
    thread: Option<(UnboundedSender<Message>, JoinHandle<()>)>,
}

/// What the submitting thread is told.
enum Message {
    Submit(Io),
    /// All that came before has been submitted.
    Mark(SyncSender<()>),
}

impl Placed {
    pub(crate) fn new(disk: FileDisk, submitter: Submitter) -> Self {
        let disk = Arc::new(disk);
        let Submitter::Engine(engine) = submitter else { return Self { disk, thread: None } };
        let (sender, mut receiver) = unbounded_channel();
        let inner = disk.clone();
        let thread = std::thread::spawn(move || {
            let serve = async move {
                while let Some(message) = receiver.recv().await {
                    match message {
                        Message::Submit(io) => inner.submit(io),
                        Message::Mark(sender) => sender.send(()).unwrap(),
                    }
                }
            };
            engine.run(serve).unwrap();
        });
        Self { disk, thread: Some((sender, thread)) }
    }
}

impl Backend for Placed {
    fn info(&self) -> &Info {
        self.disk.info()
    }

    fn submit(&self, mut io: Io) {
        match &self.thread {
            Some((sender, _)) => {
                // The thread reads them after this has returned (B11).
                if let Op::Write { payload, .. } = &mut io.op {
                    payload.detach();
                }
                assert!(sender.send(Message::Submit(io)).is_ok(), "the thread lives as long");
            }
            None => self.disk.submit(io),
        }
    }

    fn close(&self) -> Result<(), Error> {
        if let Some((sender, _)) = &self.thread {
            // What is on its way to the thread is in flight for the caller, but not yet for the disk.
            let (mark, reached) = sync_channel(1);
            assert!(sender.send(Message::Mark(mark)).is_ok(), "the thread lives as long");
            reached.recv().unwrap();
        }
        self.disk.close()
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.thread.take() {
            drop(sender);
            // A reply may be the last to hold the disk.
            if thread.thread().id() != std::thread::current().id() {
                thread.join().unwrap();
            }
        }
    }
}

/// A directory of its own, on the file system of the target directory.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A sparse image.
    pub(crate) fn sparse(&self, size: u64) -> PathBuf {
        let path = self.path("image");
        std::fs::File::create(&path).unwrap().set_len(size).unwrap();
        path
    }

    /// An image full of a byte.
    pub(crate) fn full(&self, size: usize, byte: u8) -> PathBuf {
        let path = self.path("image");
        std::fs::write(&path, vec![byte; size]).unwrap();
        path
    }
}

pub(crate) fn open(path: &Path) -> Result<FileDisk, Error> {
    FileDisk::open(path, OpenOptions::default())
}

pub(crate) fn open_read_only(path: &Path) -> Result<FileDisk, Error> {
    FileDisk::open(path, OpenOptions { read_only: true, ..OpenOptions::default() })
}

pub(crate) fn open_direct(path: &Path) -> Result<FileDisk, Error> {
    FileDisk::open(path, OpenOptions { direct: true, ..OpenOptions::default() })
}
