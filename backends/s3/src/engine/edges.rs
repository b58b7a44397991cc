//! Unaligned mutations: read the blocks at their edges, merge, and append whole blocks.
//!
//! An edge that is pending, a hole, or among the recently read frames is merged at once. Otherwise the rewrite
//! guards its edge blocks until they were read.

use bytes::{Bytes, BytesMut};
use nbdgate_api::{ByteRange, Error, Kind, Payload};

use super::{
    Effect, Engine, Millis,
    admit::{Mutation, zero_block},
};
use crate::format::{BLOCK_SIZE, BlockRange, Lba};

const BLOCK: u64 = BLOCK_SIZE as u64;

/// A mutation that waits for the blocks at its edges.
#[derive(Debug)]
pub(super) struct Rewrite {
    pub(super) mutation: Mutation,
    edges: Vec<Edge>,
}

/// A block that the mutation covers in part.
#[derive(Debug)]
struct Edge {
    lba: Lba,
    old: Option<Bytes>,
}

/// Whose edge a read is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EdgeRead {
    rewrite: u64,
    lba: Lba,
}

impl Engine {
    /// Begins an unaligned mutation, none of whose blocks is guarded.
    pub(super) fn rewrite(&mut self, now: Millis, mutation: Mutation, effects: &mut Vec<Effect>) {
        let blocks = mutation.blocks();
        let (first, last) = (blocks.start, Lba(blocks.end().0 - 1));
        let mut edges = Vec::new();
        if !mutation.range.offset().is_multiple_of(BLOCK) {
            edges.push(Edge { lba: first, old: None });
        }
        let covered_head = !edges.is_empty() && first == last;
        if !mutation.range.end().is_multiple_of(BLOCK) && !covered_head {
            edges.push(Edge { lba: last, old: None });
        }
        for edge in &mut edges {
            match self.block_at_hand(edge.lba).transpose() {
                Ok(old) => edge.old = old,
                Err(error) => {
                    effects.push(Effect::End(mutation.reply, Err(error)));
                    return;
                }
            }
        }
        if edges.iter().all(|edge| edge.old.is_some()) {
            self.merge(now, mutation, &edges, effects);
            return;
        }
        let number = self.admission.next_rewrite;
        self.admission.next_rewrite += 1;
        let missing: Vec<Lba> = edges.iter().filter(|edge| edge.old.is_none()).map(|edge| edge.lba).collect();
        for edge in &edges {
            let before = self.admission.guards.insert(edge.lba.0, std::collections::VecDeque::new());
            assert!(before.is_none(), "a block is guarded once");
        }
        self.admission.rewrites.insert(number, Rewrite { mutation, edges });
        for lba in missing {
            self.read_edge(now, lba, EdgeRead { rewrite: number, lba }, effects);
        }
    }

    /// The old content of an edge has come, or could not be had.
    pub(super) fn edge_read(
        &mut self,
        now: Millis,
        edge: EdgeRead,
        result: Result<Bytes, Error>,
        effects: &mut Vec<Effect>,
    ) {
        // A rewrite that failed with its other edge, or with the engine, is gone.
        let Some(rewrite) = self.admission.rewrites.get_mut(&edge.rewrite) else { return };
        match result {
            Ok(bytes) => {
                let slot = rewrite.edges.iter_mut().find(|known| known.lba == edge.lba).expect("it asked for it");
                slot.old = Some(bytes);
                if rewrite.edges.iter().any(|edge| edge.old.is_none()) {
                    return;
                }
                let rewrite = self.admission.rewrites.remove(&edge.rewrite).expect("it was just seen");
                let Rewrite { mutation, edges } = rewrite;
                self.merge(now, mutation, &edges, effects);
                self.release(now, &edges, effects);
            }
            Err(error) => {
                let rewrite = self.admission.rewrites.remove(&edge.rewrite).expect("it was just seen");
                effects.push(Effect::End(rewrite.mutation.reply, Err(error)));
                self.release(now, &rewrite.edges, effects);
            }
        }
    }

