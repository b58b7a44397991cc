//! Writing, syncing, and giving space back.

use super::{Journal, Kept, Order, Syncing, Writing};
use crate::{
    engine::{Effect, Engine, Millis},
    format::{BLOCK_SIZE, Wseq},
    journal::{Link, Mark, RecordJob, Superblock, record_len},
};

/// A tail is made stable when it moved by this part of the ring, so that a replay never reads much in vain.
const TAIL_STEP: u64 = 8;

impl Journal {
    /// The record in flight is written; the header of the one behind it names `crc`.
    pub(super) fn record_written(&mut self, crc: u32) {
        let Some(writing) = self.writing.take() else { return };
        self.prev_crc = crc;
        self.written = writing.last;
        let after = Mark { lsn: writing.lsn + 1, position: writing.end, prev_crc: crc };
        self.records.push_back(Kept { last: writing.last, after });
    }

    /// The sync in flight ended well.
    pub(super) fn now_stable(&mut self) {
        let Some(syncing) = self.syncing.take() else { return };
        (self.synced, self.synced_lsn, self.synced_to) = (syncing.last, syncing.lsn, syncing.end);
        if let Some(tail) = syncing.tail {
            self.ring.free_to(tail.position);
        }
    }

    /// Notes what nobody needs any more: records whose mutations are in the bucket, and that nobody reads from.
    fn reclaim(&mut self, durable: Wseq) {
        let pinned = self.reading.values().min().copied().unwrap_or(u64::MAX);
        while let Some(first) = self.records.front()
            && first.last <= durable
            && first.after.position <= pinned
        {
            self.reclaimed = first.after;
            self.records.pop_front();
        }
    }

    /// The next record, if there is something to write, room for it, and none in flight.
    fn next_record(&mut self) -> Option<RecordJob> {
        if self.writing.is_some() {
            return None;
        }
        let gathered = self.group.gather()?;
        let length = record_len(gathered.payload);
        let slot = self.ring.slot(length)?;
        let pad_offset = self.ring.offset(self.ring.head());
        self.ring.take(slot, length);
        let unsynced = self.lsn - 1 - self.synced_lsn.min(self.lsn - 1);
        let link = Link {
            journal: self.superblock.journal,
            generation: self.superblock.generation,
            lsn: self.lsn,
            prev_crc: self.prev_crc,
            unsynced: u32::try_from(unsynced).unwrap_or(u32::MAX),
        };
        let block = BLOCK_SIZE as u64;
        let pad =
            (slot.pad > 0).then(|| (pad_offset, u32::try_from(slot.pad / block - 1).expect("rings have few blocks")));
        let lsn = self.lsn + u64::from(pad.is_some());
        let extents = self.group.take(&gathered, lsn, slot.at);
        self.lsn = lsn + 1;
        self.writing = Some(Writing { last: gathered.mutations.1, lsn, end: slot.at + length });
        Some(RecordJob { link, mutations: gathered.mutations, extents, pad, offset: self.ring.offset(slot.at) })
    }

    /// The last mutation, and the last record, that a sync asked for now would make stable: the medium keeps the order.
    fn submitted(&self) -> (Wseq, u64) {
        (self.writing.as_ref().map_or(self.written, |writing| writing.last), self.lsn - 1)
    }

    /// Begins a sync if someone waits for it, or if space is worth giving back.
    fn next_sync(&mut self, is_pressed: bool, effects: &mut Vec<Effect>) {
        if self.syncing.is_some() {
            return;
        }
        let (last, lsn) = self.submitted();
        let awaited = self.flushes.first_after(self.synced).is_some_and(|wseq| wseq <= last);
        let moved = self.reclaimed.position - self.ring.tail();
        let gives_back = moved >= self.ring.size() / TAIL_STEP || (is_pressed && moved > 0);
        if !awaited && !gives_back {
            return;
        }
        if gives_back {
            let count = self.superblock.count + 1;
            self.superblock = Superblock { count, tail: self.reclaimed, ..self.superblock };
            effects.push(Effect::Journal(Order::Superblock(self.superblock)));
        }
        let tail = gives_back.then_some(self.reclaimed);
        self.syncing = Some(Syncing { last, lsn, end: self.ring.head(), tail });
        effects.push(Effect::Journal(Order::Sync));
    }
}

impl Engine {
    /// Answers who can be answered, and keeps the medium busy.
    pub(in crate::engine) fn keep_journal(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let is_late = self.is_late(now);
        let (durable, waits) = (self.log.durable, self.admission.waiting() > 0);
        let Some(journal) = &mut self.journal else { return };
        if journal.failed.is_some() {
            return;
        }
        journal.reclaim(durable);
        journal.acks.wake(journal.written.max(durable), effects);
        journal.flushes.wake(if is_late { durable } else { journal.synced.max(durable) }, effects);
        if let Some(job) = journal.next_record() {
            effects.push(Effect::Journal(Order::Write(job)));
        }
        let is_pressed = journal.writing.is_none() && (waits || !journal.group.is_empty());
        journal.next_sync(is_pressed, effects);
    }
}
