//! The bytes of an object that a fetch needs: one GET without a read cache; with one, its lines, and GETs for those that
//! are missing.
//!
//! GETs are made of whole lines then, so that all they bring can be kept, and lines that are near each other share one
//! (`ReadRules`).

use std::{collections::BTreeMap, ops::Range};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use nbdgate_api::Error;

use super::Driver;
use crate::{
    ReadRules,
    cache::{Cache, LINE, ObjectKey, lines},
    engine::FetchJob,
    head::Bad,
    store::Patience,
};

/// GETs of one fetch at once.
const PARALLEL: usize = 8;

/// What a fetch needs, and for how long it tries.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) driver: &'a Driver,
    pub(super) job: &'a FetchJob,
    pub(super) patience: Patience,
}

/// Parts of an object by their offsets, and why others are missing.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    parts: BTreeMap<u64, Part>,
    failure: Option<Error>,
}

#[derive(Debug)]
struct Part {
    bytes: Bytes,
    /// From the store, and made of whole lines.
    new: bool,
}

impl Wanted<'_> {
    pub(super) async fn pieces(&self) -> Pieces {
        let mut pieces = Pieces::default();
        match &self.driver.cache {
            None => {
                let range = self.job.range.clone();
                pieces.add(range.start, self.get(range).await, false);
            }
            Some(cache) => self.through(cache, &mut pieces).await,
        }
        pieces
    }

    async fn through(&self, cache: &Cache, pieces: &mut Pieces) {
        let mut wanted: Vec<u32> =
            self.job.frames.iter().flat_map(|frame| lines(frame.stored.start, frame.stored.end)).collect();
        wanted.dedup();
        let key = ObjectKey::of(self.job.index.object());
        let found = cache.read(&self.driver.runtime, key, &wanted).await;
        let mut missing = Vec::new();
        for (line, bytes) in wanted.into_iter().zip(found) {
            match bytes {
                Some(bytes) => pieces.add(u64::from(line) * LINE, Ok(bytes), false),
                None => missing.push(line),
            }
        }
        let end = self.job.index.object_len();
        let gets = stream::iter(join(&missing, &self.driver.rules)).map(|lines| async move {
            let range = u64::from(lines.start) * LINE..(u64::from(lines.end) * LINE).min(end);
            (range.start, self.get(range).await)
        });
        let mut gets = gets.buffer_unordered(PARALLEL);
        while let Some((start, result)) = gets.next().await {
            pieces.add(start, result, true);
        }
    }

    /// Bytes of the object from the store, all of them.
    pub(super) async fn get(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let Self { driver, job, patience } = *self;
        let object = job.index.object();
        let got = driver.store.get_hedged(&driver.hedges, job.cause, &object.key(), range, patience).await;
        got.map_err(|error| Bad::Store(error).tell(&driver.store, object))
    }
}

impl Pieces {
    fn add(&mut self, start: u64, result: Result<Bytes, Error>, new: bool) {
        match result {
            Ok(bytes) => {
                // A line that is in the cache may come along with others that are not.
                let longer = self.parts.get(&start).is_none_or(|known| known.bytes.len() < bytes.len());
                if longer {
                    self.parts.insert(start, Part { bytes, new });
                }
            }
            Err(error) => self.failure = Some(error),
        }
    }

    /// The bytes of `range`; fewer if the object ends before. Copied only if they are not together.
    ///
    /// # Errors
    /// They could not be had.
    pub(super) fn cut(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let mut at = range.start;
        let mut joined = BytesMut::new();
        while at < range.end {
            let Some((start, part)) = self.reaching(at) else {
                if let Some(error) = &self.failure {
                    return Err(error.duplicate());
                }
                break;
            };
            let skip = inside(at - start);
            let until = part.bytes.len().min(inside(range.end - start));
            let bytes = part.bytes.slice(skip..until);
            if at == range.start && bytes.len() as u64 == range.end - range.start {
                return Ok(bytes);
            }
            at += bytes.len() as u64;
            joined.extend_from_slice(&bytes);
        }
        Ok(joined.freeze())
    }

    /// The part that holds the byte at `at`.
    fn reaching(&self, at: u64) -> Option<(u64, &Part)> {
        // Parts that begin before it, and are longer, may end behind it: one GET may cover several lines of the cache.
        self.parts
            .range(..=at)
            .rev()
            .map(|(&start, part)| (start, part))
            .find(|(start, part)| start + part.bytes.len() as u64 > at)
    }

    /// Length of the buffer that holds the byte at `at`.
    pub(super) fn buffer_len(&self, at: u64) -> usize {
        self.reaching(at).map_or(0, |(_, part)| part.bytes.len())
    }

    /// What came from the store and may be kept: the number of the first line, and whole lines.
    pub(super) fn new_lines(self) -> impl Iterator<Item = (u32, Bytes)> {
        let new = self.parts.into_iter().filter(|(_, part)| part.new && !part.bytes.is_empty());
        new.map(|(start, part)| (lines(start, start + 1).start, part.bytes))
    }
}

fn inside(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// The ranges of lines that bring the missing ones, which are in order.
fn join(missing: &[u32], rules: &ReadRules) -> Vec<Range<u32>> {
    let mut ranges: Vec<Range<u32>> = Vec::new();
    for &line in missing {
        match ranges.last_mut() {
            Some(range)
                if u64::from(line - range.end) * LINE <= rules.join_gap
                    && u64::from(line + 1 - range.start) * LINE <= rules.get_max =>
            {
                range.end = line + 1;
            }
            _ => ranges.push(line..line + 1),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use nbdgate_api::Kind;

    use super::*;

    fn pieces(parts: &[(u64, usize)]) -> Pieces {
        let mut pieces = Pieces::default();
        for &(start, length) in parts {
            let bytes: Vec<u8> = (start..start + length as u64).map(|at| u8::try_from(at % 251).unwrap()).collect();
            pieces.add(start, Ok(bytes.into()), true);
        }
        pieces
    }

    #[test]
    fn a_range_is_cut_out_of_one_part_or_joined_from_several() {
        let pieces = pieces(&[(0, 100), (100, 50), (120, 10), (300, 10)]);
        let check = |range: Range<u64>| {
            let expected: Vec<u8> = range.clone().map(|at| u8::try_from(at % 251).unwrap()).collect();
            assert_eq!(pieces.cut(range).unwrap(), expected);
        };
        [10..20, 0..100, 90..110, 50..150, 100..150, 125..145, 300..310].into_iter().for_each(check);
        assert_eq!(pieces.cut(305..400).unwrap().len(), 5, "the object ends there");
    }

    #[test]
    fn what_failed_fails_only_what_needs_it() {
        let mut pieces = pieces(&[(0, 100)]);
        pieces.add(100, Err(Error::new(Kind::Io, "gone")), true);
        assert!(pieces.cut(0..100).is_ok());
        assert!(pieces.cut(50..150).is_err());
    }

    #[test]
    fn near_lines_share_a_get_up_to_the_longest() {
        let rules = ReadRules { join_gap: 2 * LINE, get_max: 5 * LINE, ..ReadRules::default() };
        assert_eq!(join(&[0, 1, 4, 8, 20], &rules), [0..5, 8..9, 20..21]);
        assert_eq!(join(&[0, 2, 4, 6], &rules), [0..5, 6..7]);
        assert_eq!(join(&[], &rules), []);
    }
}
