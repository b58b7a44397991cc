//! Replies: values to bytes, in whichever of the three forms was negotiated.
//!
//! [`ReplyTo`] is what must be kept of a request to answer it. Content chunks exist only in the structured and
//! extended styles; asking for one in the simple style is a caller's bug and panics. Payload bytes are never
//! copied here: [`ReplyTo::data_header`] writes what goes before them.

#[cfg(test)]
mod tests;

use bytes::{BufMut, BytesMut};
use nbdgate_api::{ByteRange, Extent, Kind};

use super::{
    constants::{
        NBD_EXTENDED_REPLY_MAGIC, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_BLOCK_STATUS, NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
        NBD_REPLY_TYPE_ERROR, NBD_REPLY_TYPE_ERROR_OFFSET, NBD_REPLY_TYPE_NONE, NBD_REPLY_TYPE_OFFSET_DATA,
        NBD_REPLY_TYPE_OFFSET_HOLE, NBD_SIMPLE_REPLY_MAGIC, NBD_STRUCTURED_REPLY_MAGIC,
    },
    errno::errno,
    meta_context::MetaContext,
    request::Headers,
    status, text,
};

/// The form of replies that option haggling agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyStyle {
    /// Simple replies only.
    Simple,
    /// Structured reply chunks; simple replies where nothing but success is to be told, except to READ.
    Structured,
    /// Extended reply chunks for everything, and extended requests.
    Extended,
}

impl ReplyStyle {
    /// The request headers that go with it.
    pub const fn headers(self) -> Headers {
        match self {
            Self::Simple | Self::Structured => Headers::Compact,
            Self::Extended => Headers::Extended,
        }
    }

    /// Bytes of a simple reply (simple style) or of a chunk header.
    pub const fn header_bytes(self) -> usize {
        match self {
            Self::Simple => 16,
            Self::Structured => 20,
            Self::Extended => 32,
        }
    }

    /// Bytes that [`ReplyTo::data_header`] puts before a chunk's data.
    pub const fn data_header_bytes(self) -> usize {
        self.header_bytes() + 8
    }

    /// Bytes of [`ReplyTo::hole`].
    pub const fn hole_bytes(self) -> usize {
        self.header_bytes() + 12
    }

    /// Bytes of [`ReplyTo::success`].
    pub const fn success_bytes(self) -> usize {
        match self {
            Self::Simple | Self::Structured => Self::Simple.header_bytes(),
            Self::Extended => self.header_bytes(),
        }
    }

    /// Bytes that stand before the data of a read in this style.
    pub const fn read_header_bytes(self) -> usize {
        match self {
            Self::Simple => self.header_bytes(),
            Self::Structured | Self::Extended => self.data_header_bytes(),
        }
    }
}

/// Whether a chunk is the last of its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// More chunks follow.
    No,
    /// Nothing of this reply follows.
    Yes,
}

/// Writes the replies to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// The negotiated form.
    pub style: ReplyStyle,
    /// The request's cookie.
    pub cookie: u64,
    /// The request's offset; extended chunks repeat it.
    pub offset: u64,
}

impl ReplyTo {
    /// Success of a READ in the simple style; exactly the read's length in data must follow. In the other styles,
    /// and for other commands, see [`ReplyTo::success`].
    pub fn simple_data_header(&self, out: &mut impl BufMut) {
        assert!(self.style == ReplyStyle::Simple, "a simple reply cannot carry data in {:?} style", self.style);
        self.simple(out, 0);
    }

    /// Success of a command other than READ: a whole reply.
    pub fn success(&self, out: &mut impl BufMut) {
        match self.style {
            ReplyStyle::Simple | ReplyStyle::Structured => self.simple(out, 0),
            ReplyStyle::Extended => self.none(out),
        }
    }

    /// The end of a reply whose other chunks were not the last.
    pub fn none(&self, out: &mut impl BufMut) {
        self.chunk(out, NBD_REPLY_TYPE_NONE, Done::Yes, 0);
    }

    /// A content chunk's head; exactly `length` bytes of the export from `offset` on must follow.
    pub fn data_header(&self, out: &mut impl BufMut, offset: u64, length: u32, done: Done) {
        assert!(length > 0, "a content chunk describes at least one byte");
        self.chunk(out, NBD_REPLY_TYPE_OFFSET_DATA, done, u64::from(length) + 8);
        out.put_u64(offset);
    }

