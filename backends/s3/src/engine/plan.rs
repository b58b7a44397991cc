//! Which GETs bring a set of frames of one segment: near frames share one, up to the longest (`ReadRules`).

use std::ops::Range;

use super::effect::FrameSpec;
use crate::{ReadRules, format::SegmentIndex};

/// The GETs for `frames`, which are in order: ranges of the object, each with its frames.
///
/// If more than half of the segment is wanted, the gaps are read along.
pub(super) fn gets(
    index: &SegmentIndex,
    frames: Vec<FrameSpec>,
    rules: &ReadRules,
) -> Vec<(Range<u64>, Vec<FrameSpec>)> {
    let wanted: u64 = frames.iter().map(|frame| frame.nblocks).map(u64::from).sum();
    let gap = if wanted * 2 > u64::from(index.lblocks()) { rules.get_max } else { rules.join_gap };
    let mut gets: Vec<(Range<u64>, Vec<FrameSpec>)> = Vec::new();
    for frame in frames {
        match gets.last_mut() {
            Some((range, list))
                if frame.stored.start - range.end <= gap && frame.stored.end - range.start <= rules.get_max =>
            {
                range.end = frame.stored.end;
                list.push(frame);
            }
            _ => gets.push((frame.stored.clone(), vec![frame])),
        }
    }
    gets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Codec, DataRecord, Epoch, Lba, Nonce, Object, ObjectName, SegmentMeta, Seq, VolumeId, Writer};

    fn index(stored: &[u32]) -> SegmentIndex {
        let record = |(at, &stored_len): (usize, &u32)| DataRecord {
            lba: Lba(at as u64 * 10),
            nblocks: 4,
            codec: Codec::Raw,
            stored_len,
            stored_crc: 0,
            plain_crc: 0,
        };
        let meta = SegmentMeta { data: stored.iter().enumerate().map(record).collect(), ..SegmentMeta::default() };
        let writer = Writer { epoch: Epoch(1), nonce: Nonce(1) };
        let name = ObjectName::Log { writer, seq: Seq(1) };
        SegmentIndex::from_parts(Object { volume: VolumeId(uuid::Uuid::nil()), name }, 100, None, &meta)
    }

    fn plan(index: &SegmentIndex, numbers: &[u32]) -> Vec<(Range<u64>, usize)> {
        let frames = numbers.iter().map(|number| index.locate(number * 4, 4).unwrap().next().unwrap()).collect();
        gets(index, frames, &ReadRules::default()).into_iter().map(|(range, frames)| (range, frames.len())).collect()
    }

    #[test]
    fn close_frames_share_a_get_and_far_ones_do_not() {
        let index = index(&[1000, 1000, 200_000, 1000, 300_000, 300_000, 300_000]);
        assert_eq!(plan(&index, &[0, 1]), [(100..2100, 2)]);
        assert_eq!(plan(&index, &[0, 1, 3]), [(100..2100, 2), (202_100..203_100, 1)]);
    }

    #[test]
    fn no_get_is_longer_than_the_limit() {
        let index = index(&[1 << 20; 16]);
        let gets = plan(&index, &(0..16).collect::<Vec<_>>());
        assert_eq!(
            gets.iter().map(|(range, frames)| (range.end - range.start, *frames)).collect::<Vec<_>>(),
            [(4 << 20, 4); 4]
        );
    }

    #[test]
    fn most_of_a_segment_is_read_as_a_whole() {
        let index = index(&[1000, 200_000, 1000, 1000, 1000]);
        assert_eq!(plan(&index, &[0, 2, 3, 4]).len(), 1, "the gap is read along");
        assert_eq!(plan(&index, &[0, 2]).len(), 2);
    }
}
