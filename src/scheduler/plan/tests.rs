//! Whatever the pieces, the chunks cover the request exactly once.

use proptest::prelude::*;

use super::*;

fn range(offset: u64, length: u64) -> ByteRange {
    ByteRange::new(offset, length).unwrap()
}

/// The byte that data holds at `offset`, never zero.
fn pattern(offset: u64) -> u8 {
    (offset % 251) as u8 + 1
}

fn data(range: ByteRange) -> Piece {
    Piece::Data { offset: range.offset(), bytes: (range.offset()..range.end()).map(pattern).collect() }
}

fn stream(request: ByteRange, pieces: Vec<Piece>) -> Vec<Chunk> {
    let mut plan = Stream::new(request);
    let mut chunks = Vec::new();
    for piece in pieces {
        assert!(!plan.is_covered(), "covered before the last piece");
        plan.push(piece, &mut chunks).unwrap();
    }
    assert!(plan.is_covered());
    assert!(plan.fragments.is_empty());
    chunks
}

#[test]
fn a_whole_data_piece_is_one_chunk_that_shares_its_bytes() {
    let bytes = Bytes::from(vec![7; 4096]);
    let chunks = stream(range(100, 4096), vec![Piece::Data { offset: 100, bytes: bytes.clone() }]);
    let [Chunk::Data { offset: 100, payload }] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!(payload.slices()[0].as_ptr(), bytes.as_ptr());
}

#[test]
fn a_tiny_hole_is_folded_into_its_neighbours() {
    let request = range(0, 16384);
    let chunks = stream(request, vec![data(range(0, 8192)), Piece::Hole(range(8192, 2048)), data(range(10240, 6144))]);
    assert!(matches!(&chunks[..], [Chunk::Data { offset: 0, payload }] if payload.len() == 16384), "{chunks:?}");
}

#[test]
fn a_failed_piece_is_an_error_and_the_others_are_delivered() {
    let chunks = stream(
        range(0, 12288),
        vec![
            data(range(8192, 4096)),
            Piece::Failed(range(4096, 4096), Error::new(Kind::Io, "bad")),
            data(range(0, 4096)),
        ],
    );
    assert!(
        matches!(
            &chunks[..],
            [Chunk::Data { offset: 8192, .. }, Chunk::Error { offset: 4096, .. }, Chunk::Data { offset: 0, .. }]
        ),
        "{chunks:?}"
    );
}

#[test]
fn a_backend_that_delivers_too_much_is_an_error() {
    let mut plan = Stream::new(range(0, 1024));
    let mut chunks = Vec::new();
    plan.push(data(range(0, 1024)), &mut chunks).unwrap();
    assert!(plan.push(data(range(0, 512)), &mut chunks).is_err());
    assert!(Stream::new(range(0, 1024)).push(data(range(512, 1024)), &mut chunks).is_err());
}

#[test]
fn a_gathered_read_with_a_gap_an_overlap_or_a_failure_is_an_error() {
    for pieces in [
        vec![data(range(0, 512))],
        vec![data(range(0, 1024)), data(range(512, 512))],
        vec![data(range(0, 512)), Piece::Failed(range(512, 512), Error::new(Kind::Io, "bad"))],
    ] {
        let mut plan = Gather::new(range(0, 1024));
        for piece in pieces {
            plan.push(piece);
        }
        assert!(plan.finish().is_err());
    }
}

/// A request, its pieces in a random order, and which of them fail.
fn cases() -> impl Strategy<Value = (ByteRange, Vec<(ByteRange, u8)>)> {
    let cut =
        prop_oneof![8 => 1_u64..700, 8 => (1_u64..20).prop_map(|n| n * 512), 1 => (1_u64..4).prop_map(|n| n << 19)];
    (0_u64..5000, prop::collection::vec((cut, 0_u8..8), 1..16)).prop_flat_map(|(start, cuts)| {
        let mut offset = start;
        let pieces: Vec<_> = cuts
            .into_iter()
            .map(|(length, kind)| {
                let piece = range(offset, length);
                offset += length;
                (piece, kind)
            })
            .collect();
        (Just(ByteRange::between(start, offset)), Just(pieces).prop_shuffle())
    })
}

