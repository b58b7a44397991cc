//! One connection in the transmission phase: requests out in batches, replies in in batches.
//!
//! Every request occupies a slot from `issue` to `release`. A cookie is the slot's number below a sequence number, so
//! a reply to nothing, or a second one to the same request, is found out.

use std::{
    collections::VecDeque,
    io::IoSlice,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Instant,
};

use anyhow::{Context, bail, ensure};
use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendFlags, sendmsg},
};
use smallvec::SmallVec;

use crate::{
    input::{Input, Wait},
    slots::Slots,
    wire::{self, Command, Part, REQUEST_LENGTH, Reply, Request},
};

/// Requests of one sendmsg; the kernel takes 1024 pieces.
const BATCH_MAX: usize = 256;

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    structured: bool,
    /// Keep what is read in the slots' payloads.
    keep: bool,
    slots: Slots,
    pending: Vec<Option<Pending>>,
    free: Vec<u32>,
    sequence: u32,
    /// Slots that are not sent yet; of the first one `sent` bytes are.
    unsent: VecDeque<u32>,
    sent: usize,
    input: Input,
    data: Option<Data>,
}

/// A request in flight.
#[derive(Clone, Copy, Debug)]
struct Pending {
    request: Request,
    cookie: u64,
    started: Instant,
    received: u32,
    error: u32,
    is_sent: bool,
}

/// The bytes of a read that are due on the socket.
#[derive(Clone, Copy, Debug)]
struct Data {
    slot: u32,
    /// Offset in the request.
    at: usize,
    remaining: usize,
    done: bool,
}

/// A request that was answered. Its slot is its own until it is released.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finished {
    pub(crate) slot: u32,
    pub(crate) request: Request,
    pub(crate) started: Instant,
    /// The error number of the protocol; 0 is success.
    pub(crate) error: u32,
}

/// What a connection is made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) depth: u32,
    /// Bytes of a slot's payload.
    pub(crate) payload: usize,
    pub(crate) structured: bool,
    /// Whether what is read is kept in the payload.
    pub(crate) keep: bool,
}

impl Connection {
    /// Takes a negotiated socket.
    pub(crate) fn new(socket: OwnedFd, shape: Shape) -> Self {
        Self {
            socket,
            structured: shape.structured,
            keep: shape.keep,
            slots: Slots::new(shape.depth as usize, shape.payload),
            pending: vec![None; shape.depth as usize],
            free: (0..shape.depth).rev().collect(),
            sequence: 0,
            unsent: VecDeque::new(),
            sent: 0,
            input: Input::new(),
            data: None,
        }
    }

