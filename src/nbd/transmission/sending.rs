//! Bytes of a file on their way to a client, out of the page cache where the socket can.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use nbdgate_api::{ByteRange, Error, Kind, Piece, Stored};
use nbdgate_io::Buffer;
use tokio::io::{AsyncRead, AsyncWrite, Interest};

use super::stream::Stream;

/// Bytes read at once where the socket takes none from a file.
const STEP: usize = 64 << 10;

/// A connected socket, or what stands for one.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// Sends up to `length` bytes of `file` from `at` on; tells how many. The way of a transport that cannot do better is to
    /// read and to write them.
    ///
    /// # Errors
    /// The transport or the file failed, or the file ends before `at`.
    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: BorrowedFd<'_>,
        at: u64,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = Buffer::new(length.min(STEP));
        read_exactly(file, &mut buffer, at)?;
        Pin::new(self).poll_write(cx, &buffer)
    }
}

impl Transport for Stream {
    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: BorrowedFd<'_>,
        at: u64,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        fn send(socket: impl AsFd, file: BorrowedFd<'_>, mut at: u64, length: usize) -> io::Result<usize> {
            match rustix::fs::sendfile(socket, file, Some(&mut at), length)? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                count => Ok(count),
            }
        }
        loop {
            let sent = match self {
                Self::Tcp(stream) => {
                    ready!(stream.poll_write_ready(cx))?;
                    stream.try_io(Interest::WRITABLE, || send(&*stream, file, at, length))
                }
                Self::Unix(stream) => {
                    ready!(stream.poll_write_ready(cx))?;
                    stream.try_io(Interest::WRITABLE, || send(&*stream, file, at, length))
                }
            };
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

/// Has the bytes read after all, for an answer that has to be put together.
pub(super) fn read(stored: &Stored) -> Piece {
    let mut buffer = Buffer::new(stored.length as usize);
    match read_exactly(stored.file.as_fd(), &mut buffer, stored.at) {
        Ok(()) => Piece::Data { offset: stored.offset, bytes: buffer.freeze() },
        Err(error) => {
            let range = ByteRange::between(stored.offset, stored.offset + u64::from(stored.length));
            Piece::Failed(range, Error::new(Kind::Io, format!("reading {range} of an image")).with_source(error))
        }
    }
}

fn read_exactly(file: BorrowedFd<'_>, mut target: &mut [u8], mut at: u64) -> io::Result<()> {
    while !target.is_empty() {
        match rustix::io::pread(file, &mut *target, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                target = &mut target[count..];
                at += count as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod doubles {
    use tokio::io::DuplexStream;

    use super::Transport;

    impl Transport for DuplexStream {}
}
