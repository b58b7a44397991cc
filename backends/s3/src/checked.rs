//! Data of whole blocks, with the crc32c that each block had when it came in (OBJECT-LOG §4.3).
//!
//! The crcs travel with the bytes through every split, so a bit that flips while data waits in memory is seen when its
//! segment is built, and again by whoever reads it back.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use crc32c::{crc32c, crc32c_combine};

use crate::format::BLOCK_SIZE;

/// Whole blocks and what they were when they came in.
#[derive(Clone, Debug)]
pub struct Checked {
    bytes: Bytes,
    crcs: Arc<[u32]>,
    /// Where the crcs of `bytes` begin.
    first: usize,
}

/// What blocks were when they came in, without the blocks.
#[derive(Clone, Debug)]
pub(crate) struct Crcs {
    blocks: Arc<[u32]>,
    first: usize,
    count: usize,
}

impl Crcs {
    /// Those of `count` blocks behind the first `skip`.
    pub(crate) fn slice(&self, skip: usize, count: usize) -> Self {
        assert!(skip + count <= self.count, "a slice lies inside");
        Self { blocks: Arc::clone(&self.blocks), first: self.first + skip, count }
    }
}

impl Checked {
    /// Takes the crcs of `bytes`, a positive multiple of 4096 of them.
    pub fn new(bytes: Bytes) -> Self {
        assert!(!bytes.is_empty() && bytes.len().is_multiple_of(BLOCK_SIZE), "data comes in whole blocks");
        let crcs = bytes.chunks(BLOCK_SIZE).map(crc32c).collect();
        Self { bytes, crcs, first: 0 }
    }

    /// Blocks of which it is known that they are not what came in: whoever checks them finds each of them damaged.
    pub(crate) fn suspect(bytes: Bytes) -> Self {
        let crcs = bytes.chunks(BLOCK_SIZE).map(|block| !crc32c(block)).collect();
        Self { bytes, crcs, first: 0 }
    }

    pub(crate) fn into_parts(self) -> (Bytes, Crcs) {
        let count = self.nblocks();
        (self.bytes, Crcs { blocks: self.crcs, first: self.first, count })
    }

    pub(crate) fn from_parts(bytes: Bytes, crcs: Crcs) -> Self {
        assert_eq!(bytes.len(), crcs.count * BLOCK_SIZE, "a crc for each block");
        Self { bytes, crcs: crcs.blocks, first: crcs.first }
    }

    /// The bytes as they are now.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many blocks.
    pub fn nblocks(&self) -> usize {
        self.bytes.len() / BLOCK_SIZE
    }

    /// `nblocks` of the blocks behind the first `skip`.
    #[must_use]
    pub fn slice(&self, skip: usize, nblocks: usize) -> Self {
        let bytes = self.bytes.slice(skip * BLOCK_SIZE..(skip + nblocks) * BLOCK_SIZE);
        Self { bytes, crcs: Arc::clone(&self.crcs), first: self.first + skip }
    }

    /// How many blocks from the first on are still what came in.
    pub fn sound(&self) -> usize {
        self.bytes.chunks(BLOCK_SIZE).zip(self.crcs()).take_while(|(block, crc)| crc32c(block) == **crc).count()
    }

    /// The crc of these blocks behind others with `crc`, as they came in: the bytes are not looked at.
    pub fn append_to(&self, crc: u32) -> u32 {
        self.crcs().iter().fold(crc, |crc, block| behind_a_block(crc) ^ block)
    }

    /// The same with a flipped bit in each block, as only failing memory does it.
    #[cfg(test)]
    pub(crate) fn damaged(&self) -> Self {
        let bytes: Vec<u8> = self
            .bytes
            .iter()
            .enumerate()
            .map(|(at, byte)| if at % BLOCK_SIZE == 99 { byte ^ 8 } else { *byte })
            .collect();
        Self { bytes: bytes.into(), ..self.clone() }
    }

    fn crcs(&self) -> &[u32] {
        &self.crcs[self.first..self.first + self.nblocks()]
    }
}

/// What a crc contributes when a block follows: a linear map, by the bytes of the crc.
fn behind_a_block(crc: u32) -> u32 {
    static TABLE: LazyLock<[[u32; 256]; 4]> = LazyLock::new(|| {
        let entry = |byte: usize, value: usize| {
            let value = u32::try_from(value).expect("a byte");
            crc32c_combine(value << (8 * byte), 0, BLOCK_SIZE)
        };
        std::array::from_fn(|byte| std::array::from_fn(|value| entry(byte, value)))
    });
    let table = &*TABLE;
    crc.to_le_bytes().iter().zip(table).fold(0, |all, (&byte, column)| all ^ column[usize::from(byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(nblocks: usize) -> Vec<u8> {
        (0..nblocks * BLOCK_SIZE).map(|at| u8::try_from(at * 7919 % 251).expect("below 251")).collect()
    }

    #[test]
    fn joined_crcs_are_those_of_the_whole() {
        let bytes = Bytes::from(pattern(9));
        let data = Checked::new(bytes.clone());
        assert_eq!(data.append_to(0), crc32c(&bytes));
        for (skip, nblocks) in [(0, 4), (3, 1), (2, 7)] {
            let (head, part) = (data.slice(0, skip + 1), data.slice(skip, nblocks));
            assert_eq!(part.append_to(0), crc32c(part.bytes()));
            let both = [&head.bytes()[..], &part.bytes()[..]].concat();
            assert_eq!(part.append_to(head.append_to(0)), crc32c(&both));
        }
    }

    #[test]
    fn a_flipped_bit_is_found_in_its_block_whatever_was_split() {
        let data = Checked::new(pattern(8).into());
        assert_eq!(data.sound(), 8);
        let sixth = data.slice(5, 1).damaged();
        let parts = [&data.bytes()[..5 * BLOCK_SIZE], &sixth.bytes()[..], &data.bytes()[6 * BLOCK_SIZE..]];
        let data = Checked { bytes: parts.concat().into(), ..data };
        assert_eq!(data.sound(), 5);
        assert_eq!((data.slice(2, 6).sound(), data.slice(5, 1).sound(), data.slice(6, 2).sound()), (3, 0, 2));
        assert_ne!(data.append_to(0), crc32c(data.bytes()), "the crc is that of what came in");
    }
}
