//! Taking over what an earlier life journaled and the bucket does not have.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use nbdgate_api::{Error, Kind};

use super::{Group, Journal, Kept};
use crate::{
    checked::Checked,
    engine::{Content, Engine, Millis, absorb::absorb, admit::OVERHEAD, flush::Waiters, held::Held, log::placed},
    format::{BLOCK_SIZE, BlockRange},
    journal::{Mark, MutationContent, Place, ReplayMutation, ReplayRecord, Ring, Step, Superblock, max_extents},
};

impl Engine {
    /// Gives the engine a journal whose records come next, through [`replay`](Self::replay).
    pub(crate) fn attach_journal(&mut self, superblock: Superblock, rpo: Option<Millis>, is_sealed: bool) {
        let tail = superblock.tail;
        if let Some(rpo) = rpo {
            // Half of the time to wait, half of it to be stored.
            self.limits.upload_delay = self.limits.upload_delay.min(rpo / 2);
        }
        self.log.keeps_account();
        self.journal = Some(Journal {
            ring: Ring::new(superblock.ring, tail.position, tail.position),
            superblock,
            lsn: tail.lsn,
            prev_crc: tail.prev_crc,
            group: Group::new(max_extents(is_sealed)),
            writing: None,
            syncing: None,
            records: VecDeque::new(),
            reclaimed: tail,
            written: self.log.last,
            synced: self.log.last,
            synced_lsn: tail.lsn - 1,
            synced_to: tail.position,
            acks: Waiters::default(),
            flushes: Waiters::default(),
            reading: BTreeMap::new(),
            next_read: 0,
            rpo,
            failed: None,
        });
    }

    /// Appends the mutations of a record that the bucket does not have.
    ///
    /// # Errors
    /// The record does not continue the disk.
    pub(crate) fn replay(&mut self, step: Step) -> Result<(), Error> {
        if let Some(record) = step.record {
            for mutation in &record.mutations {
                self.replay_mutation(&record, mutation)?;
            }
        }
        let written = self.log.last;
        let journal = self.journal.as_mut().expect("it was attached");
        journal.written = written;
        journal.records.push_back(Kept { last: step.last, after: step.after });
        self.release_memory();
        Ok(())
    }

    fn replay_mutation(&mut self, record: &ReplayRecord, mutation: &ReplayMutation) -> Result<(), Error> {
        if mutation.wseq <= self.log.last {
            return Ok(());
        }
        let misfit = |why: String| {
            let text = format!("record {} of the journal does not continue the disk: {why}", record.lsn);
            Err(Error::new(Kind::Io, text))
        };
        if mutation.wseq.0 != self.log.last.0 + 1 {
            return misfit(format!("mutation {} is to follow {}", mutation.wseq.0, self.log.last.0));
        }
        let beyond = mutation.extents.iter().find(|extent| extent.range.end().0 > self.shape.blocks);
        if let Some(extent) = beyond {
            return misfit(format!("it reaches to block {} of a disk of {}", extent.range.end().0, self.shape.blocks));
        }
        let mut runs = Vec::new();
        let mut cost = 0;
        for extent in &mutation.extents {
            cost += OVERHEAD + extent.data.as_ref().map_or(0, |data| data.len() as u64);
            replayed(record, extent, &mut runs);
        }
        self.log.append(0, runs, cost);
        self.seal_if_full();
        Ok(())
    }

    /// The chain was read to its end, `head`, all of which is stable; from here on records are written under `superblock`.
    pub(crate) fn journal_begins(&mut self, superblock: Superblock, head: Mark) {
        let last = self.log.last;
        let journal = self.journal.as_mut().expect("it was attached");
        journal.ring = Ring::new(superblock.ring, superblock.tail.position, head.position);
        journal.superblock = superblock;
        (journal.lsn, journal.prev_crc) = (head.lsn, head.prev_crc);
        (journal.written, journal.synced) = (last, last);
        (journal.synced_lsn, journal.synced_to) = (head.lsn - 1, head.position);
    }
}

/// The runs of an extent that was read.
fn replayed(record: &ReplayRecord, extent: &MutationContent, runs: &mut Vec<(BlockRange, Content)>) {
    let Some(data) = &extent.data else {
        runs.push((extent.range, Content::Zero));
        return;
    };
    let at = record.position + (1 + extent.at) * BLOCK_SIZE as u64;
    let place = Place { record: record.position, extent: at, lsn: record.lsn, number: extent.number, skip: 0 };
    // What is kept must not pin the buffer of the scan.
    let data = Bytes::copy_from_slice(data);
    if !extent.sound {
        let (first, count) = (extent.range.start.0, extent.range.nblocks);
        tracing::error!(
            first,
            count,
            "blocks were damaged in memory before they were journaled; reads of them will fail"
        );
        runs.push((extent.range, Content::Data(Held::journaled(Checked::suspect(data), place))));
        return;
    }
    for (range, content) in placed(extent.range.start.0, absorb(&data.into())) {
        if let Content::Data(held) = &content {
            held.written(place.plus(range.start.0 - extent.range.start.0));
        }
        runs.push((range, content));
    }
}
