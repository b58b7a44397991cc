//! The way to the client and back, and the plainer of its two kinds.

use std::{
    io::{self, IoSlice},
    os::fd::OwnedFd,
};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendAncillaryBuffer, SendFlags},
};

/// Slices of one send: IOV_MAX of Linux.
pub(crate) const SLICES: usize = 1024;

/// Moves bytes.
pub(crate) trait Link {
    /// Sends all of `send`, and receives into `receive` once if it is not empty. Returns how many bytes came; zero at the
    /// end of the stream.
    fn turn(&mut self, send: &mut [IoSlice<'_>], receive: &mut [u8]) -> io::Result<usize>;
}

/// One system call for each direction.
#[derive(Debug)]
pub(crate) struct Socket(pub(crate) OwnedFd);

impl Link for Socket {
    fn turn(&mut self, mut send: &mut [IoSlice<'_>], receive: &mut [u8]) -> io::Result<usize> {
        while !send.is_empty() {
            let part = &send[..send.len().min(SLICES)];
            let sent = retry(|| {
                rustix::net::sendmsg(&self.0, part, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)
            })?;
            IoSlice::advance_slices(&mut send, sent);
        }
        if receive.is_empty() {
            return Ok(0);
        }
        let (_, received) = retry(|| rustix::net::recv(&self.0, &mut *receive, RecvFlags::empty()))?;
        Ok(received)
    }
}

/// Again after a signal.
fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            outcome => return Ok(outcome?),
        }
    }
}
