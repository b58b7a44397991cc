//! Replies on their way out: headers and small payloads in one buffer, large payloads where they lie.

use std::{io::IoSlice, ops::Range};

use smallvec::SmallVec;

const NBD_SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// Payloads up to this many bytes are copied behind their header: cheaper than another slice.
const COPIED: usize = 4096;

/// The replies of one batch.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    bytes: Vec<u8>,
    /// Ranges of the disk, and where among `bytes` each belongs.
    gathered: Vec<(usize, Range<usize>)>,
}

impl Replies {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.gathered.clear();
    }

    /// A reply without payload; error 0 is success.
    pub(crate) fn plain(&mut self, cookie: [u8; 8], error: u32) {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&NBD_SIMPLE_REPLY_MAGIC.to_be_bytes());
        header[4..8].copy_from_slice(&error.to_be_bytes());
        header[8..].copy_from_slice(&cookie);
        self.bytes.extend_from_slice(&header);
    }

    /// The reply to a READ of `range`.
    pub(crate) fn data(&mut self, cookie: [u8; 8], disk: &[u8], range: Range<usize>) {
        self.plain(cookie, 0);
        if range.len() <= COPIED {
            self.bytes.extend_from_slice(&disk[range]);
        } else {
            self.gathered.push((self.bytes.len(), range));
        }
    }

    /// The replies as they lie; `None` if parts of the disk are among them.
    pub(crate) fn contiguous(&self) -> Option<&[u8]> {
        self.gathered.is_empty().then_some(&self.bytes)
    }

    /// All that is to be sent, in order.
    pub(crate) fn slices<'a>(&'a self, disk: &'a [u8]) -> SmallVec<[IoSlice<'a>; 16]> {
        let mut slices = SmallVec::new();
        let mut at = 0;
        for (end, range) in &self.gathered {
            slices.push(IoSlice::new(&self.bytes[at..*end]));
            slices.push(IoSlice::new(&disk[range.clone()]));
            at = *end;
        }
        if at < self.bytes.len() {
            slices.push(IoSlice::new(&self.bytes[at..]));
        }
        slices
    }
}
