//! Which ranges of a segment bring the frames that hold its live blocks.

use std::ops::Range;

use crate::format::{FormatError, Frame, SegmentIndex};

/// Frames with less than this between them come in one GET: a request costs as much as so many bytes of waiting.
const GAP: u64 = 256 << 10;

/// The longest GET, unless a single frame is longer.
const LONGEST: u64 = 8 << 20;

/// A GET and the frames that are wanted of it.
pub(crate) type Piece = (Range<u64>, Vec<Frame>);

/// The GETs for runs of blocks (first block, number), which are in order and do not overlap.
pub(crate) fn pieces(index: &SegmentIndex, runs: impl Iterator<Item = (u32, u32)>) -> Result<Vec<Piece>, FormatError> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (lblk, nblocks) in runs {
        for frame in index.locate(lblk, nblocks)? {
            match pieces.last_mut() {
                Some((_, frames)) if frames.last().is_some_and(|last| last.number == frame.number) => {}
                Some((range, frames))
                    if frame.stored.start - range.end <= GAP && frame.stored.end - range.start <= LONGEST =>
                {
                    range.end = frame.stored.end;
                    frames.push(frame);
                }
                _ => pieces.push((frame.stored.clone(), vec![frame])),
            }
        }
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Codec, DataRecord, Epoch, Lba, Nonce, Object, ObjectName, SegmentMeta, Seq, VolumeId, Writer};

    /// Frames of four blocks with these stored lengths.
    fn index(stored: &[u32]) -> SegmentIndex {
        let record = |(at, &stored_len): (usize, &u32)| DataRecord {
            lba: Lba(at as u64 * 10),
            nblocks: 4,
            codec: Codec::Zstd,
            stored_len,
            stored_crc: 0,
            plain_crc: 0,
        };
        let meta = SegmentMeta { data: stored.iter().enumerate().map(record).collect(), ..SegmentMeta::default() };
        let writer = Writer { epoch: Epoch(1), nonce: Nonce(1) };
        let name = ObjectName::Log { writer, seq: Seq(1) };
        SegmentIndex::from_parts(Object { volume: VolumeId(uuid::Uuid::nil()), name }, 100, None, &meta)
    }

    fn plan(stored: &[u32], runs: &[(u32, u32)]) -> Vec<(Range<u64>, Vec<u32>)> {
        let found = pieces(&index(stored), runs.iter().copied()).unwrap();
        found.into_iter().map(|(range, frames)| (range, frames.iter().map(|frame| frame.number).collect())).collect()
    }

    #[test]
    fn a_frame_is_asked_for_once_however_many_of_its_blocks_live() {
        assert_eq!(plan(&[1000, 1000], &[(0, 1), (2, 1), (3, 2)]), [(100..2100, vec![0, 1])]);
    }

    #[test]
    fn frames_far_apart_come_apart() {
        let stored = [1000, 300_000, 1000, 1000];
        assert_eq!(plan(&stored, &[(0, 1), (8, 1), (15, 1)]), [(100..1100, vec![0]), (301_100..303_100, vec![2, 3])]);
    }

    #[test]
    fn no_get_is_longer_than_the_limit() {
        let pieces = plan(&[1 << 20; 20], &[(0, 80)]);
        assert_eq!(pieces.iter().map(|(_, frames)| frames.len()).collect::<Vec<_>>(), [8, 8, 4]);
    }

    #[test]
    fn a_run_that_is_not_in_the_segment_is_an_error() {
        assert!(pieces(&index(&[10]), [(3, 2)].into_iter()).is_err());
    }
}
