//! Closing the log of an earlier writer (§6.3 step 3).
//!
//! A log ends at its first slot that holds a fence. A fence goes only into an empty slot, so what was once
//! readable stays so; and since a writer answers FLUSH only behind slots without a gap, a fenced writer can
//! never answer one again.

use bytes::Bytes;
use futures_util::{StreamExt, future, stream};
use nbdgate_api::{Error, Kind as ErrorKind};

use crate::{
    format::{Fence, FormatError, Kind, ObjectName, Prelude, Seq, VolumeId, manifest::OpenLog, prelude::PRELUDE_LEN},
    observer::Cause,
    store::{Patience, Placed, Store, StoreError},
};

/// A prelude tells what a slot holds.
const PRELUDE: u64 = PRELUDE_LEN as u64;

/// Slots looked at at once.
const AHEAD: usize = 64;

/// What is left of a search is followed slot by slot, in one round trip.
const SCANNED: u64 = AHEAD as u64;

/// Parts into which a search divides what is left.
const SPREAD: u64 = 32;

/// The longest log that is followed; far beyond what checkpoints leave.
const LONGEST: u64 = 1 << 24;

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Segment,
    Fence,
    Empty,
}

/// The log of an earlier writer.
#[derive(Debug)]
pub(crate) struct OldLog<'a> {
    pub(crate) store: &'a Store,
    pub(crate) volume: VolumeId,
    pub(crate) log: OpenLog,
    pub(crate) patience: Patience,
}

impl OldLog<'_> {
    /// The first slot from the log's beginning that holds no segment, as of now: where to [`close`](Self::close) it. For
    /// readers that claim nothing it is the end. `window` is how far ahead of its commits its writer may be.
    ///
    /// A segment that stands somewhere was sent when all slots up to a window before it were filled, so a long log is
    /// searched and not followed.
    pub(crate) async fn end(&self, window: u32) -> Result<Seq, Error> {
        // Every slot before `low` holds a segment; at `high` and behind none was seen.
        let (mut low, mut high) = (self.log.first.0, self.log.first.0 + LONGEST);
        let mut slots: Vec<u64> = (2..=11).map(|power| low + (1 << (2 * power))).collect();
        while high - low > SCANNED && !slots.is_empty() {
            let looks = slots.iter().map(|&seq| async move { self.look(Seq(seq)).await.map(|slot| (seq, slot)) });
            let looks = future::try_join_all(looks).await?;
            let furthest = looks.iter().filter(|(_, slot)| *slot == Slot::Segment).map(|(seq, _)| *seq).max();
            if let Some(furthest) = furthest {
                low = low.max(furthest.saturating_sub(u64::from(window)));
            }
            let bound = furthest.unwrap_or(low);
            high = slots.iter().copied().filter(|&seq| seq > bound).min().unwrap_or(high).min(high);
            let step = ((high - low) / SPREAD).max(1);
            slots = (1..SPREAD).map(|part| low + part * step).filter(|&seq| seq < high && seq > bound).collect();
        }
        Ok(self.scan(Seq(low)).await?.0)
    }

    /// Closes the log with `fence` and returns its end: the slot of its first fence. Every slot before `hole` holds a
    /// segment. `window` is how far ahead of its commits its writer may be.
    pub(crate) async fn close(&self, fence: &Fence, window: u32, hole: Seq) -> Result<Seq, Error> {
        let (mut hole, mut far) = (hole, None);
        let mut reach = 2 * u64::from(window.max(1));
        loop {
            match self.put(fence, hole).await? {
                // Also somebody else's, and also one that was once put far ahead: a log ends at its first fence.
                Slot::Fence => return Ok(hole),
                Slot::Segment => {}
                Slot::Empty => unreachable!("what was put or found is there"),
            }
            // The writer lives and was faster. It is never more than its window ahead of its commits, so it stops at a
            // far fence at the latest, and this race ends.
            if far.is_none_or(|far| far <= hole) {
                let at = Seq(hole.0 + reach);
                // A segment there: it has come far while we looked.
                far = (self.put(fence, at).await? == Slot::Fence).then_some(at);
                reach = reach.saturating_mul(2).min(LONGEST);
            }
            let (next, slot) = self.scan(Seq(hole.0 + 1)).await?;
            if slot == Slot::Fence {
                return Ok(next);
            }
            hole = next;
        }
    }

    /// The first slot from `from` on that holds no segment, and what it holds.
    async fn scan(&self, from: Seq) -> Result<(Seq, Slot), Error> {
        let slots = from.0..from.0 + LONGEST;
        let mut looks =
            stream::iter(slots).map(|seq| async move { (Seq(seq), self.look(Seq(seq)).await) }).buffered(AHEAD);
        while let Some((seq, slot)) = looks.next().await {
            match slot? {
                Slot::Segment => {}
                other => return Ok((seq, other)),
            }
        }
        Err(Error::new(ErrorKind::Io, format!("the log {} does not end", self.log.writer)))
    }

    async fn look(&self, seq: Seq) -> Result<Slot, Error> {
        let name = ObjectName::Log { writer: self.log.writer, seq };
        let key = name.key("", self.volume);
        let check = |head: &Bytes| Prelude::parse(&name.expected(self.volume), head);
        match self.store.get_checked(Cause::Fence, &key, Some(0..PRELUDE), self.patience.renewed(), check).await {
            Ok(prelude) => self.kind(name, prelude),
            Err(StoreError::NotFound(_)) => Ok(Slot::Empty),
            Err(error) => Err(error.tell(&format!("following the log at {}", self.store.name_of(&key)))),
        }
    }

    /// Puts the fence into a slot; says what the slot then holds.
    async fn put(&self, fence: &Fence, seq: Seq) -> Result<Slot, Error> {
        let name = ObjectName::Log { writer: self.log.writer, seq };
        let key = name.key("", self.volume);
        let object = fence.encode(self.volume, self.log.writer, seq);
        match self.store.place(Cause::Fence, &key, &object.into(), self.patience.renewed()).await {
            Ok(Placed::Mine) => Ok(Slot::Fence),
            Ok(Placed::Other(found)) => self.kind(name, Prelude::parse(&name.expected(self.volume), &found)),
            Err(error) => Err(error.tell(&format!("fencing the log at {}", self.store.name_of(&key)))),
        }
    }

    fn kind(&self, name: ObjectName, prelude: Result<Prelude, FormatError>) -> Result<Slot, Error> {
        let object = || self.store.name_of(&name.key("", self.volume));
        match prelude {
            Ok(prelude) if prelude.place.kind == Kind::Fence => Ok(Slot::Fence),
            Ok(_) => Ok(Slot::Segment),
            Err(error) => Err(Error::new(ErrorKind::Io, format!("{} is damaged", object())).with_source(error)),
        }
    }
}

#[cfg(test)]
mod tests;
