//! The transmission phase: receive, answer a batch, send it; again.

use std::{
    io::{self, IoSlice},
    ops::Range,
};

use crate::{link::Link, replies::Replies};

const NBD_REQUEST_MAGIC: u32 = 0x2560_9513;
const NBD_CMD_READ: u16 = 0;
const NBD_CMD_WRITE: u16 = 1;
const NBD_CMD_DISC: u16 = 2;
const NBD_CMD_FLUSH: u16 = 3;
const NBD_EINVAL: u32 = 22;
const HEADER: usize = 28;

/// Bytes that one receive can bring.
const INPUT: usize = 256 << 10;
/// A payload of which at least this many bytes are still to come is received where it belongs.
const IN_PLACE: usize = 32 << 10;

/// One connection.
#[derive(Debug)]
pub(crate) struct Session<'disk> {
    disk: &'disk mut [u8],
    /// Most requests of one send.
    batch: usize,
    input: Vec<u8>,
    /// What has been received and not been looked at.
    unread: Range<usize>,
    /// A write whose payload is on its way: what is missing of the disk's range, and its cookie.
    payload: Option<(Range<usize>, [u8; 8])>,
    replies: Replies,
}

/// What a batch ended with.
enum Batch {
    /// It is full.
    Full,
    /// More bytes are needed.
    Starved,
    /// The client said goodbye.
    Left,
}

struct Request {
    command: u16,
    cookie: [u8; 8],
    range: Range<usize>,
}

impl<'disk> Session<'disk> {
    pub(crate) fn new(disk: &'disk mut [u8], batch: usize) -> Self {
        Self { disk, batch, input: vec![0; INPUT], unread: 0..0, payload: None, replies: Replies::default() }
    }

    /// Serves until the client leaves.
    pub(crate) fn run(mut self, link: &mut impl Link) -> io::Result<()> {
        loop {
            self.replies.clear();
            let batch = self.answer()?;
            let received = match (batch, &self.payload, self.replies.contiguous()) {
                (Batch::Starved, Some((missing, _)), Some(replies)) => {
                    let into = &mut self.disk[missing.clone()];
                    if replies.is_empty() {
                        link.turn(&mut [], into)?
                    } else {
                        link.turn(&mut [IoSlice::new(replies)], into)?
                    }
                }
                (Batch::Starved, None, _) => {
                    link.turn(&mut self.replies.slices(self.disk), &mut self.input[self.unread.end..])?
                }
                // The disk cannot be sent from and received into at once, nor is more input needed yet.
                (Batch::Starved, Some(_), None) | (Batch::Full, ..) => {
                    link.turn(&mut self.replies.slices(self.disk), &mut [])?;
                    continue;
                }
                (Batch::Left, ..) => {
                    link.turn(&mut self.replies.slices(self.disk), &mut [])?;
                    return Ok(());
                }
            };
            if received == 0 {
                return Ok(());
            }
            match &mut self.payload {
                Some((missing, _)) => missing.start += received,
                None => self.unread.end += received,
            }
        }
    }

    /// Answers what has been received.
    fn answer(&mut self) -> io::Result<Batch> {
        for _ in 0..self.batch {
            if let Some((missing, cookie)) = &self.payload {
                if !missing.is_empty() {
                    return Ok(Batch::Starved);
                }
                self.replies.plain(*cookie, 0);
                self.payload = None;
                continue;
            }
            let Some(request) = self.request()? else { return Ok(self.starved()) };
            let payload = self.unread.start + HEADER;
            match request.command {
                NBD_CMD_READ => self.replies.data(request.cookie, self.disk, request.range),
                NBD_CMD_WRITE => {
                    let length = request.range.len();
                    let here = length.min(self.unread.end - payload);
                    let missing = length - here;
                    if missing > 0 && missing < IN_PLACE && HEADER + length <= INPUT {
                        return Ok(self.starved());
                    }
                    let split = request.range.start + here;
                    self.disk[request.range.start..split].copy_from_slice(&self.input[payload..payload + here]);
                    self.unread.start += here;
                    if missing > 0 {
                        self.payload = Some((split..request.range.end, request.cookie));
                    } else {
                        self.replies.plain(request.cookie, 0);
                    }
                }
                NBD_CMD_FLUSH => self.replies.plain(request.cookie, 0),
                NBD_CMD_DISC => return Ok(Batch::Left),
                _ => self.replies.plain(request.cookie, NBD_EINVAL),
            }
            self.unread.start += HEADER;
        }
        Ok(Batch::Full)
    }

    /// The request that comes next, once its header is there.
    fn request(&self) -> io::Result<Option<Request>> {
        let Some(header) = self.input[self.unread.clone()].first_chunk::<HEADER>() else { return Ok(None) };
        let (magic, rest) = take(header);
        let (_flags, rest) = take::<2>(rest);
        let (command, rest) = take(rest);
        let (cookie, rest) = take(rest);
        let (offset, rest) = take(rest);
        let (length, _) = take(rest);
        let start = usize::try_from(u64::from_be_bytes(offset)).unwrap_or(usize::MAX);
        let end = start.saturating_add(u32::from_be_bytes(length) as usize);
        if u32::from_be_bytes(magic) != NBD_REQUEST_MAGIC || end > self.disk.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "request is none, or out of range"));
        }
        Ok(Some(Request { command: u16::from_be_bytes(command), cookie, range: start..end }))
    }

    /// Makes room for the rest of a request.
    fn starved(&mut self) -> Batch {
        if self.unread.start > 0 {
            self.input.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        Batch::Starved
    }
}

/// Takes a field off the front.
fn take<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    let (field, rest) = bytes.split_first_chunk().expect("a header has all its fields");
    (*field, rest)
}

#[cfg(test)]
mod tests;
