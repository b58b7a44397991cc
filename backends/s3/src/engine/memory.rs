//! The account of data that waits in memory for its segment, oldest first, so that it can be let go of once it is
//! journaled (OBJECT-LOG §5.6). Without a journal nothing is let go of and no account is kept.

use std::{collections::VecDeque, sync::Weak};

use super::{held::Cell, intervals::BatchNo};
use crate::format::Wseq;

#[derive(Debug)]
struct Item {
    cell: Weak<Cell>,
    bytes: u64,
    wseq: Wseq,
    batch: BatchNo,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// What may be let go of: not being built.
    items: VecDeque<Item>,
    bytes: u64,
}

impl Memory {
    /// Bytes in memory, whatever their batch is doing.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn add(&mut self, cell: Weak<Cell>, bytes: u64, wseq: Wseq, batch: BatchNo) {
        self.bytes += bytes;
        self.items.push_back(Item { cell, bytes, wseq, batch });
    }

    /// Lets go of the oldest data that is in records up to `written`, until the rest fits `budget`.
    pub(super) fn release(&mut self, budget: u64, written: Wseq) {
        while self.bytes > budget
            && let Some(item) = self.items.pop_front_if(|item| item.wseq <= written)
        {
            self.bytes -= item.bytes;
            // Overwritten data has left already.
            if let Some(cell) = item.cell.upgrade() {
                cell.release();
            }
        }
    }

    /// The batch is being built: what it has in memory stays until it is committed. Says how much that is.
    pub(super) fn pin(&mut self, batch: BatchNo) -> u64 {
        let mut pinned = 0;
        while let Some(item) = self.items.pop_front_if(|item| item.batch <= batch) {
            pinned += item.bytes;
        }
        pinned
    }

    /// What was pinned has left.
    pub(super) fn unpin(&mut self, bytes: u64) {
        self.bytes -= bytes;
    }
}
