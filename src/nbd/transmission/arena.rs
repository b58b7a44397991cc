//! Memory in which headers and small payloads stand one after the other, as they go out.

use std::ops::Range;

use nbdgate_io::Buffer;

/// Recycled memory that fills from the start to the end.
#[derive(Debug)]
pub(super) struct Arena {
    memory: Buffer,
    filled: usize,
}

impl Arena {
    /// Bytes of each.
    pub(super) const BYTES: usize = 128 << 10;

    pub(super) fn new() -> Self {
        Self { memory: Buffer::new(Self::BYTES), filled: 0 }
    }

    /// Bytes in it.
    pub(super) fn filled(&self) -> usize {
        self.filled
    }

    /// Bytes that still fit.
    pub(super) fn room(&self) -> usize {
        Self::BYTES - self.filled
    }

    pub(super) fn clear(&mut self) {
        self.filled = 0;
    }

    /// The next `length` bytes, of unspecified content; they count once [`Arena::advance`] says so.
    pub(super) fn reserve(&mut self, length: usize) -> &mut [u8] {
        &mut self.memory[self.filled..][..length]
    }

    pub(super) fn advance(&mut self, length: usize) {
        assert!(length <= self.room(), "an arena is advanced over what was reserved");
        self.filled += length;
    }

    /// Appends bytes that fit; where they begin.
    pub(super) fn append(&mut self, bytes: &[u8]) -> usize {
        let start = self.filled;
        self.reserve(bytes.len()).copy_from_slice(bytes);
        self.advance(bytes.len());
        start
    }

    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.memory[..self.filled][range]
    }

    pub(super) fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.memory[..self.filled][range]
    }
}
