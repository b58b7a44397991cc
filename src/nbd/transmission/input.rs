//! Bytes from the client: a large buffer while there is something to read, none while idle.
//!
//! A short payload is lent out of that buffer: a backend that is done with it when `submit` returns costs no copy. A long
//! one is received straight into memory of its own; as long as long ones come, little is received beyond them, so
//! that little of the next has to be moved.

use std::{
    cell::RefCell,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, BytesMut};
use nbdgate_api::Payload;
use nbdgate_io::Buffer;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// Bytes that one receive can bring.
const BUFFER_BYTES: usize = 256 << 10;
/// Less room than this in the buffer, and a fresh one is taken for the next receive.
const MIN_ROOM: usize = 64 << 10;
/// A payload at least this long gets its own memory.
const OWN_MEMORY_BYTES: usize = 32 << 10;
/// Bytes received at once after a long payload: the next header, and what comes with it.
const AFTER_LONG_BYTES: usize = 4096;
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
    /// The last payload was a long one.
    after_long: bool,
}

impl Input {
    /// Starts with what the handshake received beyond its last option.
    pub(super) fn new(leftover: BytesMut) -> Self {
        Self { buffer: leftover, payload: None, after_long: false }
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
        self.after_long = length >= OWN_MEMORY_BYTES;
        if self.after_long {
            let mut own = Buffer::new(length);
            let here = self.buffer.len().min(length);
            own[..here].copy_from_slice(&self.buffer[..here]);
            self.buffer.advance(here);
            if here == length {
                return Some(own.freeze().into());
            }
            self.payload = Some((own, here));
            return None;
        }
        (self.buffer.len() >= length).then(|| Payload::lent(self.buffer.split_to(length).freeze()))
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
        let most = if self.after_long { AFTER_LONG_BYTES } else { BUFFER_BYTES };
        pin!(stream.read_buf(&mut (&mut self.buffer).limit(most))).poll(cx)
    }

    /// Lets an empty buffer go while there is nothing to receive.
    pub(super) fn rest(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > 0 {
            self.keep(BytesMut::new());
        }
    }

    /// Goes on with another buffer, and keeps the old one if it is whole and nobody refers to it.
    fn keep(&mut self, next: BytesMut) {
        let mut old = std::mem::replace(&mut self.buffer, next);
        old.clear();
        if old.try_reclaim(BUFFER_BYTES) {
            KEPT.with_borrow_mut(|kept| {
                if kept.len() < KEPT_BUFFERS {
                    kept.push(old);
                }
            });
        }
    }

    /// Starts over at the front of the buffer where nothing else refers to it, so that it stays in the processor's
    /// cache; takes another one if that gives too little room.
    fn make_room(&mut self) {
        let left = self.buffer.len();
        if left == 0 && self.buffer.try_reclaim(BUFFER_BYTES) {
            return;
        }
        let wanted = BUFFER_BYTES.max(left + MIN_ROOM);
        if self.buffer.capacity() - left < MIN_ROOM && !self.buffer.try_reclaim(wanted - left) {
            let kept = KEPT.with_borrow_mut(Vec::pop).filter(|kept| kept.capacity() >= wanted);
            let mut fresh = kept.unwrap_or_else(|| BytesMut::with_capacity(wanted));
            fresh.extend_from_slice(&self.buffer);
            self.keep(fresh);
        }
    }
}
