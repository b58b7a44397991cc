//! Data that waits to be stored: in memory, or, once it was journaled, only in the journal.
//!
//! The maps of the write path share one cell per run that came in, so whoever lets go of the bytes does it for all of
//! them. The crcs that the blocks had when they came in stay in memory: whatever is read back is held against them.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    checked::{Checked, Crcs},
    format::BLOCK_SIZE,
    journal::Place,
};

/// Blocks of a run that came in.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    cell: Arc<Cell>,
    skip: usize,
    nblocks: usize,
}

/// A run that came in; see the [module](self).
#[derive(Debug)]
pub(super) struct Cell(Mutex<State>);

#[derive(Debug)]
struct State {
    bytes: Option<Bytes>,
    crcs: Crcs,
    place: Option<Place>,
}

impl Held {
    pub(crate) fn new(data: Checked) -> Self {
        let nblocks = data.nblocks();
        let (bytes, crcs) = data.into_parts();
        Self { cell: Arc::new(Cell(Mutex::new(State { bytes: Some(bytes), crcs, place: None }))), skip: 0, nblocks }
    }

    /// Data that was read from its place.
    pub(crate) fn journaled(data: Checked, place: Place) -> Self {
        let held = Self::new(data);
        held.cell.0.lock().place = Some(place);
        held
    }

    pub(crate) fn nblocks(&self) -> usize {
        self.nblocks
    }

    pub(crate) fn slice(&self, skip: usize, nblocks: usize) -> Self {
        debug_assert!(skip + nblocks <= self.nblocks, "a slice lies inside");
        Self { cell: Arc::clone(&self.cell), skip: self.skip + skip, nblocks }
    }

    /// The blocks, if they are in memory.
    pub(crate) fn data(&self) -> Option<Checked> {
        let state = self.cell.0.lock();
        let bytes = state.bytes.as_ref()?;
        let bytes = bytes.slice(self.skip * BLOCK_SIZE..(self.skip + self.nblocks) * BLOCK_SIZE);
        Some(Checked::from_parts(bytes, state.crcs.slice(self.skip, self.nblocks)))
    }

    /// Where the blocks lie in the journal, if they were written there.
    pub(crate) fn place(&self) -> Option<Place> {
        self.cell.0.lock().place.map(|place| place.plus(self.skip as u64))
    }

    /// The run that came in was written to `place`.
    pub(super) fn written(&self, place: Place) {
        debug_assert_eq!(self.skip, 0, "a run is journaled as a whole");
        self.cell.0.lock().place = Some(place);
    }

    /// The blocks out of `bytes` that were read from their place, with the crcs they had when they came in. They may differ
    /// from what came in: the crcs tell.
    pub(crate) fn restored(&self, bytes: Bytes) -> Checked {
        assert_eq!(bytes.len(), self.nblocks * BLOCK_SIZE, "so many were asked for");
        Checked::from_parts(bytes, self.cell.0.lock().crcs.slice(self.skip, self.nblocks))
    }

    pub(super) fn cell(&self) -> Weak<Cell> {
        Arc::downgrade(&self.cell)
    }
}

impl Cell {
    /// Lets go of the bytes.
    pub(super) fn release(&self) {
        let mut state = self.0.lock();
        assert!(state.place.is_some(), "only what is journaled is released");
        state.bytes = None;
    }
}

#[cfg(test)]
impl Held {
    /// The bytes, which are in memory.
    pub(crate) fn bytes(&self) -> Bytes {
        self.data().expect("it was not released").bytes().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_released_is_held_against_what_came_in() {
        let bytes: Vec<u8> = (0..4 * BLOCK_SIZE).map(|at| u8::try_from(at / 17 % 251).unwrap()).collect();
        let held = Held::new(Checked::new(bytes.clone().into()));
        let part = held.slice(1, 2);
        assert_eq!(part.data().unwrap().bytes()[..], bytes[BLOCK_SIZE..3 * BLOCK_SIZE]);
        held.written(Place { record: 4096, extent: 8192, lsn: 3, number: 1, skip: 0 });
        held.cell().upgrade().unwrap().release();
        assert!(held.data().is_none() && part.data().is_none(), "all slices are released");
        assert_eq!(part.place().unwrap().skip, 1);
        let good = Bytes::from(bytes[BLOCK_SIZE..3 * BLOCK_SIZE].to_vec());
        assert_eq!(part.restored(good.clone()).sound(), 2);
        let mut bad = good.to_vec();
        bad[BLOCK_SIZE] ^= 1;
        assert_eq!(part.restored(bad.into()).sound(), 1);
    }
}
