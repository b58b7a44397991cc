//! The client's half of the transmission phase: requests to bytes, bytes to replies.
//!
//! Strict on purpose: what the specification forbids a server is an error here (proto.md, "Transmission phase").

use anyhow::{bail, ensure};

/// Bytes of a compact request header.
pub(crate) const REQUEST_LENGTH: usize = 28;

const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;

const SIMPLE_REPLY_LENGTH: usize = 16;
const CHUNK_HEADER_LENGTH: usize = 20;
/// A chunk that is held in memory whole: everything but data. Its message may have 4096 bytes.
const CONTROL_CHUNK_MAX: usize = 8192;

const FLAG_DONE: u16 = 1;
const TYPE_NONE: u16 = 0;
const TYPE_OFFSET_DATA: u16 = 1;
const TYPE_OFFSET_HOLE: u16 = 2;
const TYPE_ERROR_BIT: u16 = 1 << 15;

/// The commands of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Command {
    Read = 0,
    Write = 1,
    Disc = 2,
    Flush = 3,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) command: Command,
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

impl Request {
    /// Writes the header.
    pub(crate) fn encode(self, cookie: u64, header: &mut [u8]) {
        header[0..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
        header[4..6].copy_from_slice(&0u16.to_be_bytes());
        header[6..8].copy_from_slice(&(self.command as u16).to_be_bytes());
        header[8..16].copy_from_slice(&cookie.to_be_bytes());
        header[16..24].copy_from_slice(&self.offset.to_be_bytes());
        header[24..28].copy_from_slice(&self.length.to_be_bytes());
    }
}

/// A reply or a chunk of one, without the bytes of a read, which follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) cookie: u64,
    pub(crate) part: Part,
    /// Nothing follows for this cookie.
    pub(crate) done: bool,
}

/// The kinds of reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A simple reply; a read's bytes follow if there is no error.
    Simple { error: u32 },
    /// A chunk without content.
    Nothing,
    /// `length` bytes for the offset follow.
    Data { offset: u64, length: u32 },
    /// Zeros.
    Hole { offset: u64, length: u32 },
    /// The request, or a part of it, failed.
    Error { error: u32 },
}

/// Parses one reply and tells its length; `None` asks for more bytes.
pub(crate) fn parse(bytes: &[u8]) -> anyhow::Result<Option<(Reply, usize)>> {
    if bytes.len() < SIMPLE_REPLY_LENGTH {
        return Ok(None);
    }
    match be32(bytes, 0) {
        SIMPLE_REPLY_MAGIC => {
            let part = Part::Simple { error: be32(bytes, 4) };
            Ok(Some((Reply { cookie: be64(bytes, 8), part, done: true }, SIMPLE_REPLY_LENGTH)))
        }
        STRUCTURED_REPLY_MAGIC => parse_chunk(bytes),
        magic => bail!("the server sent {magic:#010x} where a reply's magic was due"),
    }
}

fn parse_chunk(bytes: &[u8]) -> anyhow::Result<Option<(Reply, usize)>> {
    if bytes.len() < CHUNK_HEADER_LENGTH {
        return Ok(None);
    }
    let (flags, kind, cookie, length) = (be16(bytes, 4), be16(bytes, 6), be64(bytes, 8), be32(bytes, 16));
    ensure!(flags & !FLAG_DONE == 0, "the server sent a chunk with unknown flags {flags:#06x}");
    let done = flags & FLAG_DONE != 0;
    if kind == TYPE_OFFSET_DATA {
        ensure!(length > 8, "the server sent an OFFSET_DATA chunk of {length} bytes, which has no data");
        let head = CHUNK_HEADER_LENGTH + 8;
        let part = |bytes| Part::Data { offset: be64(bytes, CHUNK_HEADER_LENGTH), length: length - 8 };
        return Ok((bytes.len() >= head).then(|| (Reply { cookie, part: part(bytes), done }, head)));
    }
    let end = CHUNK_HEADER_LENGTH + length as usize;
    ensure!(end <= CONTROL_CHUNK_MAX, "the server sent a chunk of type {kind:#06x} with {length} bytes");
    if bytes.len() < end {
        return Ok(None);
    }
    let part = parse_control(kind, done, &bytes[CHUNK_HEADER_LENGTH..end])?;
    Ok(Some((Reply { cookie, part, done }, end)))
}

