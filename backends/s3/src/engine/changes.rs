//! Dirty status: what changed since a snapshot, from the map, what is pending, and the snapshot's picture.
//!
//! The picture is loaded when it is first asked for, and kept while it is among the last few that were.

use std::{collections::VecDeque, sync::Arc};

use nbdgate_api::{ByteRange, Error, Extent, ExtentKind, Reply};

use super::{Content, Effect, Engine, bytes_of, status::Source};
use crate::{
    changes::{Comparison, Picture, Place},
    format::{BLOCK_SIZE, BlockRange, Lba},
};

/// Pictures kept. Each takes memory like a map, but for the pages that it shares with the disk's.
const KEPT: usize = 2;

/// The most extents of one answer; the client asks again for the rest.
const MAX_EXTENTS: usize = 4096;

/// The most runs looked at for one answer, so that one request cannot hold the disk for long.
const MAX_RUNS: usize = 1 << 16;

/// A question that was asked.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) range: ByteRange,
    pub(super) req_one: bool,
    pub(super) reply: Reply,
}

#[derive(Debug)]
enum Base {
    Loading(Vec<Question>),
    Ready(Arc<Picture>),
}

/// The pictures at hand and on their way, the last used at the end.
#[derive(Debug, Default)]
pub(super) struct Bases {
    list: VecDeque<(Arc<str>, Base)>,
}

impl Bases {
    fn take(&mut self, bitmap: &str) -> Option<(Arc<str>, Base)> {
        let at = self.list.iter().position(|(name, _)| &**name == bitmap)?;
        self.list.remove(at)
    }

    /// The snapshot is gone; another of its name is another.
    pub(super) fn forget(&mut self, bitmap: &str) {
        if let Some(found @ (_, Base::Loading(_))) = self.take(bitmap) {
            self.list.push_back(found);
        }
    }

    /// The replies of all that wait for a picture, which is then not awaited any more.
    pub(super) fn take_waiting(&mut self) -> impl Iterator<Item = Reply> + use<> {
        let waiting = std::mem::take(&mut self.list).into_iter().filter_map(|(_, base)| match base {
            Base::Loading(waiting) => Some(waiting),
            Base::Ready(_) => None,
        });
        waiting.flatten().map(|question| question.reply)
    }

    fn keep(&mut self, bitmap: Arc<str>, picture: Arc<Picture>) {
        self.list.push_back((bitmap, Base::Ready(picture)));
        let ready = |list: &VecDeque<(_, Base)>| list.iter().filter(|(_, base)| matches!(base, Base::Ready(_))).count();
        while ready(&self.list) > KEPT {
            let oldest = self.list.iter().position(|(_, base)| matches!(base, Base::Ready(_)));
            self.list.remove(oldest.expect("there are more than enough"));
        }
    }
}

impl Engine {
    pub(super) fn dirty_status(&mut self, question: Question, bitmap: &Arc<str>, effects: &mut Vec<Effect>) {
        match self.bases.take(bitmap) {
            Some((name, Base::Ready(picture))) => {
                self.tell_changes(question, &picture, effects);
                self.bases.keep(name, picture);
            }
            Some((name, Base::Loading(mut waiting))) => {
                waiting.push(question);
                self.bases.list.push_back((name, Base::Loading(waiting)));
            }
            None => {
                self.bases.list.push_back((Arc::clone(bitmap), Base::Loading(vec![question])));
                effects.push(Effect::LoadBase(Arc::clone(bitmap)));
            }
        }
    }

    pub(super) fn base_loaded(&mut self, bitmap: &Arc<str>, result: Result<Picture, Error>, effects: &mut Vec<Effect>) {
        let Some((name, Base::Loading(waiting))) = self.bases.take(bitmap) else { return };
        match result.map(Arc::new) {
            Ok(picture) => {
                for question in waiting {
                    self.tell_changes(question, &picture, effects);
                }
                self.bases.keep(name, picture);
            }
            Err(error) => {
                let ends = waiting.into_iter().map(|question| Effect::End(question.reply, Err(error.duplicate())));
                effects.extend(ends);
            }
        }
    }

    fn tell_changes(&self, question: Question, picture: &Picture, effects: &mut Vec<Effect>) {
        let Question { range, req_one, reply } = question;
        effects.push(Effect::Extents(reply, self.changes(range, req_one, picture)));
    }

    fn changes(&self, range: ByteRange, req_one: bool, picture: &Picture) -> Vec<Extent> {
        let limit = if req_one { 1 } else { MAX_EXTENTS };
        let block = BLOCK_SIZE as u64;
        let first = range.offset() / block;
        let blocks = BlockRange::new(Lba(first), range.end().div_ceil(block) - first);
        let mut comparison = Comparison::new(picture, &self.committed.segments);
        let mut extents: Vec<Extent> = Vec::new();
        for (run, source) in self.sources(blocks).take(MAX_RUNS) {
            let place = match source {
                Source::Pending(Content::Data(_)) => Place::New,
                Source::Pending(Content::Zero) | Source::Hole => Place::Hole,
                Source::Stored(address) => Place::Stored(address),
            };
            comparison.split(run, place, |part, dirty| {
                let bytes = ByteRange::between(bytes_of(part.start.0), bytes_of(part.end().0));
                let kind = if dirty { ExtentKind::Dirty } else { ExtentKind::Clean };
                if let Some(range) = bytes.intersect(range) {
                    Extent { range, kind }.push_onto(&mut extents);
                }
            });
            // The last one may still grow; one more shows that it is complete.
            if extents.len() > limit {
                extents.truncate(limit);
                break;
            }
        }
        extents
    }
}
