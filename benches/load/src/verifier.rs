//! Knows what every block must hold, and checks it.
//!
//! A block takes part in one request at a time, so what a read must deliver is never in doubt. Blocks that this run did
//! not write are read without a check.

use anyhow::ensure;
use serde::Serialize;

use crate::{
    pattern::{self, Tag},
    wire::{Command, Request},
};

/// Blocks of a run that verifies; each costs 5 bytes.
const BLOCKS_MAX: u64 = 1 << 28;
/// Mismatches that are described; the rest is counted.
const DESCRIBED_MAX: u64 = 8;

/// The state of every block.
#[derive(Debug)]
pub(crate) struct Verifier {
    run: u32,
    block_size: u64,
    blocks: Vec<Block>,
    busy: Vec<bool>,
    tally: Tally,
}

/// What a block holds: the generation of its last write, if it was written and the write was answered well.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    generation: u32,
}

/// Reads, by what they showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    /// Blocks that held what was written.
    pub(crate) right: u64,
    /// Blocks that did not.
    pub(crate) wrong: u64,
    /// Blocks that this run did not write.
    pub(crate) unknown: u64,
}

impl Verifier {
    /// Nothing is written yet. `run` tells this run from others on the same disk.
    pub(crate) fn new(run: u32, block_size: u32, blocks: u64, in_flight: u64) -> anyhow::Result<Self> {
        ensure!(blocks <= BLOCKS_MAX, "{blocks} blocks are too many to verify; give a smaller --range");
        ensure!(blocks >= 2 * in_flight, "{blocks} blocks are too few to verify {in_flight} requests in flight");
        let count = usize::try_from(blocks)?;
        Ok(Self {
            run,
            block_size: block_size.into(),
            blocks: vec![Block::default(); count],
            busy: vec![false; count],
            tally: Tally::default(),
        })
    }

    /// The first idle block from `block` on, which is busy from now on.
    pub(crate) fn claim(&mut self, block: u64) -> u64 {
        let start = usize::try_from(block).expect("a block's number was counted in memory");
        let count = self.busy.len();
        let found = (start..count).chain(0..start).find(|index| !self.busy[*index]);
        let found = found.expect("there are twice as many blocks as requests in flight");
        self.busy[found] = true;
        found as u64
    }

    /// Fills the payload of a write to a claimed block.
    pub(crate) fn fill(&mut self, request: Request, payload: &mut [u8]) {
        let index = self.index(request);
        let block = &mut self.blocks[index];
        // Never 0, which stands for unknown.
        block.generation = block.generation.checked_add(1).unwrap_or(1);
        pattern::fill(payload, request.offset, Tag { run: self.run, generation: block.generation });
    }

    /// Notes an answer: frees the block and checks what was read.
    pub(crate) fn finished(&mut self, request: Request, is_ok: bool, payload: &[u8]) {
        let index = self.index(request);
        self.busy[index] = false;
        let generation = self.blocks[index].generation;
        match (request.command, is_ok) {
            (Command::Write, false) => self.blocks[index].generation = 0,
            (Command::Read, true) if generation == 0 => self.tally.unknown += 1,
            (Command::Read, true) => self.check(request, generation, payload),
            _ => {}
        }
    }

    fn check(&mut self, request: Request, generation: u32, payload: &[u8]) {
        let Err(mismatch) = pattern::check(payload, request.offset, Tag { run: self.run, generation }) else {
            self.tally.right += 1;
            return;
        };
        if self.tally.wrong < DESCRIBED_MAX {
            eprintln!("nbdgate-load: {mismatch}");
        }
        self.tally.wrong += 1;
    }

    /// The first block from `block` on that this run wrote.
    pub(crate) fn written_from(&self, block: u64) -> Option<u64> {
        let start = usize::try_from(block).ok()?;
        let rest = self.blocks.get(start..)?;
        rest.iter().position(|block| block.generation != 0).map(|ahead| block + ahead as u64)
    }

    /// What was found so far.
    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    fn index(&self, request: Request) -> usize {
        usize::try_from(request.offset / self.block_size).expect("a block's number was counted in memory")
    }
}
