//! A client without a socket: requests from a list, replies to nowhere.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use nbdgate::nbd::{
    proto::{
        ReplyStyle,
        constants::{NBD_CMD_READ, NBD_CMD_WRITE, NBD_REQUEST_MAGIC},
    },
    transmission::Transport,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    Case,
    disk::{DISK_BYTES, DiskKind},
};

/// Bytes of one request.
pub const BLOCK: u32 = 4 << 10;
/// Blocks of the disk; a script walks over all of them, not in order.
pub const BLOCKS: u64 = DISK_BYTES / BLOCK as u64;
/// Coprime to [`BLOCKS`].
const STRIDE: u64 = 37;

const SIMPLE_HEADER: u64 = 16;
const CHUNK_HEADER: u64 = 20;
/// Offset of a data chunk; offset and length of a hole chunk.
const DATA_HEADER: u64 = 8;
const HOLE: u64 = 12;

/// Which requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// READ.
    Read,
    /// WRITE.
    Write,
    /// READ and WRITE in turn.
    Mixed,
}

/// The stream of a connection. Ends after the last batch.
#[derive(Debug)]
pub struct Script<F> {
    batches: Vec<Vec<u8>>,
    /// Of the replies to one round of all `batches`.
    round_bytes: u64,
    /// Batches to hand out, and those begun.
    count: u64,
    begun: u64,
    /// How much of the current batch has been handed out.
    at: usize,
    /// Whether to be found empty before each batch, and the turn of the connection's task in which that happened.
    sleeps: bool,
    empty_in: Option<u64>,
    turns: Rc<Cell<u64>>,
    swallowed: Rc<Cell<u64>>,
    on_batch: F,
}

impl<F: FnMut(u64)> Script<F> {
    /// A script of so many batches.
    pub(crate) fn new(case: Case, count: u64, on_batch: F) -> Self {
        let depth = case.depth as u64;
        assert!(BLOCKS.is_multiple_of(depth), "batches of {depth} do not fill a round of {BLOCKS}");
        assert!(count.is_multiple_of(BLOCKS / depth), "{count} batches are no whole rounds");
        let (mut batches, mut round_bytes) = (Vec::new(), 0);
        for batch in 0..BLOCKS / depth {
            let mut bytes = Vec::new();
            for index in batch * depth..(batch + 1) * depth {
                let writes = case.load == Load::Write || case.load == Load::Mixed && index % 2 == 1;
                request(index, writes, &mut bytes);
                round_bytes += reply_bytes(case, writes);
            }
            batches.push(bytes);
        }
        Self {
            batches,
            round_bytes,
            count,
            begun: 0,
            at: 0,
            sleeps: case.sleeps,
            empty_in: None,
            turns: Rc::default(),
            swallowed: Rc::default(),
            on_batch,
        }
    }

    /// Bytes of all replies.
    pub(crate) fn reply_bytes(&self) -> u64 {
        self.count / self.batches.len() as u64 * self.round_bytes
    }

    /// Bytes of replies that have come.
    pub(crate) fn swallowed(&self) -> Rc<Cell<u64>> {
        self.swallowed.clone()
    }

    /// Turns of the connection's task, to be counted by whoever polls it.
    pub(crate) fn turns(&self) -> Rc<Cell<u64>> {
        self.turns.clone()
    }

    fn batch(&self) -> &[u8] {
        let rounds = self.batches.len() as u64;
        &self.batches[usize::try_from((self.begun - 1) % rounds).expect("an index")]
    }

    fn swallow(&self, bytes: usize) -> Poll<io::Result<usize>> {
        self.swallowed.set(self.swallowed.get() + bytes as u64);
        Poll::Ready(Ok(bytes))
    }
}

/// Appends a request, its payload included.
pub(crate) fn request(index: u64, writes: bool, out: &mut Vec<u8>) {
    out.extend(NBD_REQUEST_MAGIC.to_be_bytes());
    out.extend(0u16.to_be_bytes());
    out.extend(if writes { NBD_CMD_WRITE } else { NBD_CMD_READ }.to_be_bytes());
    out.extend(index.to_be_bytes());
    out.extend((index * STRIDE % BLOCKS * u64::from(BLOCK)).to_be_bytes());
    out.extend(BLOCK.to_be_bytes());
    if writes {
        out.resize(out.len() + BLOCK as usize, 0x5a);
    }
}

/// Bytes of the reply to one request, if it succeeds.
fn reply_bytes(case: Case, writes: bool) -> u64 {
    let data = u64::from(BLOCK);
    match case.style {
        // Structured replies are for content; the others stay simple.
        ReplyStyle::Simple | ReplyStyle::Structured if writes => SIMPLE_HEADER,
        ReplyStyle::Simple => SIMPLE_HEADER + data,
        ReplyStyle::Structured if case.disk == DiskKind::Hole => CHUNK_HEADER + HOLE,
        ReplyStyle::Structured => CHUNK_HEADER + DATA_HEADER + data,
        ReplyStyle::Extended => unreachable!("scripts speak compact headers"),
    }
}

// Nothing in it is ever pinned.
impl<F> Unpin for Script<F> {}

impl<F: FnMut(u64)> AsyncRead for Script<F> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let script = self.get_mut();
        if script.begun == 0 || script.at == script.batch().len() {
            if script.sleeps && script.empty_in.is_none_or(|turn| turn == script.turns.get()) {
                script.empty_in = Some(script.turns.get());
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            script.empty_in = None;
            (script.on_batch)(script.begun);
            if script.begun == script.count {
                return Poll::Ready(Ok(()));
            }
            script.begun += 1;
            script.at = 0;
        }
        let rest = &script.batch()[script.at..];
        let taken = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..taken]);
        script.at += taken;
        Poll::Ready(Ok(()))
    }
}

impl<F: FnMut(u64)> Transport for Script<F> {}

impl<F: FnMut(u64)> AsyncWrite for Script<F> {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.swallow(bytes.len())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.swallow(slices.iter().map(|slice| slice.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
