//! The link through io_uring: the send of one batch and the receive of the next in one system call.
//!
//! The two are linked: a send that falls short of its whole cancels the receive, and both are tried again. Otherwise
//! the wait for both would be one for a client that itself waits for the rest of its replies.

use std::{
    io::{self, IoSlice},
    os::fd::{AsRawFd, OwnedFd},
    process,
};

use io_uring::{
    IoUring, opcode,
    squeue::{Entry, Flags},
    types::Fd,
};

use crate::link::{Link, SLICES};

/// Operations in flight: a send and a receive.
const ENTRIES: u32 = 2;
/// Marks the receive; the send is 0.
const RECEIVE: u64 = 1;

/// A socket and the ring of its thread.
pub(crate) struct Ring {
    ring: IoUring,
    socket: OwnedFd,
}

impl Ring {
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        // Completions are handled when they are waited for. Kernels before 6.1 know nothing of that.
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(ENTRIES)
            .or_else(|_| IoUring::new(ENTRIES))?;
        Ok(Self { ring, socket })
    }

    /// Does the operations, and returns when all of them have ended: what the send and the receive came to.
    fn complete(&mut self, operations: &[Entry]) -> [Option<i32>; 2] {
        for operation in operations {
            // SAFETY: `turn` keeps what the operations point to until this returns, and this returns when all have ended.
            #[expect(unsafe_code, reason = "operations name memory by address")]
            let pushed = unsafe { self.ring.submission().push(operation) };
            pushed.expect("there are no more operations than entries");
        }
        let mut outcomes = [None; 2];
        let mut left = operations.len();
        while left > 0 {
            match self.ring.submit_and_wait(left) {
                Ok(_) => {}
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)) => {}
                // The kernel may still write to memory that is about to be freed.
                Err(_) => process::abort(),
            }
            for completion in self.ring.completion() {
                outcomes[usize::from(completion.user_data() == RECEIVE)] = Some(completion.result());
                left -= 1;
            }
        }
        outcomes
    }
}

impl Link for Ring {
    fn turn(&mut self, mut send: &mut [IoSlice<'_>], receive: &mut [u8]) -> io::Result<usize> {
        let socket = Fd(self.socket.as_raw_fd());
        let mut received = if receive.is_empty() { Some(0) } else { None };
        while !send.is_empty() || received.is_none() {
            let message = message(send);
            let mut operations = smallvec::SmallVec::<[Entry; 2]>::new();
            if !send.is_empty() {
                let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
                let send = opcode::SendMsg::new(socket, &raw const message).flags(flags.cast_unsigned()).build();
                operations.push(if received.is_none() { send.flags(Flags::IO_LINK) } else { send });
            }
            if received.is_none() {
                let length = u32::try_from(receive.len()).unwrap_or(u32::MAX);
                operations.push(opcode::Recv::new(socket, receive.as_mut_ptr(), length).build().user_data(RECEIVE));
            }
            let [sent, came] = self.complete(&operations);
            if let Some(sent) = sent {
                IoSlice::advance_slices(&mut send, count(sent)?);
            }
            if let Some(came) = came
                && came != -libc::ECANCELED
            {
                received = Some(count(came)?);
            }
        }
        Ok(received.unwrap_or(0))
    }
}

/// A message of these slices, as many as one call takes.
fn message(slices: &mut [IoSlice<'_>]) -> libc::msghdr {
    // SAFETY: the structure is plain numbers and pointers, and zero is right for each.
    #[expect(unsafe_code, reason = "its padding is private, so that it cannot be written out")]
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // IoSlice is documented to be laid out as iovec.
    message.msg_iov = slices.as_mut_ptr().cast();
    message.msg_iovlen = slices.len().min(SLICES);
    message
}

/// The result of an operation.
fn count(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}
