//! The client's bytes while haggling: whole options out of a bounded buffer.

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::outcome::Ended;
use crate::nbd::proto::option::{OPTION_HEADER_BYTES, OptionHeader};

/// Longest option data that is looked at: the longest export name with a few hundred queries. Longer data are read
/// in pieces and dropped.
pub const MAX_OPTION_BYTES: u32 = 64 << 10;

/// Longest option data that are dropped; a client that announces more is disconnected.
pub const MAX_SKIPPED_BYTES: u32 = 32 << 20;

/// Bytes read at a time while dropping.
const SKIP_PIECE: usize = 16 << 10;

/// An option's data.
#[derive(Clone, Copy, Debug)]
pub(super) enum Data<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// More than [`MAX_OPTION_BYTES`], read and dropped.
    Oversized,
}

impl Data<'_> {
    /// Whether the option came without data.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Whole([]))
    }
}

/// Received and not yet used.
#[derive(Debug, Default)]
pub(super) struct Input {
    buffer: BytesMut,
    /// Bytes at the front that belong to the option handed out last.
    used: usize,
}

impl Input {
    /// The four bytes after the greeting.
    pub(super) async fn client_flags<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<u32, Ended> {
        self.fill(stream, 4, "client flags").await?;
        Ok(self.buffer.get_u32())
    }

    /// The next option. Its bytes stay in the buffer until [`Input::consume`].
    pub(super) async fn option<S>(&mut self, stream: &mut S) -> Result<(OptionHeader, Data<'_>), Ended>
    where
        S: AsyncRead + Unpin,
    {
        self.fill(stream, OPTION_HEADER_BYTES, "an option").await?;
        let header = self.buffer.first_chunk().and_then(OptionHeader::parse);
        let Some(header) = header else {
            return Err(Ended::Violation("an option does not start with IHAVEOPT".into()));
        };
        if header.length > MAX_OPTION_BYTES {
            self.buffer.advance(OPTION_HEADER_BYTES);
            self.skip(stream, header.length).await?;
            return Ok((header, Data::Oversized));
        }
        let end = OPTION_HEADER_BYTES + header.length as usize;
        self.fill(stream, end, "an option's data").await?;
        self.used = end;
        Ok((header, Data::Whole(&self.buffer[OPTION_HEADER_BYTES..end])))
    }

    /// Forgets the option handed out last.
    pub(super) fn consume(&mut self) {
        self.buffer.advance(self.used);
        self.used = 0;
    }

    /// Whether bytes came after the option handed out last.
    pub(super) fn has_more(&self) -> bool {
        self.buffer.len() > self.used
    }

    /// The bytes after the option handed out last.
    pub(super) fn into_leftover(mut self) -> BytesMut {
        self.consume();
        self.buffer
    }

    /// Waits until `length` bytes are there.
    async fn fill<S: AsyncRead + Unpin>(&mut self, stream: &mut S, length: usize, what: &str) -> Result<(), Ended> {
        while self.buffer.len() < length {
            self.buffer.reserve(length - self.buffer.len());
            match stream.read_buf(&mut self.buffer).await.map_err(Ended::Io)? {
                0 if self.buffer.is_empty() => return Err(Ended::Closed),
                0 => return Err(Ended::Truncated(format!("the stream ended inside {what}"))),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads and drops `length` bytes.
    async fn skip<S: AsyncRead + Unpin>(&mut self, stream: &mut S, length: u32) -> Result<(), Ended> {
        if length > MAX_SKIPPED_BYTES {
            return Err(Ended::Violation(format!("an option announces {length} bytes of data").into()));
        }
        let mut left = length as usize;
        loop {
            let here = left.min(self.buffer.len());
            self.buffer.advance(here);
            left -= here;
            if left == 0 {
                return Ok(());
            }
            self.buffer.reserve(SKIP_PIECE);
            if stream.read_buf(&mut self.buffer).await.map_err(Ended::Io)? == 0 {
                return Err(Ended::Truncated("the stream ended inside an oversized option".into()));
            }
        }
    }
}
