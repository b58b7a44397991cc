//! Bytes for the client: small things copied together, large ones gathered, one send for all of it.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use nbdgate_api::Payload;
use smallvec::SmallVec;
use tokio::io::AsyncWrite;

/// Payload slices up to this many bytes are copied next to their headers: cheaper than another slice to gather.
const COPY_BYTES: usize = 4096;
/// Slices handed to the kernel in one call.
const GATHER_SLICES: usize = 64;
/// An emptied buffer larger than this is given back.
const KEPT_BYTES: usize = 64 << 10;

/// Replies that wait to be sent, in order.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Before `tail`.
    slices: VecDeque<Bytes>,
    /// Headers and small payloads, still growing.
    tail: BytesMut,
    /// Bytes ever put in, and ever sent.
    queued: u64,
    sent: u64,
    /// Cost of requests to be given back when everything up to a position has been sent.
    costs: VecDeque<(u64, u32)>,
    pub(super) tally: Tally,
}

/// Structured or extended chunks written, by kind.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) data: u64,
    pub(super) hole: u64,
    pub(super) error: u64,
    pub(super) none: u64,
    pub(super) block_status: u64,
}

impl Output {
    /// Whether everything has been sent.
    pub(super) fn is_empty(&self) -> bool {
        self.queued == self.sent
    }

    /// Writes a header, or anything small, by `encode`.
    pub(super) fn encode(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        let before = self.tail.len();
        encode(&mut self.tail);
        self.queued += (self.tail.len() - before) as u64;
    }

    /// Appends payload.
    pub(super) fn payload(&mut self, payload: &Payload) {
        for slice in payload.slices() {
            if slice.len() <= COPY_BYTES {
                self.tail.extend_from_slice(slice);
            } else {
                if !self.tail.is_empty() {
                    self.slices.push_back(self.tail.split().freeze());
                }
                self.slices.push_back(slice.clone());
            }
        }
        self.queued += payload.len();
    }

    /// Marks the end of a request's reply: `cost` is due back once it is sent.
    pub(super) fn finish(&mut self, cost: u32) {
        self.costs.push_back((self.queued, cost));
    }

    /// The cost of the replies sent since the last call.
    pub(super) fn take_sent_cost(&mut self) -> u32 {
        let mut sum = 0;
        while self.costs.front().is_some_and(|(end, _)| *end <= self.sent) {
            sum += self.costs.pop_front().map_or(0, |(_, cost)| cost);
        }
        sum
    }

    /// Drops what has not been sent: the client is not there any more.
    pub(super) fn discard(&mut self) {
        self.slices.clear();
        self.tail.clear();
        self.sent = self.queued;
    }

    /// Sends until all is gone (ready, with whether anything was sent) or the socket is full (pending).
    pub(super) fn poll_send<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        let mut any = false;
        while !self.is_empty() {
            let sent = match self.poll_send_once(stream, cx) {
                Poll::Ready(sent) => sent?,
                Poll::Pending if any => return Poll::Ready(Ok(true)),
                Poll::Pending => return Poll::Pending,
            };
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(sent);
            any = true;
        }
        Poll::Ready(Ok(any))
    }

    /// Lets a large empty buffer go while there is nothing to send.
    pub(super) fn rest(&mut self) {
        if self.is_empty() && self.tail.capacity() > KEPT_BYTES {
            self.tail = BytesMut::new();
        }
    }

    fn poll_send_once<S: AsyncWrite + Unpin>(&self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.slices.is_empty() {
            return Pin::new(stream).poll_write(cx, &self.tail);
        }
        let mut gather: SmallVec<[IoSlice<'_>; GATHER_SLICES]> =
            self.slices.iter().take(GATHER_SLICES).map(|slice| IoSlice::new(slice)).collect();
        if gather.len() < GATHER_SLICES && !self.tail.is_empty() {
            gather.push(IoSlice::new(&self.tail));
        }
        Pin::new(stream).poll_write_vectored(cx, &gather)
    }

    fn advance(&mut self, sent: usize) {
        self.sent += sent as u64;
        let mut rest = sent;
        while let Some(front) = self.slices.front_mut() {
            if rest < front.len() {
                front.advance(rest);
                return;
            }
            rest -= front.len();
            self.slices.pop_front();
        }
        self.tail.advance(rest);
        if self.tail.is_empty() {
            self.tail.clear();
        }
    }
}
