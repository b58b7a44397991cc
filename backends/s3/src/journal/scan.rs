//! Reading the chain from its tail to its end.
//!
//! A record is the next one if its crcs hold, its number is the successor, its generation is not older, and it names the
//! header before it. The chain ends at the first place where that does not hold: what lies behind was written by an
//! earlier life, or was never made stable. Unless a later record says that the missing one was stable: then something
//! is lost that a FLUSH may have covered, and that is [`Damage`], not an end.

use std::ops::Range;

use bytes::Bytes;

use super::{
    Medium,
    medium::io,
    record::{Header, ReplayRecord},
    ring::Ring,
    seal::RecordSealing,
    superblock::{Mark, Superblock},
};
use crate::format::{BLOCK_SIZE, FormatError, Wseq};

const BLOCK: u64 = BLOCK_SIZE as u64;

/// Bytes asked for at once.
const AHEAD: u64 = 1 << 20;

/// How far behind the end a later record is looked for: two of the longest records.
const LOOK_BEHIND: u64 = 10 << 20;

/// A record of the chain.
#[derive(Debug)]
pub(crate) struct Step {
    /// The last mutation up to it; 0 if there is none yet.
    pub(crate) last: Wseq,
    /// The border behind it.
    pub(crate) after: Mark,
    /// What it holds; nothing for a pad and for what is not wanted.
    pub(crate) record: Option<ReplayRecord>,
}

/// A stable record cannot be read any more, or is not what this disk wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Number of the record.
    pub(crate) lsn: u64,
    /// Where on the medium.
    pub(crate) offset: u64,
    /// What is wrong with it.
    pub(crate) why: String,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    medium: &'a dyn Medium,
    superblock: &'a Superblock,
    sealing: &'a RecordSealing,
    ring: Ring,
    next: Mark,
    generation: u64,
    last: Wseq,
    /// Mutations up to this one are not wanted.
    known: Wseq,
    window: (u64, Bytes),
    damage: Option<Damage>,
}

impl<'a> Scan<'a> {
    /// A scan that reads what comes after `known`.
    pub(crate) fn new(
        medium: &'a dyn Medium,
        superblock: &'a Superblock,
        sealing: &'a RecordSealing,
        known: Wseq,
    ) -> Self {
        let tail = superblock.tail;
        Self {
            medium,
            superblock,
            sealing,
            ring: Ring::new(superblock.ring, tail.position, tail.position),
            next: tail,
            generation: 0,
            last: Wseq(0),
            known,
            window: (0, Bytes::new()),
            damage: None,
        }
    }

    /// The end of the chain, after `next` said so.
    pub(crate) fn end(&self) -> Mark {
        self.next
    }

    /// What is wrong with the end, after `next` said that it came.
    pub(crate) fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// The medium cannot be read.
    pub(crate) async fn next(&mut self) -> std::io::Result<Option<Step>> {
        let step = self.step().await?;
        if step.is_none() && self.damage.is_none() {
            self.damage = self.look_behind().await?;
        }
        Ok(step)
    }

    async fn step(&mut self) -> std::io::Result<Option<Step>> {
        let position = self.next.position;
        let Some(block) = self.header(position).await? else { return Ok(None) };
        let Ok(header) = Header::parse(&block) else { return Ok(None) };
        let length = header.record_len();
        let kept = position - self.superblock.tail.position;
        let fits = length <= self.ring.left_from(position) && kept + length <= self.ring.size();
        let fills = !header.is_pad || length == self.ring.left_from(position);
        let chained = header.link.lsn == self.next.lsn && header.link.prev_crc == self.next.prev_crc;
        // What the bucket had before it was journaled leaves a gap; who replays knows whether it is one.
        let follows = header.is_pad || header.mutations.0 > self.last;
        if !(self.is_ours(&header) && fits && fills && chained && follows) {
            return Ok(None);
        }
        let mut record = None;
        if !header.is_pad && header.mutations.1 > self.known {
            let start = self.ring.offset(position) + BLOCK;
            let payload = self.fetch(start..start + length - BLOCK).await?;
            if !header.is_whole(&payload) {
                return Ok(None);
            }
            // From here on it is no torn record but what someone wrote: no end, if it is not ours.
            match self.sealing.of(&header, &block) {
                Ok(key) => match header.decode_record(position, &payload, key.as_deref()) {
                    Ok(read) => record = Some(read),
                    Err(error) => return Ok(self.refuse(&header, &error)),
                },
                Err(error) => return Ok(self.refuse(&header, &error)),
            }
        } else if let Err(error) = self.sealing.of(&header, &block) {
            return Ok(self.refuse(&header, &error));
        }
        if !header.is_pad {
            self.last = header.mutations.1;
        }
        self.generation = header.link.generation;
        self.next = Mark { lsn: header.link.lsn + 1, position: position + length, prev_crc: header.crc };
        Ok(Some(Step { last: self.last, after: self.next, record }))
    }

    /// The chain ends at a record that was not torn, and is not what this disk wrote.
    fn refuse(&mut self, header: &Header, error: &FormatError) -> Option<Step> {
        let offset = self.ring.offset(self.next.position);
        self.damage = Some(Damage { lsn: header.link.lsn, offset, why: error.to_string() });
        None
    }

    fn is_ours(&self, header: &Header) -> bool {
        let generations = self.generation..=self.superblock.generation;
        header.link.journal == self.superblock.journal && generations.contains(&header.link.generation)
    }

    /// The block at a position, unless the whole ring was read.
    async fn header(&mut self, position: u64) -> std::io::Result<Option<Bytes>> {
        if position - self.superblock.tail.position >= self.ring.size() {
            return Ok(None);
        }
        let offset = self.ring.offset(position);
        self.fetch(offset..offset + BLOCK).await.map(Some)
    }

    /// Looks for a record that knows the missing one as stable.
    async fn look_behind(&mut self) -> std::io::Result<Option<Damage>> {
        let missing = self.next;
        for position in (missing.position..missing.position + LOOK_BEHIND).step_by(BLOCK_SIZE).skip(1) {
            let Some(block) = self.header(position).await? else { return Ok(None) };
            let Ok(header) = Header::parse(&block) else { continue };
            let stable = header.link.lsn.checked_sub(1 + u64::from(header.link.unsynced));
            if self.is_ours(&header) && stable.is_some_and(|stable| stable >= missing.lsn) {
                let why = "was stable, perhaps flushed, and cannot be read any more".to_owned();
                return Ok(Some(Damage { lsn: missing.lsn, offset: self.ring.offset(missing.position), why }));
            }
        }
        Ok(None)
    }

    async fn fetch(&mut self, range: Range<u64>) -> std::io::Result<Bytes> {
        let (start, bytes) = &self.window;
        if range.start < *start || range.end > start + bytes.len() as u64 {
            let end = range.end.max(range.start + AHEAD).min(super::RING_START + self.ring.size());
            let bytes = io::read(self.medium, range.start..end).await?;
            if bytes.len() as u64 != end - range.start {
                return Err(std::io::Error::other("the journal ends early"));
            }
            self.window = (range.start, bytes);
        }
        let (start, bytes) = &self.window;
        let within = |at: u64| usize::try_from(at - start).expect("a window in memory");
        Ok(bytes.slice(within(range.start)..within(range.end)))
    }
}
