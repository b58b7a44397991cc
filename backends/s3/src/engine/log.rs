//! The write path: the open batch, the batches on their way, and the commit in the order of their slots.
//!
//! ```text
//!  append ─► active ─seal─► waiting ─► building ─► built ─► putting ─► stored ─commit─► map
//!                           └────────────── on_way, one slot each ──────────────┘
//! ```
//!
//! Invariants: slots are given out in the order of sealing, without gaps; a slot is put only while fewer than W
//! slots before it are uncommitted (§6.5 rule 4); a batch is committed only when it is the first, so `durable` covers
//! exactly the committed slots. `pending` holds the newest uncommitted content of every block; a commit moves a
//! batch's blocks from there to the map in one step.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use nbdgate_api::{ByteRange, Payload, Reply};

use super::{
    Engine, Millis,
    absorb::absorb,
    flush::Waiters,
    intervals::{BatchNo, Content, Intervals},
    memory::Memory,
};
use crate::{
    format::{BLOCK_SIZE, BlockRange, Lba, SegmentIndex, Seq, Writer, Wseq},
    segment_builder::BuiltSegment,
};

const BLOCK: u64 = BLOCK_SIZE as u64;

/// Runs at which a batch is sealed: keeps a segment's meta far below its limit.
const MAX_RUNS: u64 = 128 << 10;

/// Where the log of a new writer begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogStart {
    /// Its first slot.
    pub(crate) seq: Seq,
    /// The last mutation that is in the store.
    pub(crate) wseq: Wseq,
}

/// Mutations that become one segment.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Its blocks; nothing overlaps.
    pub(crate) content: Intervals,
    /// First mutation in it.
    pub(crate) first: Wseq,
    /// Last mutation in it.
    pub(crate) last: Wseq,
    no: BatchNo,
    cost: u64,
    data: u64,
    runs: u64,
    since: Millis,
}

/// A batch that is to become a segment.
#[derive(Debug)]
pub(crate) struct BuildJob {
    /// Its slot.
    pub(crate) seq: Seq,
    /// Whose log.
    pub(crate) writer: Writer,
    /// The mutations.
    pub(crate) batch: Arc<Batch>,
    /// The prelude crc of the segment before it in this log; 0 for the first.
    pub(crate) prev_crc: u32,
}

/// A batch as the bytes of a segment.
#[derive(Debug)]
pub(crate) struct Built {
    /// Its slot.
    pub(crate) seq: Seq,
    /// Its records and bytes.
    pub(crate) segment: BuiltSegment,
    /// How to find its frames.
    pub(crate) index: Arc<SegmentIndex>,
}

#[derive(Debug)]
enum Stage {
    Waiting,
    Building,
    Built,
    Putting,
    Stored,
}

#[derive(Debug)]
struct OnWay {
    seq: Seq,
    batch: Arc<Batch>,
    stage: Stage,
    built: Option<Arc<Built>>,
    /// Bytes of it in memory while it is built and stored.
    memory: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Log {
    pub(super) pending: Intervals,
    /// The last mutation appended.
    pub(super) last: Wseq,
    /// The last mutation committed.
    pub(super) durable: Wseq,
    /// Costs of all uncommitted batches.
    pub(super) dirty: u64,
    pub(super) waiters: Waiters,
    active: Option<Batch>,
    on_way: VecDeque<OnWay>,
    next_seq: Seq,
    next_batch: u64,
    prev_crc: u32,
    /// Plain bytes per 256 stored bytes, as seen lately.
    ratio: u64,
    /// With a journal: what is in memory.
    memory: Option<Memory>,
}

/// A batch whose turn to be committed has come.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) batch: Arc<Batch>,
    pub(super) built: Arc<Built>,
}

impl Log {
    pub(super) fn new(start: LogStart) -> Self {
        Self {
            pending: Intervals::default(),
            last: start.wseq,
            durable: start.wseq,
            dirty: 0,
            waiters: Waiters::default(),
            active: None,
            on_way: VecDeque::new(),
            next_seq: start.seq,
            next_batch: 0,
            prev_crc: 0,
            ratio: 256,
            memory: None,
        }
    }

    /// Forgets what will never be stored; reads of it are refused from now on.
    pub(super) fn abandon(&mut self) {
        self.active = None;
        self.on_way.clear();
        self.pending = Intervals::default();
        self.dirty = 0;
        self.memory = self.memory.take().map(|_| Memory::default());
    }

    pub(super) fn take_waiters(&mut self) -> impl Iterator<Item = Reply> + use<> {
        self.waiters.take()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.active.is_none() && self.on_way.is_empty()
    }