    /// Lifts the guards and starts who waited, in order.
    fn release(&mut self, now: Millis, edges: &[Edge], effects: &mut Vec<Effect>) {
        let freed: Vec<Mutation> =
            edges.iter().flat_map(|edge| self.admission.guards.remove(&edge.lba.0).unwrap_or_default()).collect();
        for mutation in freed {
            self.start(now, mutation, effects);
        }
    }

    fn merge(&mut self, now: Millis, mutation: Mutation, edges: &[Edge], effects: &mut Vec<Effect>) {
        let Mutation { range, payload, fua, reply } = mutation;
        let Some(payload) = payload else {
            let blanks = edges.iter().map(|edge| (edge.lba, blank(range, edge))).collect();
            self.append_zeros_and_edges(now, inner(range), blanks);
            self.acknowledge(reply, fua, effects);
            return;
        };
        let blocks = enclosing(range);
        let whole = ByteRange::between(blocks.start.0 * BLOCK, blocks.end().0 * BLOCK);
        let payload = Some(widen(range, &payload, edges));
        self.append(now, Mutation { range: whole, payload, fua, reply }, effects);
    }

    /// The content of a block, if it can be told without asking the store. A pending block that is no longer what came
    /// in is an error: merged, its damage would get a crc that fits.
    fn block_at_hand(&mut self, lba: Lba) -> Option<Result<Bytes, Error>> {
        let blocks = BlockRange::new(lba, 1);
        if let Some((_, content)) = self.log.pending.overlapping(blocks).next() {
            return Some(match content {
                // Released: it is read from the journal.
                super::Content::Data(held) => match held.data()? {
                    data if data.sound() == 1 => Ok(data.bytes().clone()),
                    _ => Err(Error::new(Kind::Io, format!("block {} was damaged in memory", lba.0))),
                },
                super::Content::Zero => Ok(zero_block()),
            });
        }
        let Some(address) = self.committed.lookup(lba) else { return Some(Ok(zero_block())) };
        let object = self.committed.object(address.segment);
        self.reads.block_in_cache(object, address.lblk).map(Ok)
    }
}

fn enclosing(range: ByteRange) -> BlockRange {
    let (first, end) = (range.offset() / BLOCK, range.end().div_ceil(BLOCK));
    BlockRange::new(Lba(first), end - first)
}

/// The blocks that a range covers wholly; `None` if there are none.
fn inner(range: ByteRange) -> Option<ByteRange> {
    let (start, end) = (range.offset().next_multiple_of(BLOCK), range.end() / BLOCK * BLOCK);
    (start < end).then(|| ByteRange::between(start, end))
}

fn old_of(edges: &[Edge], lba: Lba) -> &Bytes {
    let edge = edges.iter().find(|edge| edge.lba == lba).expect("a cut block is an edge");
    edge.old.as_ref().expect("every edge was read")
}

fn widen(range: ByteRange, payload: &Payload, edges: &[Edge]) -> Payload {
    let mut wide = Payload::default();
    let within = |offset: u64| usize::try_from(offset % BLOCK).expect("inside a block");
    let head = within(range.offset());
    if head > 0 {
        wide.push(old_of(edges, Lba(range.offset() / BLOCK)).slice(..head));
    }
    for slice in payload.slices() {
        wide.push(slice.clone());
    }
    let tail = within(range.end());
    if tail > 0 {
        wide.push(old_of(edges, Lba(range.end() / BLOCK)).slice(tail..));
    }
    wide
}

/// The old block of an edge with the range's part of it zeroed.
fn blank(range: ByteRange, edge: &Edge) -> Bytes {
    let block = ByteRange::between(edge.lba.0 * BLOCK, (edge.lba.0 + 1) * BLOCK);
    let cut = block.intersect(range).expect("an edge lies in its mutation");
    let mut bytes = BytesMut::from(&edge.old.as_ref().expect("every edge was read")[..]);
    let at = |offset: u64| usize::try_from(offset - block.offset()).expect("inside a block");
    bytes[at(cut.offset())..at(cut.end())].fill(0);
    bytes.freeze()
}
