//! What the answer to a read and to BLOCK_STATUS must look like: B3 and B8, without a backend.

use crate::{
    ByteRange, Extent, Piece,
    conformance::{Duty, Failure},
};

/// The bytes of a read that ended well, if its pieces cover the range exactly once.
pub(super) fn assemble(range: ByteRange, pieces: Vec<Piece>) -> Result<Vec<u8>, Failure> {
    let broken = |text| Failure::new(Duty::B3, format!("read of {range}: {text}"));
    let mut bytes = vec![0; usize::try_from(range.length()).expect("a read fits in memory")];
    let mut covered = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let part = match piece {
            Piece::Data { offset, bytes: data } => {
                let part = ByteRange::new(offset, data.len() as u64)
                    .ok_or_else(|| broken(format!("data at {offset} ends past 64 bits")))?;
                if range.contains(part) {
                    let at = usize::try_from(offset - range.offset()).expect("inside the range");
                    bytes[at..at + data.len()].copy_from_slice(&data);
                }
                part
            }
            Piece::Hole(part) => part,
            Piece::Failed(part, error) => return Err(broken(format!("{part} failed: {}", error.chain()))),
            Piece::Extents(_) => return Err(broken("answered with extents".into())),
        };
        if part.is_empty() || !range.contains(part) {
            return Err(broken(format!("a piece of {part} is empty or outside")));
        }
        covered.push(part);
    }
    covered.sort_unstable();
    let mut next = range.offset();
    for part in covered {
        if part.offset() != next {
            let fault = if part.offset() > next { "missing before" } else { "delivered twice at" };
            return Err(broken(format!("bytes are {fault} {}", part.offset())));
        }
        next = part.end();
    }
    if next != range.end() {
        return Err(broken(format!("bytes are missing from {next} on")));
    }
    Ok(bytes)
}

/// The extents of a BLOCK_STATUS that ended well, if they are as B8 says.
pub(super) fn extents(range: ByteRange, mut pieces: Vec<Piece>) -> Result<Vec<Extent>, Failure> {
    let broken = |text| Failure::new(Duty::B8, format!("block status of {range}: {text}"));
    let (Some(Piece::Extents(list)), true) = (pieces.pop(), pieces.is_empty()) else {
        return Err(broken("the answer is not one list of extents".to_owned()));
    };
    if list.is_empty() {
        return Err(broken("no extent".into()));
    }
    let mut next = range.offset();
    for Extent { range: part, kind } in &list {
        if part.is_empty() {
            return Err(broken(format!("an empty extent of kind {kind:?} at {}", part.offset())));
        }
        if part.offset() != next {
            return Err(broken(format!("an extent starts at {} instead of {next}", part.offset())));
        }
        next = part.end();
    }
    if next > range.end() {
        return Err(broken(format!("extents end at {next}, past the range")));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Error, ExtentKind, Kind};

    fn data(offset: u64, bytes: &'static [u8]) -> Piece {
        Piece::Data { offset, bytes: Bytes::from_static(bytes) }
    }

    fn hole(start: u64, end: u64) -> Piece {
        Piece::Hole(ByteRange::between(start, end))
    }

    fn refusal(pieces: Vec<Piece>) -> String {
        let failure = assemble(ByteRange::between(10, 20), pieces).unwrap_err();
        assert_eq!(failure.duty, Duty::B3);
        failure.text
    }

    #[test]
    fn pieces_in_any_order_make_the_bytes() {
        let pieces = vec![hole(14, 20), data(10, b"ab"), data(12, b"cd")];
        assert_eq!(assemble(ByteRange::between(10, 20), pieces).unwrap(), b"abcd\0\0\0\0\0\0");
    }

    #[test]
    fn gaps_overlaps_and_strays_are_refused() {
        assert!(refusal(vec![]).contains("missing from 10"));
        assert!(refusal(vec![hole(10, 19)]).contains("missing from 19"));
        assert!(refusal(vec![hole(10, 14), hole(15, 20)]).contains("missing before 15"));
        assert!(refusal(vec![hole(10, 15), hole(14, 20)]).contains("twice at 14"));
        assert!(refusal(vec![hole(10, 20), hole(10, 20)]).contains("twice at 10"));
        assert!(refusal(vec![hole(10, 21)]).contains("outside"));
        assert!(refusal(vec![data(9, b"x"), hole(10, 20)]).contains("outside"));
        assert!(refusal(vec![hole(12, 12), hole(10, 20)]).contains("empty"));
        assert!(refusal(vec![data(u64::MAX, b"xy")]).contains("64 bits"));
        assert!(refusal(vec![Piece::Extents(vec![])]).contains("extents"));
        let failed = Piece::Failed(ByteRange::between(10, 20), Error::new(Kind::Io, "no luck"));
        assert!(refusal(vec![failed]).contains("no luck"));
    }

    #[test]
    fn extents_must_follow_each_other_inside_the_range() {
        let range = ByteRange::between(10, 20);
        let told = |list: &[(u64, u64)]| {
            let extent = |&(start, end)| Extent { range: ByteRange::between(start, end), kind: ExtentKind::Data };
            extents(range, vec![Piece::Extents(list.iter().map(extent).collect())])
        };
        assert_eq!(told(&[(10, 12), (12, 15)]).unwrap().len(), 2);
        for bad in [&[][..], &[(11, 20)], &[(10, 10)], &[(10, 12), (13, 20)], &[(10, 12), (11, 20)], &[(10, 21)]] {
            assert_eq!(told(bad).unwrap_err().duty, Duty::B8, "{bad:?}");
        }
        assert_eq!(extents(range, vec![hole(10, 20)]).unwrap_err().duty, Duty::B8);
        assert_eq!(extents(range, vec![]).unwrap_err().duty, Duty::B8);
    }
}
