//! Bytes from the client: a large buffer while there is something to read, none while idle, and payloads received
//! straight into their own memory where they are long.

use std::{
    cell::RefCell,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use nbdgate_api::Payload;
use nbdgate_io::Buffer;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// Bytes that one receive can bring.
const BUFFER_BYTES: usize = 256 << 10;
/// Less room than this in the buffer, and a fresh one is taken for the next receive.
const MIN_ROOM: usize = 64 << 10;
/// A payload that is not there yet and at least this long gets its own memory.
const OWN_MEMORY_BYTES: usize = 32 << 10;
/// A payload up to this many bytes is copied out of the receive buffer, so that a write which a backend keeps for long
/// cannot pin a buffer many times its size.
const COPIED_BYTES: usize = 4096;
/// Buffers that a thread keeps for its connections.
const KEPT_BUFFERS: usize = 8;

thread_local! {
    static KEPT: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// What has been received and not yet used.
#[derive(Debug, Default)]
pub(super) struct Input {
    buffer: BytesMut,
    /// A long payload on its way: its memory, and how much of it is filled.
    payload: Option<(Buffer, usize)>,
}

impl Input {
    /// Starts with what the handshake received beyond its last option.
    pub(super) fn new(leftover: BytesMut) -> Self {
        Self { buffer: leftover, payload: None }
    }

    /// What is there, in order.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Drops up to `count` bytes from the front; returns how many there were.
    pub(super) fn skip(&mut self, count: u64) -> u64 {
        let here = self.buffer.len().min(usize::try_from(count).unwrap_or(usize::MAX));
        self.buffer.advance(here);
        here as u64
    }

    /// Takes the payload of `length` bytes at the front; `None` until it has all been received.
    pub(super) fn take_payload(&mut self, length: usize) -> Option<Payload> {
        if let Some((buffer, filled)) = &mut self.payload {
            if *filled < buffer.len() {
                return None;
            }
            let (buffer, _) = self.payload.take().expect("it is there");
            return Some(buffer.freeze().into());
        }
        if self.buffer.len() >= length {
            return Some(self.take(length).into());
        }
        if length >= OWN_MEMORY_BYTES {
            let mut own = Buffer::new(length);
            let here = self.buffer.len();
            own[..here].copy_from_slice(&self.buffer);
            self.buffer.clear();
            self.payload = Some((own, here));
        }
        None
    }

    /// Receives once. Ready with zero at the end of the stream.
    pub(super) fn poll_receive<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Some((buffer, filled)) = &mut self.payload {
            let mut rest = ReadBuf::new(&mut buffer[*filled..]);
            std::task::ready!(Pin::new(stream).poll_read(cx, &mut rest))?;
            let count = rest.filled().len();
            *filled += count;
            return Poll::Ready(Ok(count));
        }
        self.make_room();
        pin!(stream.read_buf(&mut self.buffer)).poll(cx)
    }

    /// Lets an empty buffer go while there is nothing to receive.
    pub(super) fn rest(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > 0 {
            let buffer = std::mem::take(&mut self.buffer);
            KEPT.with_borrow_mut(|kept| {
                if kept.len() < KEPT_BUFFERS {
                    kept.push(buffer);
                }
            });
        }
    }

    fn take(&mut self, length: usize) -> Bytes {
        if length > COPIED_BYTES {
            return self.buffer.split_to(length).freeze();
        }
        let mut own = Buffer::new(length);
        own.copy_from_slice(&self.buffer[..length]);
        self.buffer.advance(length);
        own.freeze()
    }

    fn make_room(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() == 0 {
            self.buffer = KEPT.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        if self.buffer.capacity() - self.buffer.len() < MIN_ROOM {
            self.buffer.reserve(BUFFER_BYTES);
        }
    }
}
