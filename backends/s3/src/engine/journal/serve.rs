//! Reads of what is only in the journal.

use std::sync::Arc;

use nbdgate_api::ByteRange;

use super::Order;
use crate::{
    engine::{Content, Effect, Engine, edges::EdgeRead, held::Held, token::ReadToken},
    format::{BlockRange, Lba},
    journal::Spot,
};

/// Bytes to be read from the journal; their place is not reused before the answer.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Which read.
    pub(crate) number: u64,
    /// Where on the medium.
    pub(crate) spot: Spot,
    /// What they are held against.
    pub(crate) held: Held,
    /// For whom.
    pub(crate) target: WantedFor,
}

/// Who wants bytes of the journal.
#[derive(Debug)]
pub(crate) enum WantedFor {
    /// A client: this range of the disk, which begins so many bytes behind the first block.
    Client { token: Arc<ReadToken>, bytes: ByteRange, skip: u64 },
    /// The edge of an unaligned mutation.
    Edge(EdgeRead),
}

impl Engine {
    /// Asks for blocks that are not in memory any more.
    pub(in crate::engine) fn want_journaled(&mut self, held: Held, target: WantedFor, effects: &mut Vec<Effect>) {
        let spot = self.spot_of(&held);
        let journal = self.journal.as_mut().expect("only a journal lets memory go");
        let number = journal.next_read;
        journal.next_read += 1;
        let place = held.place().expect("what is not in memory is in the journal");
        journal.reading.insert(number, place.extent);
        effects.push(Effect::Journal(Order::Read(Wanted { number, spot, held, target })));
    }

    /// Where on the medium blocks lie that were released.
    pub(in crate::engine) fn spot_of(&self, held: &Held) -> Spot {
        let journal = self.journal.as_ref().expect("only a journal lets memory go");
        let place = held.place().expect("what is not in memory is in the journal");
        Spot {
            header: journal.ring.offset(place.record),
            extent: journal.ring.offset(place.extent),
            lsn: place.lsn,
            number: place.number,
            skip: place.skip,
            nblocks: held.nblocks() as u64,
        }
    }

    /// The block, if it is pending and only in the journal.
    pub(in crate::engine) fn released_block(&self, lba: Lba) -> Option<Held> {
        match self.log.pending.overlapping(BlockRange::new(lba, 1)).next() {
            Some((_, Content::Data(held))) if held.data().is_none() => Some(held),
            _ => None,
        }
    }
}