fn piece((range, kind): (ByteRange, u8)) -> Piece {
    match kind {
        0..4 => data(range),
        4..7 => Piece::Hole(range),
        _ => Piece::Failed(range, Error::new(Kind::Io, "seeded")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn chunks_cover_the_request_exactly_once((request, pieces) in cases()) {
        let zero_at = |offset: u64| {
            pieces.iter().any(|(r, kind)| r.offset() <= offset && offset < r.end() && (4..7).contains(kind))
        };
        let failed: Vec<ByteRange> = pieces.iter().filter(|(_, kind)| *kind == 7).map(|(r, _)| *r).collect();
        let chunks = stream(request, pieces.iter().copied().map(piece).collect());
        let mut covered: Vec<ByteRange> = Vec::new();
        let mut errors = 0;
        for chunk in &chunks {
            let here = match chunk {
                Chunk::Data { offset, payload } => {
                    prop_assert!(payload.len() <= MAX_CHUNK);
                    let mut bytes = vec![0; usize::try_from(payload.len()).unwrap()];
                    payload.copy_to(&mut bytes);
                    for (at, byte) in (*offset..).zip(&bytes) {
                        prop_assert_eq!(*byte, if zero_at(at) { 0 } else { pattern(at) });
                    }
                    range(*offset, payload.len())
                }
                Chunk::Hole(hole) => {
                    prop_assert!(hole.length() >= FOLD || *hole == request);
                    prop_assert!(pieces.iter().any(|(r, kind)| r.contains(*hole) && (4..7).contains(kind)));
                    *hole
                }
                Chunk::Error { offset, .. } => {
                    prop_assert!(failed.iter().any(|r| r.offset() == *offset));
                    errors += 1;
                    continue;
                }
            };
            for border in [here.offset(), here.end()] {
                prop_assert!(
                    border.is_multiple_of(SECTOR) || border == request.offset() || border == request.end(),
                    "border {} in {}", border, request
                );
            }
            prop_assert!(covered.iter().all(|other| !other.overlaps(here)), "{} is sent twice", here);
            covered.push(here);
        }
        prop_assert_eq!(errors, failed.len());
        // Only sectors that hold a failed byte are missing.
        for sector in request.pieces(SECTOR) {
            let sent = covered.iter().any(|r| r.contains(sector));
            let bad = failed.iter().any(|r| r.overlaps(sector));
            prop_assert_eq!(sent, !bad, "sector {}", sector);
        }
    }

    #[test]
    fn a_gathered_reply_is_the_request_as_a_whole((request, pieces) in cases()) {
        let mut plan = Gather::new(request);
        pieces.iter().copied().map(piece).for_each(|piece| plan.push(piece));
        match plan.finish() {
            Err(_) => prop_assert!(pieces.iter().any(|(_, kind)| *kind == 7)),
            Ok(Chunk::Hole(hole)) => {
                prop_assert_eq!(hole, request);
                prop_assert!(pieces.iter().all(|(_, kind)| (4..7).contains(kind)));
            }
            Ok(Chunk::Data { offset, payload }) => {
                prop_assert_eq!(range(offset, payload.len()), request);
                let mut bytes = vec![0; usize::try_from(payload.len()).unwrap()];
                payload.copy_to(&mut bytes);
                for (piece, kind) in pieces {
                    for at in piece.offset()..piece.end() {
                        let byte = bytes[usize::try_from(at - offset).unwrap()];
                        prop_assert_eq!(byte, if (4..7).contains(&kind) { 0 } else { pattern(at) });
                    }
                }
            }
            Ok(Chunk::Error { .. }) => prop_assert!(false, "a gathered reply has no error chunks"),
        }
    }
}
