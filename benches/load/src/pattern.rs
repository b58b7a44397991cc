//! What a verifying run writes: sectors that say where they belong and which write they are of.
//!
//! ```text
//! sector of 512 bytes at offset o:  o | tag | mix(o+16, tag) | mix(o+24, tag) | ...      words of 8 bytes, LE
//! tag:                              run << 32 | generation
//! ```
//!
//! The run's number keeps what an earlier run left from passing for a write of this one.

use std::fmt;

const SECTOR: usize = 512;
const WORD: usize = 8;

/// Identifies one write of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) run: u32,
    pub(crate) generation: u32,
}

impl Tag {
    fn word(self) -> u64 {
        u64::from(self.run) << 32 | u64::from(self.generation)
    }
}

/// A sector that is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// The sector's offset on the disk.
    pub(crate) offset: u64,
    /// The write that was answered last.
    pub(crate) expected: Tag,
    /// The first two words that were found.
    pub(crate) found: (u64, u64),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, expected, found } = self;
        write!(
            f,
            "sector at {offset}: expected generation {} of run {:08x}, found ",
            expected.generation, expected.run
        )?;
        match *found {
            (0, 0) => write!(f, "zeros"),
            (o, tag) if o == *offset && tag == expected.word() => write!(f, "its first words with a damaged rest"),
            (o, tag) => write!(f, "offset {o}, generation {} of run {:08x}", tag & 0xffff_ffff, tag >> 32),
        }
    }
}

/// Fills a payload for the offset; both are multiples of 512.
pub(crate) fn fill(payload: &mut [u8], offset: u64, tag: Tag) {
    assert!(payload.len().is_multiple_of(SECTOR), "a pattern is made of whole sectors");
    for (sector, at) in payload.chunks_exact_mut(SECTOR).zip((offset..).step_by(SECTOR)) {
        for (index, word) in sector.chunks_exact_mut(WORD).enumerate() {
            word.copy_from_slice(&expected_word(at, tag, index).to_le_bytes());
        }
    }
}

/// Compares with what `fill` writes; the first wrong sector, if any.
pub(crate) fn check(payload: &[u8], offset: u64, tag: Tag) -> Result<(), Mismatch> {
    assert!(payload.len().is_multiple_of(SECTOR), "a pattern is made of whole sectors");
    for (sector, at) in payload.chunks_exact(SECTOR).zip((offset..).step_by(SECTOR)) {
        let right = (0..SECTOR / WORD).all(|index| word(sector, index) == expected_word(at, tag, index));
        if !right {
            return Err(Mismatch { offset: at, expected: tag, found: (word(sector, 0), word(sector, 1)) });
        }
    }
    Ok(())
}

fn expected_word(sector: u64, tag: Tag, index: usize) -> u64 {
    match index {
        0 => sector,
        1 => tag.word(),
        _ => mix(sector + (index * WORD) as u64, tag.word()),
    }
}

fn mix(offset: u64, tag: u64) -> u64 {
    offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ tag.wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(29)
}

fn word(sector: &[u8], index: usize) -> u64 {
    let bytes = &sector[index * WORD..(index + 1) * WORD];
    u64::from_le_bytes(bytes.try_into().expect("the slice has a word's length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: Tag = Tag { run: 7, generation: 3 };

    fn filled() -> Vec<u8> {
        let mut payload = vec![0; 2048];
        fill(&mut payload, 4096, TAG);
        payload
    }

    #[test]
    fn what_was_filled_checks() {
        assert_eq!(check(&filled(), 4096, TAG), Ok(()));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let mut payload = filled();
        for bit in 0..payload.len() * 8 {
            payload[bit / 8] ^= 1 << (bit % 8);
            let wrong = check(&payload, 4096, TAG).expect_err("a flipped bit passed");
            assert_eq!(wrong.offset, 4096 + (bit / 8 / SECTOR * SECTOR) as u64);
            payload[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn another_place_generation_or_run_is_told() {
        let payload = filled();
        let found = check(&payload, 8192, TAG).unwrap_err().to_string();
        assert_eq!(
            found,
            "sector at 8192: expected generation 3 of run 00000007, found offset 4096, generation 3 of run 00000007"
        );
        assert!(check(&payload, 4096, Tag { generation: 4, ..TAG }).is_err());
        assert!(check(&payload, 4096, Tag { run: 8, ..TAG }).is_err());
        assert!(check(&[0; 512], 0, TAG).unwrap_err().to_string().ends_with("found zeros"));
    }
}