    /// A content chunk of zeros, of less than 4 GiB.
    pub fn hole(&self, out: &mut impl BufMut, range: ByteRange, done: Done) {
        let length = u32::try_from(range.length()).expect("a read is shorter than 4 GiB");
        assert!(length > 0, "a content chunk describes at least one byte");
        self.chunk(out, NBD_REPLY_TYPE_OFFSET_HOLE, done, 12);
        let mut body = [0; 12];
        body[..8].copy_from_slice(&range.offset().to_be_bytes());
        body[8..].copy_from_slice(&length.to_be_bytes());
        out.put_slice(&body);
    }

    /// Failure of the whole request: a whole reply in the simple style, otherwise a chunk with text.
    pub fn error(&self, out: &mut BytesMut, error: Kind, text: &str, done: Done) {
        if self.style == ReplyStyle::Simple {
            return self.simple(out, errno(error));
        }
        let text = text::error_text(text);
        self.chunk(out, NBD_REPLY_TYPE_ERROR, done, 6 + text.len() as u64);
        put_error(out, error, text);
    }

    /// Failure from byte `at` of the export on, which must lie in the request.
    pub fn error_offset(&self, out: &mut BytesMut, error: Kind, text: &str, at: u64, done: Done) {
        let text = text::error_text(text);
        self.chunk(out, NBD_REPLY_TYPE_ERROR_OFFSET, done, 14 + text.len() as u64);
        put_error(out, error, text);
        out.extend_from_slice(&at.to_be_bytes());
    }

    /// One status chunk: the state of `asked` in `context`, from `extents` in order. See the `status` module
    /// for what makes every answer legal.
    pub fn block_status(&self, out: &mut BytesMut, context: MetaContext, asked: Asked, extents: &[Extent], done: Done) {
        let extended = self.style == ReplyStyle::Extended;
        let kind = if extended { NBD_REPLY_TYPE_BLOCK_STATUS_EXT } else { NBD_REPLY_TYPE_BLOCK_STATUS };
        let start = out.len();
        self.chunk(out, kind, done, 0);
        let body = out.len();
        out.extend_from_slice(&context.id().to_be_bytes());
        if extended {
            let count_at = out.len();
            out.extend_from_slice(&[0; 4]);
            let count = status::put_64(out, context, asked, extents);
            out[count_at..count_at + 4].copy_from_slice(&count.to_be_bytes());
        } else {
            status::put_32(out, context, asked, extents);
        }
        let length = out.len() - body;
        let end = start + self.style.header_bytes();
        if extended {
            out[end - 8..end].copy_from_slice(&(length as u64).to_be_bytes());
        } else {
            let length = u32::try_from(length).expect("a status chunk has a bounded number of descriptors");
            out[end - 4..end].copy_from_slice(&length.to_be_bytes());
        }
    }

    fn simple(&self, out: &mut impl BufMut, error: u32) {
        let mut head = [0; 16];
        head[..4].copy_from_slice(&NBD_SIMPLE_REPLY_MAGIC.to_be_bytes());
        head[4..8].copy_from_slice(&error.to_be_bytes());
        head[8..].copy_from_slice(&self.cookie.to_be_bytes());
        out.put_slice(&head);
    }

    fn chunk(&self, out: &mut impl BufMut, kind: u16, done: Done, length: u64) {
        let flags = match done {
            Done::No => 0,
            Done::Yes => NBD_REPLY_FLAG_DONE,
        };
        let mut head = [0; 32];
        head[4..6].copy_from_slice(&flags.to_be_bytes());
        head[6..8].copy_from_slice(&kind.to_be_bytes());
        head[8..16].copy_from_slice(&self.cookie.to_be_bytes());
        match self.style {
            ReplyStyle::Simple => panic!("the simple style has no chunks"),
            ReplyStyle::Structured => {
                let length = u32::try_from(length).expect("a chunk is shorter than 4 GiB");
                head[..4].copy_from_slice(&NBD_STRUCTURED_REPLY_MAGIC.to_be_bytes());
                head[16..20].copy_from_slice(&length.to_be_bytes());
                out.put_slice(&head[..20]);
            }
            ReplyStyle::Extended => {
                head[..4].copy_from_slice(&NBD_EXTENDED_REPLY_MAGIC.to_be_bytes());
                head[16..24].copy_from_slice(&self.offset.to_be_bytes());
                head[24..].copy_from_slice(&length.to_be_bytes());
                out.put_slice(&head);
            }
        }
    }
}

/// What a BLOCK_STATUS asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The range of interest; not empty.
    pub range: ByteRange,
    /// One descriptor only.
    pub req_one: bool,
}

fn put_error(out: &mut BytesMut, error: Kind, text: &str) {
    out.extend_from_slice(&errno(error).to_be_bytes());
    let length = u16::try_from(text.len()).expect("error texts are bounded");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
