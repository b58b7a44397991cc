//! What a disk is read of first after an attach, kept for the next one (OBJECT-LOG §5.4).
//!
//! A list of stretches of the disk in 64 KiB granules, in the order of their first reads. It names places of the disk and
//! no objects, so it stays useful when data is moved or rewritten, and a clone can use it as it is. It is a hint:
//! one that is damaged, stale or of another disk costs some prefetching and nothing else.
//!
//! ```text
//!  version u8 (1), then per stretch two varints: zigzag(start - end of the one before), granules - 1; crc32c u32
//! ```

use std::collections::HashSet;

use bytes::Bytes;

use crate::format::Manifest;

/// Tag of the manifest that carries it: one that a writer copies if it does not know it.
pub(crate) const TAG: u16 = 0xc001;

/// Bytes of a granule.
pub(crate) const GRANULE: u64 = 64 << 10;

/// The longest that it gets, in bytes.
const LONGEST: usize = 16 << 10;

/// Granules that are recorded at most: 2 GiB.
const MOST: usize = 32 << 10;

/// No disk has more granules.
const GRANULES: u64 = crate::MAX_SIZE / GRANULE;

const VERSION: u8 = 1;

/// Stretches of granules in the order of their first reads: start and length of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AttachProfile {
    stretches: Vec<(u64, u64)>,
}

impl AttachProfile {
    /// The profile that a manifest carries; empty if there is none, or none that makes sense.
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let found = manifest.copied.iter().find(|(tag, _)| *tag == TAG);
        found.and_then(|(_, bytes)| Self::decode(bytes)).unwrap_or_default()
    }

    /// Puts it into a manifest in place of what was there.
    pub(crate) fn put(&self, manifest: &mut Manifest) {
        manifest.copied.retain(|(tag, _)| *tag != TAG);
        let at = manifest.copied.partition_point(|(tag, _)| *tag < TAG);
        manifest.copied.insert(at, (TAG, self.encode()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }

    /// The stretches as bytes of the disk.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = std::ops::Range<u64>> + '_ {
        self.stretches.iter().map(|(start, count)| start * GRANULE..(start + count) * GRANULE)
    }

    fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        let mut end = 0_i64;
        for &(start, count) in &self.stretches {
            let start = i64::try_from(start).expect("granules of a disk");
            let gap = start - end;
            let before = out.len();
            put_varint(&mut out, (gap << 1 ^ gap >> 63).cast_unsigned());
            put_varint(&mut out, count - 1);
            if out.len() + 4 > LONGEST {
                out.truncate(before);
                break;
            }
            end = start + i64::try_from(count).expect("granules of a disk");
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.into()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if bytes.len() > LONGEST || crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (&version, mut rest) = body.split_first()?;
        if version != VERSION {
            return None;
        }
        let mut stretches = Vec::new();
        let mut end = 0_i64;
        while !rest.is_empty() {
            let gap = take_varint(&mut rest)?;
            let gap = (gap >> 1).cast_signed() ^ -(gap & 1).cast_signed();
            let start = end.checked_add(gap).and_then(|start| u64::try_from(start).ok())?;
            let count = take_varint(&mut rest)?.checked_add(1)?;
            let after = start.checked_add(count).filter(|&after| after <= GRANULES)?;
            stretches.push((start, count));
            end = after.cast_signed();
        }
        Some(Self { stretches })
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("seven bits"));
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Takes a profile down while a disk is read.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    known: HashSet<u64>,
    profile: AttachProfile,
}

impl Recorder {
    /// Notes a read of stored bytes.
    pub(crate) fn note(&mut self, start: u64, end: u64) {
        for granule in start / GRANULE..end.div_ceil(GRANULE) {
            if self.known.len() >= MOST || !self.known.insert(granule) {
                continue;
            }
            match self.profile.stretches.last_mut() {
                Some((start, count)) if *start + *count == granule => *count += 1,
                _ => self.profile.stretches.push((granule, 1)),
            }
        }
    }

    /// What was recorded so far.
    pub(crate) fn profile(&self) -> &AttachProfile {
        &self.profile
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn recorded(reads: &[(u64, u64)]) -> AttachProfile {
        let mut recorder = Recorder::default();
        for &(start, end) in reads {
            recorder.note(start, end);
        }
        recorder.profile().clone()
    }

    #[test]
    fn reads_become_stretches_in_their_order() {
        let profile = recorded(&[(10 * GRANULE, 10 * GRANULE + 1), (11 * GRANULE, 13 * GRANULE), (5, 6), (0, 9)]);
        let ranges: Vec<_> = profile.ranges().collect();
        assert_eq!(ranges, [10 * GRANULE..13 * GRANULE, 0..GRANULE]);
        assert_eq!(AttachProfile::decode(&profile.encode()), Some(profile));
    }

    #[test]
    fn the_bytes_of_a_profile() {
        let profile = recorded(&[(3 * GRANULE, 5 * GRANULE), (0, GRANULE), (300 * GRANULE, 301 * GRANULE)]);
        let bytes = profile.encode();
        // +3, 2 granules; -5, 1; +299, 1.
        assert_eq!(bytes[..bytes.len() - 4], [1, 6, 1, 9, 0, 0xd6, 0x04, 0]);
    }

    #[test]
    fn a_profile_is_no_longer_than_its_limit() {
        let reads: Vec<_> =
            (0..30_000).map(|n| (n * 7919 % 60_000 * GRANULE, n * 7919 % 60_000 * GRANULE + 1)).collect();
        let bytes = recorded(&reads).encode();
        assert!(bytes.len() <= LONGEST);
        assert!(AttachProfile::decode(&bytes).unwrap().stretches.len() > 4000);
    }

    #[test]
    fn a_flipped_bit_anywhere_makes_it_none() {
        let bytes = recorded(&[(3 * GRANULE, 5 * GRANULE), (0, GRANULE)]).encode();
        for at in 0..bytes.len() * 8 {
            let mut bad = bytes.to_vec();
            bad[at / 8] ^= 1 << (at % 8);
            assert_eq!(AttachProfile::decode(&bad), None, "bit {at}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_bucket_holds_is_a_profile_of_a_disk_or_none(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut bytes = vec![VERSION];
            bytes.extend(body);
            let crc = crc32c::crc32c(&bytes);
            bytes.extend(crc.to_le_bytes());
            if let Some(profile) = AttachProfile::decode(&bytes) {
                prop_assert!(profile.ranges().all(|range| range.start < range.end && range.end <= crate::MAX_SIZE));
            }
        }
    }
}