    /// From here on memory is accounted for, because it can be let go of.
    pub(super) fn keeps_account(&mut self) {
        self.memory = Some(Memory::default());
    }

    /// Bytes in memory, where an account is kept.
    pub(super) fn memory(&self) -> u64 {
        self.memory.as_ref().map_or(0, Memory::bytes)
    }

    /// Lets go of what is in the journal up to `written`, until the rest fits `budget`.
    pub(super) fn release(&mut self, budget: u64, written: Wseq) {
        if let Some(memory) = &mut self.memory {
            memory.release(budget, written);
        }
    }

    /// Segments on their way.
    pub(super) fn uploads(&self) -> usize {
        self.on_way.len()
    }

    /// When the oldest uncommitted mutation came in.
    pub(super) fn oldest(&self) -> Option<Millis> {
        self.on_way.front().map(|first| first.batch.since).or(self.active_since())
    }

    /// When the oldest mutation of the open batch came in.
    pub(super) fn active_since(&self) -> Option<Millis> {
        self.active.as_ref().map(|batch| batch.since)
    }

    /// Whether the open batch holds a mutation that someone waits for.
    pub(super) fn active_is_awaited(&self) -> bool {
        let Some(active) = &self.active else { return false };
        self.waiters.newest().is_some_and(|wseq| wseq >= active.first)
    }

    /// Whether the open batch has reached the size of a segment.
    pub(super) fn active_is_full(&self, target: u64) -> bool {
        let plain = (target * self.ratio / 256).min(target * 4);
        self.active.as_ref().is_some_and(|batch| batch.data >= plain || batch.runs >= MAX_RUNS)
    }

    /// Closes the open batch and gives it the next slot.
    pub(super) fn seal(&mut self) {
        let batch = self.active.take().expect("there is something to seal");
        let seq = self.next_seq;
        self.next_seq = Seq(seq.0 + 1);
        self.on_way.push_back(OnWay { seq, batch: Arc::new(batch), stage: Stage::Waiting, built: None, memory: 0 });
    }

    /// The next batch to be built: one at a time, because each segment names the one before it.
    /// Where memory is let go of, only what can be put soon is built: a built segment is in memory again.
    pub(super) fn next_build(&mut self, writer: Writer, window: usize) -> Option<BuildJob> {
        let ahead = if self.memory.is_some() { window + 1 } else { usize::MAX };
        let next =
            self.on_way.iter_mut().take(ahead).find(|batch| matches!(batch.stage, Stage::Waiting | Stage::Building))?;
        if matches!(next.stage, Stage::Building) {
            return None;
        }
        next.stage = Stage::Building;
        next.memory = self.memory.as_mut().map_or(0, |memory| memory.pin(next.batch.no));
        Some(BuildJob { seq: next.seq, writer, batch: Arc::clone(&next.batch), prev_crc: self.prev_crc })
    }

    /// The next segment to be put, if it is inside the window.
    pub(super) fn next_put(&mut self, window: usize) -> Option<(Seq, Arc<Built>)> {
        let next = self.on_way.iter_mut().take(window).find(|batch| matches!(batch.stage, Stage::Built))?;
        next.stage = Stage::Putting;
        let built = next.built.as_ref().expect("a built batch has its segment");
        Some((next.seq, Arc::clone(built)))
    }

    /// The first batch, if it is stored; it then leaves the log.
    pub(super) fn next_commit(&mut self) -> Option<Commit> {
        if !matches!(self.on_way.front()?.stage, Stage::Stored) {
            return None;
        }
        let OnWay { batch, built, memory, .. } = self.on_way.pop_front().expect("it was just seen");
        let built = built.expect("a stored batch was built");
        assert!(batch.first.0 == self.durable.0 + 1, "commits follow the order of mutations");
        self.durable = batch.last;
        self.dirty -= batch.cost;
        if let Some(account) = &mut self.memory {
            account.unpin(memory);
        }
        for (range, _) in batch.content.iter() {
            self.pending.remove(range, batch.no);
        }
        Some(Commit { batch, built })
    }

    fn of(&mut self, seq: Seq) -> Option<&mut OnWay> {
        self.on_way.iter_mut().find(|batch| batch.seq == seq)
    }

    fn open_batch(&mut self, now: Millis) -> &mut Batch {
        let (last, next_batch) = (self.last, &mut self.next_batch);
        self.active.get_or_insert_with(|| {
            *next_batch += 1;
            Batch {
                content: Intervals::default(),
                first: Wseq(last.0 + 1),
                last,
                no: BatchNo(*next_batch),
                cost: 0,
                data: 0,
                runs: 0,
                since: now,
            }
        })
    }

