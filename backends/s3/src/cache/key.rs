//! What a line is of: an object of a volume, and a number.
//!
//! Volumes and writers have random ids and no name is ever used for two contents, so a key means the same bytes in
//! every disk of every process, and for ever.

use sha2::{Digest, Sha256};

use super::LINE;
use crate::format::Object;

/// An object, as 128 bits of the sha-256 of its volume and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ObjectKey([u8; 16]);

impl ObjectKey {
    pub(crate) fn of(object: Object) -> Self {
        let mut digest = Sha256::new();
        digest.update(object.volume.0.as_bytes());
        digest.update(object.name.to_string());
        let digest = digest.finalize();
        Self(std::array::from_fn(|at| digest[at]))
    }

    /// The line with this number.
    pub(super) fn line(self, number: u32) -> LineKey {
        LineKey { object: self, number }
    }
}

/// The lines that hold the bytes `start..end` of an object.
pub(crate) fn lines(start: u64, end: u64) -> std::ops::Range<u32> {
    let narrow = |line: u64| u32::try_from(line).expect("objects have fewer than 2^32 lines");
    narrow(start / LINE)..narrow(end.div_ceil(LINE))
}

/// One line of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct LineKey {
    object: ObjectKey,
    number: u32,
}

impl LineKey {
    /// 64 bits by which it is looked up. Two lines with the same ones are told apart by [`check`](Self::check).
    pub(super) fn print(self) -> u64 {
        let (high, low) = self.object.0.split_at(8);
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("half of a key"));
        mix(word(high) ^ mix(word(low) ^ u64::from(self.number)))
    }

    /// The crc of the whole key and the bytes: it fits no other line, and no other bytes.
    pub(super) fn check(self, bytes: &[u8]) -> u32 {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&self.object.0), &self.number.to_le_bytes());
        crc32c::crc32c_append(crc, bytes)
    }
}

/// The finalizer of MurmurHash3.
fn mix(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^= word >> 33;
    word = word.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ (word >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Epoch, Nonce, ObjectName, Seq, VolumeId, Writer};

    fn object(volume: u128, seq: u64) -> Object {
        let writer = Writer { epoch: Epoch(1), nonce: Nonce(2) };
        Object { volume: VolumeId(uuid::Uuid::from_u128(volume)), name: ObjectName::Log { writer, seq: Seq(seq) } }
    }

    #[test]
    fn volume_object_and_line_all_count() {
        let all = [(1, 1, 0), (2, 1, 0), (1, 2, 0), (1, 1, 1)].map(|(volume, seq, line)| {
            let key = ObjectKey::of(object(volume, seq)).line(line);
            (key.print(), key.check(b"same"))
        });
        for (at, one) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| other.0 != one.0 && other.1 != one.1));
        }
        assert_eq!(ObjectKey::of(object(1, 1)), ObjectKey::of(object(1, 1)));
    }

    #[test]
    fn a_range_of_bytes_is_the_lines_it_touches() {
        assert_eq!(lines(0, 1), 0..1);
        assert_eq!(lines(LINE - 1, LINE + 1), 0..2);
        assert_eq!(lines(LINE, 2 * LINE), 1..2);
    }
}