/// The content of a chunk that is not data.
fn parse_control(kind: u16, done: bool, content: &[u8]) -> anyhow::Result<Part> {
    match kind {
        TYPE_NONE => {
            ensure!(done && content.is_empty(), "the server sent a NONE chunk with content or without DONE");
            Ok(Part::Nothing)
        }
        TYPE_OFFSET_HOLE => {
            ensure!(content.len() == 12, "the server sent an OFFSET_HOLE chunk of {} bytes", content.len());
            Ok(Part::Hole { offset: be64(content, 0), length: be32(content, 8) })
        }
        _ if kind & TYPE_ERROR_BIT != 0 => {
            ensure!(content.len() >= 6, "the server sent an error chunk of {} bytes", content.len());
            let (error, message) = (be32(content, 0), be16(content, 4));
            ensure!(error != 0, "the server sent an error chunk without an error");
            ensure!(content.len() >= 6 + message as usize, "the server sent an error chunk shorter than its message");
            Ok(Part::Error { error })
        }
        _ => bail!("the server sent a chunk of type {kind:#06x}, which answers no request of ours"),
    }
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes[at..at + 2].try_into().expect("the slice has two bytes"))
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("the slice has four bytes"))
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("the slice has eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(flags: u16, kind: u16, content: &[u8]) -> Vec<u8> {
        let mut bytes = STRUCTURED_REPLY_MAGIC.to_be_bytes().to_vec();
        bytes.extend(flags.to_be_bytes());
        bytes.extend(kind.to_be_bytes());
        bytes.extend(9u64.to_be_bytes());
        bytes.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        bytes.extend(content);
        bytes
    }

    #[test]
    fn a_request_has_the_bytes_of_the_specification() {
        let mut header = [0xff; REQUEST_LENGTH];
        Request { command: Command::Flush, offset: 0x0102, length: 0x0304 }.encode(0x0a0b, &mut header);
        let golden = b"\x25\x60\x95\x13\0\0\0\x03\0\0\0\0\0\0\x0a\x0b\0\0\0\0\0\0\x01\x02\0\0\x03\x04";
        assert_eq!(&header, golden);
    }

    #[test]
    fn a_simple_reply_is_sixteen_bytes() {
        let bytes = b"\x67\x44\x66\x98\0\0\0\x05\0\0\0\0\0\0\0\x09rest";
        let reply = Reply { cookie: 9, part: Part::Simple { error: 5 }, done: true };
        assert_eq!(parse(bytes).unwrap(), Some((reply, 16)));
    }

    #[test]
    fn chunks_are_told_apart() {
        let part = |bytes: &[u8]| parse(bytes).unwrap().map(|(reply, used)| (reply.part, reply.done, used));
        assert_eq!(part(&chunk(1, TYPE_NONE, b"")), Some((Part::Nothing, true, 20)));
        let data = chunk(0, TYPE_OFFSET_DATA, b"\0\0\0\0\0\0\x10\0data");
        assert_eq!(part(&data), Some((Part::Data { offset: 4096, length: 4 }, false, 28)));
        let hole = chunk(1, TYPE_OFFSET_HOLE, b"\0\0\0\0\0\0\x10\0\0\0\x02\0");
        assert_eq!(part(&hole), Some((Part::Hole { offset: 4096, length: 512 }, true, 32)));
        let error = chunk(1, TYPE_ERROR_BIT | 2, b"\0\0\0\x1c\0\x02no\0\0\0\0\0\0\x10\0");
        assert_eq!(part(&error), Some((Part::Error { error: 28 }, true, 36)));
    }

    #[test]
    fn every_cut_of_a_reply_asks_for_more() {
        for whole in [chunk(1, TYPE_OFFSET_HOLE, &[0; 12]), chunk(1, TYPE_ERROR_BIT | 1, b"\0\0\0\x05\0\x01x")] {
            for cut in 0..whole.len() {
                assert_eq!(parse(&whole[..cut]).unwrap(), None);
            }
            assert!(parse(&whole).unwrap().is_some());
        }
    }

    #[test]
    fn what_the_specification_forbids_is_an_error() {
        let wrong = [
            vec![0; 16],
            chunk(2, TYPE_NONE, b""),
            chunk(0, TYPE_NONE, b""),
            chunk(1, TYPE_NONE, b"x"),
            chunk(1, TYPE_OFFSET_DATA, &[0; 8]),
            chunk(1, TYPE_OFFSET_HOLE, &[0; 11]),
            chunk(1, TYPE_ERROR_BIT | 1, &[0; 6]),
            chunk(1, TYPE_ERROR_BIT | 1, b"\0\0\0\x05\0\x02x"),
            chunk(1, 3, &[0; 12]),
            chunk(1, TYPE_ERROR_BIT | 1, &[0; 9000]),
        ];
        for bytes in wrong {
            assert!(parse(&bytes).is_err(), "{bytes:?}");
        }
    }
}