    /// Appends one mutation: runs of whole blocks that become one atom of one segment.
    pub(super) fn append(&mut self, now: Millis, runs: Vec<(BlockRange, Content)>, cost: u64) {
        let wseq = Wseq(self.last.0 + 1);
        let batch = self.open_batch(now);
        batch.last = wseq;
        batch.cost += cost;
        let no = batch.no;
        for (range, content) in runs {
            let batch = self.active.as_mut().expect("it was just opened");
            batch.runs += 1;
            if let Content::Data(held) = &content {
                let bytes = (held.nblocks() * BLOCK_SIZE) as u64;
                batch.data += bytes;
                if let Some(memory) = &mut self.memory {
                    memory.add(held.cell(), bytes, wseq, no);
                }
            }
            batch.content.insert(range, content.clone(), no);
            self.pending.insert(range, content, no);
        }
        self.last = wseq;
        self.dirty += cost;
    }
}

#[cfg(test)]
use super::held::Held;

#[cfg(test)]
impl Log {
    /// Flips a bit of a block that waits in the open batch.
    pub(super) fn damage(&mut self, lba: Lba) {
        let active = self.active.as_mut().expect("an open batch");
        let block = BlockRange::new(lba, 1);
        let (_, content) = self.pending.overlapping(block).next().expect("it is pending");
        let Content::Data(data) = content else { panic!("it holds data") };
        let content = Content::Data(Held::new(data.data().expect("it is in memory").damaged()));
        active.content.insert(block, content.clone(), active.no);
        self.pending.insert(block, content, active.no);
    }
}

impl Batch {
    /// Bytes of data that came in.
    pub(crate) fn data(&self) -> u64 {
        self.data
    }
}

impl Engine {
    /// Appends data from the byte `offset` on; both ends are block borders.
    pub(super) fn append_data(&mut self, now: Millis, offset: u64, payload: &Payload, overhead: u64) {
        let runs = placed(offset / BLOCK, absorb(payload));
        self.append_runs(now, runs, payload.len() + overhead);
    }

    /// Appends zeros; the ends of `range` are block borders.
    pub(super) fn append_zeros(&mut self, now: Millis, range: ByteRange, overhead: u64) {
        self.append_runs(now, vec![zeros(range)], overhead);
    }

    /// Appends zeros and the blocks at their ends as one mutation.
    pub(super) fn append_zeros_and_edges(&mut self, now: Millis, middle: Option<ByteRange>, edges: Vec<(Lba, Bytes)>) {
        let mut runs: Vec<_> = middle.map(zeros).into_iter().collect();
        for (lba, block) in edges {
            runs.extend(placed(lba.0, absorb(&block.into())));
        }
        let cost = runs.len() as u64 * (512 + BLOCK);
        self.append_runs(now, runs, cost);
    }

    /// Appends one mutation to the log, and to the journal if there is one to answer it.
    fn append_runs(&mut self, now: Millis, runs: Vec<(BlockRange, Content)>, cost: u64) {
        self.journal_runs(Wseq(self.log.last.0 + 1), &runs);
        self.log.append(now, runs, cost);
        self.seal_if_full();
    }

    /// Between the parts of one long request too, so that no segment grows far beyond its target.
    pub(super) fn seal_if_full(&mut self) {
        if self.log.active_is_full(self.shape.segment_target) {
            self.log.seal();
        }
    }

    pub(super) fn built(&mut self, built: Built) {
        self.log.prev_crc = built.segment.prelude.crc();
        let seq = built.seq;
        let Some(on_way) = self.log.of(seq) else { return };
        let plain = on_way.batch.data;
        let stored = built.segment.prelude.body_len.max(1);
        on_way.stage = Stage::Built;
        on_way.built = Some(Arc::new(built));
        // Small batches say little about what is to come.
        if plain >= 1 << 20 {
            let seen = (plain * 256 / stored).clamp(256, 1024);
            self.log.ratio = (self.log.ratio * 3 + seen) / 4;
        }
    }

    pub(super) fn stored(&mut self, seq: Seq) {
        if let Some(on_way) = self.log.of(seq) {
            on_way.stage = Stage::Stored;
        }
    }
}

pub(super) fn placed(first: u64, runs: Vec<(u64, Content)>) -> Vec<(BlockRange, Content)> {
    let mut at = Lba(first);
    let place = |(nblocks, content)| {
        let range = BlockRange::new(at, nblocks);
        at = range.end();
        (range, content)
    };
    runs.into_iter().map(place).collect()
}

fn zeros(range: ByteRange) -> (BlockRange, Content) {
    let first = range.offset() / BLOCK;
    (BlockRange::new(Lba(first), range.end() / BLOCK - first), Content::Zero)
}
