//! The engine's side of the journal: what is written and when, who is answered by it, and what it keeps.
//!
//! ```text
//!  append ─► group ─(one record in flight)─► written: WRITE is answered
//!                                               └─(one sync in flight)─► synced: FLUSH and FUA are answered
//!  committed in the bucket ─► reclaimed ─(superblock, sync)─► the ring's tail: space is free again
//! ```
//!
//! Invariants: records hold mutations in their order, each wholly; a reply never runs ahead of the record, or the sync,
//! that covers it; space is reused only after the superblock that gives it up is stable, and never while someone reads
//! from it. The first failure is final: nothing is journaled or answered well by it after that.

mod group;
mod keep;
mod pace;
mod replay;
mod serve;

use std::collections::{BTreeMap, VecDeque};

use nbdgate_api::{Error, Reply};

use self::group::Group;
pub(crate) use self::serve::{Wanted, WantedFor};
use super::{Engine, flush::Waiters};
use crate::{
    format::{BLOCK_SIZE, Wseq},
    journal::{Mark, RecordJob, Ring, Superblock},
};

/// What the driver is to do with the medium. Writes and syncs in this order; answered by [`Done`].
#[derive(Debug)]
pub(crate) enum Order {
    /// Write a record.
    Write(RecordJob),
    /// Write a superblock; no answer unless it fails. A sync follows.
    Superblock(Superblock),
    /// Make all of it stable.
    Sync,
    /// Read what is not in memory any more.
    Read(Wanted),
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum Done {
    /// The record is written; the crc of its header.
    Written(u32),
    /// What was written before the sync was asked for is stable.
    Synced,
    /// A read ended, and its part was delivered.
    Read(u64),
    /// A read for an unaligned mutation ended.
    Edge(u64, super::edges::EdgeRead, Result<bytes::Bytes, Error>),
    /// The medium failed.
    Failed(Error),
}

/// A record on its way.
#[derive(Debug)]
struct Writing {
    last: Wseq,
    lsn: u64,
    end: u64,
}

/// A sync on its way: what will be stable after it.
#[derive(Debug)]
struct Syncing {
    last: Wseq,
    lsn: u64,
    end: u64,
    tail: Option<Mark>,
}

/// A record that is in the ring: its last mutation, and the border behind it.
#[derive(Debug)]
struct Kept {
    last: Wseq,
    after: Mark,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Journal {
    ring: Ring,
    superblock: Superblock,
    /// Of the next record.
    lsn: u64,
    prev_crc: u32,
    group: Group,
    writing: Option<Writing>,
    syncing: Option<Syncing>,
    records: VecDeque<Kept>,
    /// Behind the last record that nobody needs.
    reclaimed: Mark,
    /// Mutations up to here are in records.
    written: Wseq,
    /// Mutations and records up to here are stable.
    synced: Wseq,
    synced_lsn: u64,
    /// Position up to which the ring is stable.
    synced_to: u64,
    /// WRITEs that wait for their record.
    acks: Waiters,
    /// FLUSHes and FUAs that wait to be stable.
    flushes: Waiters,
    /// Positions that are being read, by the number of the read.
    reading: BTreeMap<u64, u64>,
    next_read: u64,
    rpo: Option<super::Millis>,
    failed: Option<Error>,
}

impl Journal {
    pub(super) fn failure(&self) -> Option<Error> {
        self.failed.as_ref().map(Error::duplicate)
    }

    /// Nothing waits for the medium.
    pub(super) fn is_idle(&self) -> bool {
        let waits = !self.acks.is_empty() || !self.flushes.is_empty() || !self.group.is_empty();
        !waits && self.writing.is_none() && self.syncing.is_none() && self.reading.is_empty()
    }

    pub(super) fn take_waiters(&mut self) -> Vec<Reply> {
        self.group.clear();
        self.acks.take().chain(self.flushes.take()).collect()
    }

    /// Where the chain ends, once it is idle.
    pub(super) fn head(&self) -> (Mark, Superblock) {
        let mark = Mark { lsn: self.lsn, position: self.ring.head(), prev_crc: self.prev_crc };
        (mark, self.superblock)
    }

    /// The longest piece of a WRITE that is never split.
    pub(super) fn atomic(&self) -> u64 {
        self.ring.size() / 4 / BLOCK_SIZE as u64 * BLOCK_SIZE as u64
    }
}

impl Engine {
    /// What the medium answered.
    pub(super) fn journal_done(&mut self, now: super::Millis, done: Done, effects: &mut Vec<super::Effect>) {
        let Some(journal) = &mut self.journal else { return };
        match done {
            Done::Written(crc) => journal.record_written(crc),
            Done::Synced => journal.now_stable(),
            Done::Read(number) => {
                journal.reading.remove(&number);
            }
            Done::Edge(number, edge, result) => {
                journal.reading.remove(&number);
                self.edge_read(now, edge, result, effects);
            }
            Done::Failed(error) => self.journal_failed(error, effects),
        }
    }

    /// The medium failed: nothing is journaled any more. What is inside still goes to the bucket, reads go on.
    fn journal_failed(&mut self, error: Error, effects: &mut Vec<super::Effect>) {
        let Some(journal) = &mut self.journal else { return };
        if journal.failed.is_some() {
            return;
        }
        (journal.writing, journal.syncing) = (None, None);
        let mut replies = journal.take_waiters();
        replies.extend(self.admission.take_all());
        for reply in replies {
            effects.push(super::Effect::End(reply, Err(error.duplicate())));
        }
        journal.failed = Some(error);
    }
}
