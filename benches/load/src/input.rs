//! The bytes a server sent and nobody parsed yet.

use std::os::fd::AsFd;

use anyhow::{Context, ensure};
use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};

/// Large enough for a batch of small replies, small enough to stay in a second-level cache.
const CAPACITY: usize = 256 << 10;
/// The least room to receive into; leftovers are moved to the front to have it.
const ROOM_MIN: usize = 64 << 10;

/// A receive buffer: `bytes[start..end]` is unread.
#[derive(Debug)]
pub(crate) struct Input {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

/// How to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Take what is there.
    No,
    /// Wait for the first byte, as long as the socket's timeout.
    ForBytes,
}

impl Input {
    /// An empty buffer.
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; CAPACITY].into(), start: 0, end: 0 }
    }

    /// Receives once, whatever there is; false if nothing came.
    pub(crate) fn receive(&mut self, socket: impl AsFd, wait: Wait) -> anyhow::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if CAPACITY - self.end < ROOM_MIN {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let flags = if wait == Wait::No { RecvFlags::DONTWAIT } else { RecvFlags::empty() };
        match recv(socket, &mut self.bytes[self.end..], flags) {
            Ok((_, count)) => {
                ensure!(count > 0, "the server closed the connection");
                self.end += count;
                Ok(true)
            }
            Err(Errno::AGAIN) => {
                ensure!(wait == Wait::No, "the server sent nothing for too long");
                Ok(false)
            }
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error).context("receive from the server"),
        }
    }

    /// What is not parsed yet.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Marks the first bytes as parsed.
    pub(crate) fn consume(&mut self, count: usize) {
        assert!(count <= self.end - self.start, "only unread bytes can be consumed");
        self.start += count;
    }
}
