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
    /// Those of a WRITE; with extended headers, also whatever carries NBD_CMD_FLAG_PAYLOAD_LEN, known command or not.
    /// An extended WRITE without that flag breaks the rules, but QEMU 10 sends it, with its payload.
    pub const fn payload_bytes(&self, headers: Headers) -> u64 {
        let flagged = match headers {
            Headers::Compact => false,
            Headers::Extended => self.flags & NBD_CMD_FLAG_PAYLOAD_LEN != 0,
        };
        if flagged || self.command == NBD_CMD_WRITE { self.length } else { 0 }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COMPACT: [u8; 28] =
        [0x25, 0x60, 0x95, 0x13, 0, 1, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x10, 0];
    const EXTENDED: [u8; 32] = [
        0x21, 0xe4, 0x1c, 0x71, 0, 0x20, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0x10,
        0,
    ];

    fn encode(request: &RawRequest, headers: Headers) -> Vec<u8> {
        let mut bytes = headers.request_magic().to_be_bytes().to_vec();
        bytes.extend(request.flags.to_be_bytes());
        bytes.extend(request.command.to_be_bytes());
        bytes.extend(request.cookie.to_be_bytes());
        bytes.extend(request.offset.to_be_bytes());
        match headers {
            Headers::Compact => bytes.extend(u32::try_from(request.length).unwrap().to_be_bytes()),
            Headers::Extended => bytes.extend(request.length.to_be_bytes()),
        }
        bytes
    }

    #[test]
    fn headers_of_the_specification_are_read() {
        let expected =
            RawRequest { flags: 1, command: 1, cookie: 0x0102_0304_0506_0708, offset: 1 << 32, length: 4096 };
        assert_eq!(parse_request(&COMPACT, Headers::Compact), Parse::Request(expected));
        let expected = RawRequest { flags: 0x20, length: (2 << 32) + 4096, ..expected };
        assert_eq!(parse_request(&EXTENDED, Headers::Extended), Parse::Request(expected));
    }

    #[test]
    fn every_shorter_front_is_incomplete() {
        for end in 0..COMPACT.len() {
            assert_eq!(parse_request(&COMPACT[..end], Headers::Compact), Parse::Incomplete, "{end}");
        }
        for end in 0..EXTENDED.len() {
            assert_eq!(parse_request(&EXTENDED[..end], Headers::Extended), Parse::Incomplete, "{end}");
        }
    }

    #[test]
    fn a_wrong_magic_is_told_after_four_bytes() {
        assert_eq!(parse_request(&COMPACT[..4], Headers::Extended), Parse::BadMagic);
        assert_eq!(parse_request(&EXTENDED[..4], Headers::Compact), Parse::BadMagic);
        assert_eq!(parse_request(&[0; 4], Headers::Compact), Parse::BadMagic);
        assert_eq!(parse_request(&[0; 3], Headers::Compact), Parse::Incomplete);
    }

    #[test]
    fn payload_follows_writes_and_whatever_says_so_when_extended() {
        let request = |command, flags| RawRequest { flags, command, cookie: 0, offset: 0, length: 7 };
        assert_eq!(request(NBD_CMD_WRITE, 0).payload_bytes(Headers::Compact), 7);
        assert_eq!(request(0, NBD_CMD_FLAG_PAYLOAD_LEN).payload_bytes(Headers::Compact), 0);
        assert_eq!(request(NBD_CMD_WRITE, 0).payload_bytes(Headers::Extended), 7);
        assert_eq!(request(999, NBD_CMD_FLAG_PAYLOAD_LEN).payload_bytes(Headers::Extended), 7);
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_parsed(flags: u16, command: u16, cookie: u64, offset: u64, length: u64, extended: bool,
                                      tail: Vec<u8>) {
            let headers = if extended { Headers::Extended } else { Headers::Compact };
            let length = if extended { length } else { length & 0xffff_ffff };
            let request = RawRequest { flags, command, cookie, offset, length };
            let mut bytes = encode(&request, headers);
            prop_assert_eq!(bytes.len(), headers.request_bytes());
            bytes.extend(tail);
            prop_assert_eq!(parse_request(&bytes, headers), Parse::Request(request));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            for headers in [Headers::Compact, Headers::Extended] {
                if let Parse::Request(_) = parse_request(&bytes, headers) {
                    prop_assert!(bytes.len() >= headers.request_bytes());
                }
            }
        }
    }
}
