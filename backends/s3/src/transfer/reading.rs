//! A source in order, without its zeros.
//!
//! ```text
//!  next_data ─► pieces of up to 4 MiB ─► read, several at once ─► runs of blocks that are not zeros
//! ```

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use nbdgate_api::{ByteRange, Error, Kind};

use super::Source;
use crate::{
    checked::Checked,
    format::{BLOCK_SIZE, Lba},
    segment_builder::{Content, PendingExtent},
};

const BLOCK: u64 = BLOCK_SIZE as u64;

/// The longest piece that is read at once.
const PIECE: u64 = 4 << 20;

/// Pieces read at once.
const PARALLEL: usize = 4;

/// Zeros inside data become a hole from so many blocks on; fewer compress to nothing, and a hole would cost the map two
/// extents.
const HOLE: usize = 4;

/// A piece of a source that was read.
#[derive(Debug)]
pub(super) struct ReadPiece {
    /// Everything before this offset was read or is a hole.
    pub(super) upto: u64,
    /// Sorted, without zeros.
    pub(super) extents: Vec<PendingExtent>,
}

/// All pieces in order.
pub(super) fn pieces(source: &Arc<dyn Source>) -> impl Stream<Item = Result<ReadPiece, Error>> + '_ {
    let ranges = stream::try_unfold(0_u64, move |at| async move {
        let source = Arc::clone(source);
        let next = blocking(move || source.next_data(at), "looking for data in the source").await?;
        Ok::<_, Error>(next.map(|range| {
            // Whole blocks, each read once: the end of a piece is where the next search begins.
            let start = (range.offset() / BLOCK * BLOCK).max(at);
            let end = range.end().min((start / PIECE + 1) * PIECE).div_ceil(BLOCK) * BLOCK;
            let piece = ByteRange::between(start, end);
            (piece, piece.end())
        }))
    });
    ranges
        .map(move |range| async move {
            let range = range?;
            let source = Arc::clone(source);
            blocking(move || read(source.as_ref(), range), "reading the source").await
        })
        .buffered(PARALLEL)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    tried: &'static str,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::new(Kind::Io, tried).with_source(error))?.map_err(|error| Error::from_io(error, tried))
}

/// Reads whole blocks; the last one of a source that does not end with a block is filled up with zeros.
fn read(source: &dyn Source, range: ByteRange) -> std::io::Result<ReadPiece> {
    let within = ByteRange::between(range.offset(), range.end().min(source.size()));
    let length = |range: ByteRange| usize::try_from(range.length()).expect("a piece has 4 MiB at the most");
    let mut buffer = vec![0; length(range)];
    source.read_at(&mut buffer[..length(within)], range.offset())?;
    let first = Lba(range.offset() / BLOCK);
    Ok(ReadPiece { upto: range.end(), extents: without_zeros(first, &buffer.into()) })
}

/// The runs of `bytes` that are not zeros.
fn without_zeros(first: Lba, bytes: &Bytes) -> Vec<PendingExtent> {
    let zero: Vec<bool> = bytes.chunks(BLOCK_SIZE).map(is_zero).collect();
    let mut extents = Vec::new();
    let mut at = 0;
    while at < zero.len() {
        let zeros = zero[at..].iter().take_while(|&&zero| zero).count();
        if zeros >= HOLE || at + zeros == zero.len() {
            at += zeros;
            continue;
        }
        let start = at;
        at += zeros;
        while at < zero.len() {
            let zeros = zero[at..].iter().take_while(|&&zero| zero).count();
            if zeros >= HOLE || at + zeros == zero.len() && zeros > 0 {
                break;
            }
            at += zeros.max(1);
        }
        let data = Checked::new(bytes.slice(start * BLOCK_SIZE..at * BLOCK_SIZE));
        extents.push(PendingExtent { lba: first.plus(start as u64), content: Content::Data(data) });
    }
    extents
}

fn is_zero(block: &[u8]) -> bool {
    let (words, rest) = block.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(pattern: &str) -> Vec<(u64, usize)> {
        let bytes: Vec<u8> = pattern.bytes().flat_map(|c| vec![u8::from(c == b'x'); BLOCK_SIZE]).collect();
        let length = |extent: &PendingExtent| match &extent.content {
            Content::Data(data) => data.nblocks(),
            Content::Zero(_) => panic!("only data is read"),
        };
        without_zeros(Lba(100), &bytes.into()).iter().map(|extent| (extent.lba.0 - 100, length(extent))).collect()
    }

    #[test]
    fn long_zeros_and_those_at_an_end_are_holes() {
        assert_eq!(runs(""), []);
        assert_eq!(runs("........"), []);
        assert_eq!(runs("x"), [(0, 1)]);
        assert_eq!(runs("xx...x"), [(0, 6)], "a short hole costs more than it saves");
        assert_eq!(runs("xx....x"), [(0, 2), (6, 1)]);
        assert_eq!(runs("xx.."), [(0, 2)]);
        assert_eq!(runs("....x.x....."), [(4, 3)]);
        assert_eq!(runs("..x"), [(0, 3)]);
    }
}