    /// The socket, for polling.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether `issue` may be called.
    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Whether something waits for the socket to take it.
    pub(crate) fn wants_to_send(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Queues a request; the caller fills the returned payload before `send`.
    pub(crate) fn issue(&mut self, request: Request, started: Instant) -> &mut [u8] {
        let slot = self.free.pop().expect("the caller asked for room");
        self.sequence = self.sequence.wrapping_add(1);
        let cookie = u64::from(self.sequence) << 32 | u64::from(slot);
        request.encode(cookie, self.slots.header_mut(slot));
        let pending = Pending { request, cookie, started, received: 0, error: 0, is_sent: false };
        self.pending[slot as usize] = Some(pending);
        self.unsent.push_back(slot);
        self.slots.payload_mut(slot)
    }

    /// The payload of a finished read.
    pub(crate) fn payload(&self, slot: u32) -> &[u8] {
        self.slots.payload(slot)
    }

    /// Gives the slot of a finished request back.
    pub(crate) fn release(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// Sends what the socket takes now.
    pub(crate) fn send(&mut self) -> anyhow::Result<()> {
        while !self.unsent.is_empty() {
            let mut pieces = SmallVec::<[IoSlice<'_>; BATCH_MAX]>::new();
            let mut skip = self.sent;
            for &slot in self.unsent.iter().take(BATCH_MAX) {
                pieces.push(IoSlice::new(&self.message(slot)[skip..]));
                skip = 0;
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let outcome = sendmsg(&self.socket, &pieces, &mut SendAncillaryBuffer::default(), flags);
            drop(pieces);
            match outcome {
                Ok(count) => self.mark_sent(count),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("send to the server"),
            }
        }
        Ok(())
    }

    fn message(&self, slot: u32) -> &[u8] {
        let request = self.pending[slot as usize].expect("an unsent slot has its request").request;
        let payload = if request.command == Command::Write { request.length as usize } else { 0 };
        self.slots.message(slot, payload)
    }

    fn mark_sent(&mut self, count: usize) {
        self.sent += count;
        while let Some(&slot) = self.unsent.front() {
            let length = self.message(slot).len();
            if self.sent < length {
                break;
            }
            self.sent -= length;
            self.unsent.pop_front();
            self.pending_mut(slot).is_sent = true;
        }
    }

    /// Receives once; false if nothing came.
    pub(crate) fn receive(&mut self, wait: Wait) -> anyhow::Result<bool> {
        self.input.receive(&self.socket, wait)
    }

    /// The next request that what was received finishes.
    pub(crate) fn next_finished(&mut self) -> anyhow::Result<Option<Finished>> {
        loop {
            if let Some(data) = self.data.take() {
                self.take_data(data);
                if self.data.is_some() {
                    return Ok(None);
                }
                if data.done {
                    return self.finish(data.slot).map(Some);
                }
            }
            let Some((reply, used)) = wire::parse(self.input.unread())? else { return Ok(None) };
            self.input.consume(used);
            if let Some(slot) = self.accept(reply)? {
                return self.finish(slot).map(Some);
            }
        }
    }

    /// Takes the bytes of a read that are there; what is still due stays in `self.data`.
    fn take_data(&mut self, data: Data) {
        let bytes = self.input.unread();
        let count = bytes.len().min(data.remaining);
        if self.keep {
            self.slots.payload_mut(data.slot)[data.at..data.at + count].copy_from_slice(&bytes[..count]);
        }
        self.input.consume(count);
        if count < data.remaining {
            self.data = Some(Data { at: data.at + count, remaining: data.remaining - count, ..data });
        }
    }

    /// Notes one reply; tells the slot if the reply ends it. The bytes of a read, which follow, end it otherwise.
    fn accept(&mut self, reply: Reply) -> anyhow::Result<Option<u32>> {
        let (slot, pending) = self.find(reply.cookie)?;
        let (is_read, request) = (pending.request.command == Command::Read, pending.request);
        let is_simple = matches!(reply.part, Part::Simple { .. });
        ensure!(self.structured || is_simple, "the server sent a chunk that was not negotiated");
        ensure!(!(self.structured && is_simple && is_read), "the server sent a simple reply to a read");
        match reply.part {
            Part::Simple { error: 0 } if is_read => {
                self.expect_data(slot, request.offset, request.length, true)?;
                return Ok(None);
            }
            Part::Simple { error } | Part::Error { error } => self.pending_mut(slot).error = error,
            Part::Nothing => {}
            Part::Data { offset, length } => {
                ensure!(is_read, "the server sent data that nobody asked for");
                self.expect_data(slot, offset, length, reply.done)?;
                return Ok(None);
            }
            Part::Hole { offset, length } => {
                ensure!(is_read, "the server sent a hole that nobody asked for");
                let at = self.pending_mut(slot).cover(offset, length)?;
                if self.keep {
                    self.slots.payload_mut(slot)[at..at + length as usize].fill(0);
                }
            }
        }
        Ok(reply.done.then_some(slot))
    }

    /// The request that a cookie belongs to.
    fn find(&self, cookie: u64) -> anyhow::Result<(u32, Pending)> {
        let slot = u32::try_from(cookie & 0xffff_ffff).expect("32 bits were left");
        let pending = self.pending.get(slot as usize).copied().flatten();
        let Some(pending) = pending.filter(|pending| pending.cookie == cookie) else {
            bail!("the server answered cookie {cookie:#x}, which is not in flight");
        };
        ensure!(pending.is_sent, "the server answered a request before it had all of it");
        Ok((slot, pending))
    }

    fn pending_mut(&mut self, slot: u32) -> &mut Pending {
        self.pending[slot as usize].as_mut().expect("the slot's request is in flight")
    }

    fn expect_data(&mut self, slot: u32, offset: u64, length: u32, done: bool) -> anyhow::Result<()> {
        let at = self.pending_mut(slot).cover(offset, length)?;
        self.data = Some(Data { slot, at, remaining: length as usize, done });
        Ok(())
    }

    fn finish(&mut self, slot: u32) -> anyhow::Result<Finished> {
        let Pending { request, started, received, error, .. } =
            self.pending[slot as usize].take().expect("a slot is finished once");
        let is_whole = request.command != Command::Read || error != 0 || received == request.length;
        ensure!(is_whole, "the server delivered {received} bytes of a read of {}", request.length);
        Ok(Finished { slot, request, started, error })
    }

    /// Says goodbye; the server closes the connection.
    pub(crate) fn disconnect(mut self) -> anyhow::Result<()> {
        assert!(self.unsent.is_empty(), "a connection is drained before it is closed");
        let mut header = [0; REQUEST_LENGTH];
        self.sequence = self.sequence.wrapping_add(1);
        Request { command: Command::Disc, offset: 0, length: 0 }.encode(u64::from(self.sequence) << 32, &mut header);
        rustix::net::send(&self.socket, &header, SendFlags::NOSIGNAL).context("send DISC")?;
        Ok(())
    }
}

impl Pending {
    /// Counts a part of a read and tells its offset in the request.
    fn cover(&mut self, offset: u64, length: u32) -> anyhow::Result<usize> {
        let Request { offset: start, length: whole, .. } = self.request;
        let at = offset.checked_sub(start).filter(|at| at + u64::from(length) <= u64::from(whole));
        let Some(at) = at else {
            bail!("the server sent {length} bytes at {offset} for a read of {whole} bytes at {start}");
        };
        self.received = self
            .received
            .checked_add(length)
            .filter(|sum| *sum <= whole)
            .with_context(|| format!("the server sent parts of a read of {whole} bytes at {start} that overlap"))?;
        Ok(usize::try_from(at)?)
    }
}
