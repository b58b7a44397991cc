//! The memory of the requests in flight: a header and its payload side by side, so that a request leaves as one
//! piece and a static payload is never copied.
//!
//! ```text
//! slot:  36 unused | 28 header | payload, aligned to 64
//! ```

use crate::{random::Random, wire::REQUEST_LENGTH};

const LEAD: usize = 64;

/// One message per slot.
#[derive(Debug)]
pub(crate) struct Slots {
    memory: Vec<u8>,
    payload: usize,
}

impl Slots {
    /// Slots with `payload` bytes each, filled with noise, which no server can take for zeros.
    pub(crate) fn new(count: usize, payload: usize) -> Self {
        let payload_room = payload.next_multiple_of(LEAD);
        let mut memory = vec![0; count * (LEAD + payload_room)];
        Random::new(0).fill(&mut memory);
        Self { memory, payload }
    }

    fn at(&self, slot: u32) -> usize {
        slot as usize * (LEAD + self.payload.next_multiple_of(LEAD)) + LEAD
    }

    /// Where the header goes.
    pub(crate) fn header_mut(&mut self, slot: u32) -> &mut [u8] {
        let at = self.at(slot);
        &mut self.memory[at - REQUEST_LENGTH..at]
    }

    /// The payload; empty if the slots have none.
    pub(crate) fn payload(&self, slot: u32) -> &[u8] {
        let at = self.at(slot);
        &self.memory[at..at + self.payload]
    }

    /// The payload, to be filled.
    pub(crate) fn payload_mut(&mut self, slot: u32) -> &mut [u8] {
        let at = self.at(slot);
        &mut self.memory[at..at + self.payload]
    }

    /// The header and so many bytes of the payload.
    pub(crate) fn message(&self, slot: u32, payload: usize) -> &[u8] {
        assert!(payload <= self.payload, "a message is no longer than its slot");
        let at = self.at(slot);
        &self.memory[at - REQUEST_LENGTH..at + payload]
    }
}
