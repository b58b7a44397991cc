//! Request headers: bytes to values, without judging them ("Request message").

use super::constants::{NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_WRITE, NBD_EXTENDED_REQUEST_MAGIC, NBD_REQUEST_MAGIC};

/// The form of request headers that option haggling agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headers {
    /// 28 bytes, 32-bit lengths.
    Compact,
    /// 32 bytes, 64-bit lengths.
    Extended,
}

impl Headers {
    /// Bytes of one request header.
    pub const fn request_bytes(self) -> usize {
        match self {
            Self::Compact => 28,
            Self::Extended => 32,
        }
    }

    const fn request_magic(self) -> u32 {
        match self {
            Self::Compact => NBD_REQUEST_MAGIC,
            Self::Extended => NBD_EXTENDED_REQUEST_MAGIC,
        }
    }
}

/// The fields of a request header as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRequest {
    /// Command flags.
    pub flags: u16,
    /// The specification's "type".
    pub command: u16,
    /// Opaque; goes back with every reply.
    pub cookie: u64,
    /// First byte of the export meant.
    pub offset: u64,
    /// Bytes of the export, or of the payload where one follows.
    pub length: u64,
}

impl RawRequest {
    /// Bytes that follow this header on the wire before the next header.
    ///
    /// Compact: those of a WRITE. Extended: whatever carries NBD_CMD_FLAG_PAYLOAD_LEN, known command or not.
    pub const fn payload_bytes(&self, headers: Headers) -> u64 {
        let follows = match headers {
            Headers::Compact => self.command == NBD_CMD_WRITE,
            Headers::Extended => self.flags & NBD_CMD_FLAG_PAYLOAD_LEN != 0,
        };
        if follows { self.length } else { 0 }
    }
}

/// What the front of an input buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parse {
    /// The beginning of a header; more bytes are needed.
    Incomplete,
    /// A whole header of [`Headers::request_bytes`].
    Request(RawRequest),
    /// Not a header; the stream cannot be followed any further.
    BadMagic,
}

/// Reads the header at the front of `buf`. A wrong magic is told as soon as its four bytes are there.
#[inline]
pub fn parse_request(buf: &[u8], headers: Headers) -> Parse {
    let Some((magic, _)) = buf.split_first_chunk::<4>() else { return Parse::Incomplete };
    if u32::from_be_bytes(*magic) != headers.request_magic() {
        return Parse::BadMagic;
    }
    let fields = match headers {
        Headers::Compact => buf.first_chunk::<28>().map(|b| (field(b, 4), u64::from(u32::from_be_bytes(field(b, 24))))),
        Headers::Extended => buf.first_chunk::<32>().map(|b| (field(b, 4), u64::from_be_bytes(field(b, 24)))),
    };
    let Some((middle, length)) = fields else { return Parse::Incomplete };
    let middle: [u8; 20] = middle;
    Parse::Request(RawRequest {
        flags: u16::from_be_bytes(field(&middle, 0)),
        command: u16::from_be_bytes(field(&middle, 2)),
        cookie: u64::from_be_bytes(field(&middle, 4)),
        offset: u64::from_be_bytes(field(&middle, 12)),
        length,
    })
}

/// `N` bytes of a fixed header at a fixed place; the bounds are settled when this is compiled in.
#[inline]
fn field<const N: usize, const M: usize>(header: &[u8; M], at: usize) -> [u8; N] {
    std::array::from_fn(|i| header[at + i])
}
