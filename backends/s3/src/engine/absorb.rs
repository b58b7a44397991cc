//! Turning the payload of a WRITE into runs of blocks.
//!
//! Large slices are kept as they are. Small ones are copied into buffers of the right size, so that a 4 KiB write
//! never pins the 256 KiB receive buffer it came in. Blocks of zeros become zeros. The crc of each block is taken here, while
//! the block is in the processor's cache, and stays with it until it is stored.

use bytes::{Bytes, BytesMut};
use nbdgate_api::Payload;

use super::{held::Held, intervals::Content};
use crate::{checked::Checked, format::BLOCK_SIZE};

/// Slices shorter than this are copied.
const KEEP: usize = 64 << 10;

/// The blocks of a payload of whole blocks, in order: runs of data and of zeros with their numbers of blocks.
pub(super) fn absorb(payload: &Payload) -> Vec<(u64, Content)> {
    assert!(payload.len().is_multiple_of(BLOCK_SIZE as u64), "edges were merged before");
    let mut runs = Vec::new();
    let mut copied = BytesMut::new();
    for slice in payload.slices() {
        let mut slice = slice.clone();
        if slice.len() >= KEEP {
            // Fill up the block that the last slice began.
            let missing = copied.len().next_multiple_of(BLOCK_SIZE) - copied.len();
            copied.extend_from_slice(&slice.split_to(missing));
            emit(&copied.split().freeze(), &mut runs);
            let whole = slice.len() - slice.len() % BLOCK_SIZE;
            emit(&slice.split_to(whole), &mut runs);
        }
        if copied.is_empty() && !slice.is_empty() {
            copied = BytesMut::with_capacity(slice.len().next_multiple_of(BLOCK_SIZE));
        }
        copied.extend_from_slice(&slice);
    }
    emit(&copied.freeze(), &mut runs);
    runs
}

/// Splits a buffer of whole blocks at the borders of zeros.
fn emit(bytes: &Bytes, runs: &mut Vec<(u64, Content)>) {
    debug_assert!(bytes.len().is_multiple_of(BLOCK_SIZE), "whole blocks");
    let mut start = 0;
    while start < bytes.len() {
        let zero = is_zero(&bytes[start..start + BLOCK_SIZE]);
        let mut end = start + BLOCK_SIZE;
        while end < bytes.len() && is_zero(&bytes[end..end + BLOCK_SIZE]) == zero {
            end += BLOCK_SIZE;
        }
        let content =
            if zero { Content::Zero } else { Content::Data(Held::new(Checked::new(bytes.slice(start..end)))) };
        runs.push((((end - start) / BLOCK_SIZE) as u64, content));
        start = end;
    }
}

/// Whether all bytes are zero. Data differs early, so short pieces are tried in turn.
fn is_zero(block: &[u8]) -> bool {
    block.chunks(256).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(runs: &[(u64, Content)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (nblocks, content) in runs {
            match content {
                Content::Zero => out.resize(out.len() + usize::try_from(*nblocks).unwrap() * BLOCK_SIZE, 0),
                Content::Data(data) => {
                    let bytes = data.bytes();
                    assert_eq!(bytes.len() as u64, nblocks * BLOCK_SIZE as u64);
                    out.extend_from_slice(&bytes);
                }
            }
        }
        out
    }

    #[test]
    fn slices_of_any_length_come_back_as_blocks() {
        for sizes in [vec![4096], vec![100, 3996], vec![100_000, 31_072], vec![1, 200_000, 4799], vec![65_536, 65_536]]
        {
            let total: usize = sizes.iter().sum();
            let all: Vec<u8> = (0..=250_u8).cycle().take(total).collect();
            let mut payload = Payload::default();
            let mut rest = Bytes::from(all.clone());
            for size in sizes {
                payload.push(rest.split_to(size));
            }
            assert_eq!(flat(&absorb(&payload)), all);
        }
    }

    #[test]
    fn blocks_of_zeros_become_zeros() {
        let mut bytes = vec![0; 5 * BLOCK_SIZE];
        bytes[2 * BLOCK_SIZE + 7] = 1;
        let runs = absorb(&bytes.clone().into());
        let shape: Vec<_> =
            runs.iter().map(|(nblocks, content)| (*nblocks, matches!(content, Content::Zero))).collect();
        assert_eq!(shape, [(2, true), (1, false), (2, true)]);
        assert_eq!(flat(&runs), bytes);
    }

    #[test]
    fn a_small_slice_does_not_pin_its_buffer() {
        let big = Bytes::from(vec![7; 1 << 20]);
        let runs = absorb(&big.slice(8192..12288).into());
        let Content::Data(data) = &runs[0].1 else { panic!("data") };
        assert!(!big.as_ptr_range().contains(&data.bytes().as_ptr()));
        let runs = absorb(&big.slice(0..131_072).into());
        let Content::Data(data) = &runs[0].1 else { panic!("data") };
        assert!(big.as_ptr_range().contains(&data.bytes().as_ptr()), "a large slice is not copied");
    }
}
