//! Connections over a socket pair, driven by a client that shares no code with the server.

mod answer;
mod broken;
mod client;
mod ending;
mod hostile;
mod large;
mod limits;
mod order;
mod placed;
mod random;
mod replies;
mod requests;
mod waking;

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use nbdgate_api::{Backend, Error, Info, Io};
use nbdgate_memory::Memory;
use tokio::runtime::Builder;

use self::client::{Client, Style};
use super::*;
use crate::{
    export::Export,
    nbd::proto::{MetaContext, ReplyStyle, Shape},
    scheduler::permits::Budget,
};

const MIB: u32 = 1 << 20;
/// Nothing in these tests takes longer unless it hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// An export and what its connections share.
struct Server {
    export: Arc<Export>,
    limits: Limits,
}

/// The server's side of one connection.
struct Served {
    queue: Arc<Queue>,
    end: mpsc::Receiver<End>,
}

impl Server {
    /// Limits that no test reaches by accident.
    fn new(backend: Arc<dyn Backend>) -> Self {
        Self::bounded(backend, 256 * MIB, 512 * MIB, 128 * MIB)
    }

    fn bounded(backend: Arc<dyn Backend>, export: u32, total: u32, connection: u32) -> Self {
        let export = Export::new("disk".parse().unwrap(), String::new(), backend, false, Budget::new(export));
        Self { export: Arc::new(export), limits: Limits { total: Budget::new(total), connection } }
    }

    fn memory(size: u64) -> Self {
        Self::new(Arc::new(Memory::new(size).unwrap()))
    }

    fn shape(&self, style: Style) -> Shape {
        let info = self.export.info();
        // SEND_DF, BLOCK_STATUS_PAYLOAD
        let (style, more, context) = match style {
            Style::Simple => (ReplyStyle::Simple, 0, None),
            Style::Structured => (ReplyStyle::Structured, 1 << 7, Some(MetaContext::Allocation)),
            Style::Extended => (ReplyStyle::Extended, 1 << 7 | 1 << 12, Some(MetaContext::Allocation)),
        };
        Shape {
            size: info.size,
            minimum_block: info.block.minimum,
            maximum_payload: info.block.maximum_payload,
            // HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES, MULTI_CONN, CACHE, FAST_ZERO
            flags: 0b1101_0110_1101 | more,
            style,
            contexts: context.into_iter().collect(),
        }
    }

    /// A client whose connection runs on a thread of its own.
    fn connect(&self, style: Style) -> Client {
        self.connect_with(style, &[])
    }

    /// A client that selected dirty bitmaps too, whose connection runs on a thread of its own.
    fn connect_with(&self, style: Style, bitmaps: &[&str]) -> Client {
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let stream = {
            let _context = runtime.enter();
            Stream::attach(Socket::Unix(far)).unwrap()
        };
        let mut shape = self.shape(style);
        (0..).zip(bitmaps).for_each(|(number, _)| {
            shape.contexts.insert(MetaContext::Bitmap(number));
        });
        let connection = Connection::new(stream, self.export.clone(), shape, BytesMut::new(), &self.limits)
            .with_bitmaps(bitmaps.iter().map(|name| (*name).into()).collect());
        let queue = connection.queue().clone();
        let (tell, end) = mpsc::channel();
        thread::spawn(move || {
            // Nobody listens any more if the test failed.
            let _ = tell.send(runtime.block_on(connection.run()));
        });
        Client::new(near, style, Served { queue, end })
    }

    /// Every connection having ended, nobody holds anything of the budgets.
    fn assert_all_given_back(&self) {
        let (export, total) = (self.export.budget(), &self.limits.total);
        assert_eq!(export.available(), export.limit(), "budget of the export");
        assert_eq!(total.available(), total.limit(), "total budget");
    }
}

/// A backend that answers as it is told to.
struct Scripted<F> {
    info: Info,
    answer: F,
}

impl<F: Fn(Io) + Send + Sync + 'static> Scripted<F> {
    fn new(size: u64, answer: F) -> Arc<Self> {
        Arc::new(Self { info: Memory::new(size).unwrap().info().clone(), answer })
    }
}

impl<F: Fn(Io) + Send + Sync + 'static> Backend for Scripted<F> {
    fn info(&self) -> &Info {
        &self.info
    }

    fn submit(&self, io: Io) {
        (self.answer)(io);
    }

    fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Waits until other threads have made something true.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what} did not come true");
        thread::yield_now();
    }
}

/// Bytes that differ from place to place, none of them zero.
fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0_u8..=250)
        .cycle()
        .zip((0_u8..=255).flat_map(|block| [block; 1009]).cycle())
        .map(|(i, block)| i ^ block ^ seed | 1)
        .take(length)
        .collect()
}
