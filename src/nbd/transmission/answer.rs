//! From events to reply bytes: the requests in flight of one connection, and its output.

use std::time::Instant;

use bytes::Bytes;
use nbdgate_api::{Error, Kind, Piece, Stored};
use slab::Slab;

use super::{
    arena::Arena,
    output::{Output, Place},
    queue::{Event, Lent, What},
    sending,
    slot::{Answer, Slot, Tag},
};
use crate::{
    nbd::proto::{Asked, Command, Done, ReplyStyle, ReplyTo, wire_error},
    scheduler::plan::Chunk,
};

/// The requests in flight and what is to be sent for them.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) output: Output,
    slots: Slab<(u16, Slot)>,
    generation: u16,
    /// Chunks of one request that wait to be joined with those of its next events.
    chunks: Vec<Chunk>,
    chunks_of: Option<usize>,
    /// Where lent data is.
    place: Option<Place>,
    /// The whole data of the request of `chunks_of`, which goes out as it is if the request ends well.
    whole: Option<Whole>,
}

/// Data that is all a read asked for.
#[derive(Debug)]
enum Whole {
    Lent(Lent),
    Stored(Stored),
}

/// A request that has been answered.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) command: Command,
    pub(super) started: Instant,
    /// The kind that the client was told, if it failed.
    pub(super) error: Option<Error>,
}

impl Answers {
    /// Takes a request in; the tag is for part 0.
    pub(super) fn open(&mut self, slot: Slot) -> Tag {
        self.generation = self.generation.wrapping_add(1);
        let key = self.slots.insert((self.generation, slot));
        let slot = u32::try_from(key).expect("permits bound the requests in flight");
        Tag { slot, generation: self.generation, part: 0 }
    }

    /// Requests in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.slots.len()
    }

    /// Takes over the memory that the events to come speak of. They must have been settled before the next.
    pub(super) fn lend(&mut self, arena: Arena) {
        self.place = Some(self.output.adopt(arena));
    }

    /// Takes an event; the answered request if it was its last. `ended` is told of every part that ended.
    pub(super) fn event(&mut self, event: Event, ended: impl FnOnce(&Slot)) -> Option<Answered> {
        let tag = Tag::from_bits(event.tag);
        let key = tag.slot as usize;
        let Some((generation, _)) = self.slots.get(key) else { return unexpected(tag) };
        if *generation != tag.generation {
            return unexpected(tag);
        }
        if self.chunks_of != Some(key) {
            self.settle();
            self.chunks_of = Some(key);
        }
        match event.what {
            What::Piece(piece) => {
                self.spill();
                self.piece(key, tag.part, piece);
                None
            }
            What::Lent(lent) => {
                self.spill();
                if self.slots[key].1.is_answered_by(lent.offset, lent.length as u64) {
                    self.whole = Some(Whole::Lent(lent));
                } else {
                    self.piece(key, tag.part, self.copy_of(lent));
                }
                None
            }
            What::Stored(stored) => {
                self.spill();
                if self.slots[key].1.is_answered_by(stored.offset, stored.length.into()) {
                    self.whole = Some(Whole::Stored(stored));
                } else {
                    self.piece(key, tag.part, sending::read(&stored));
                }
                None
            }
            What::End(Ok(())) if self.whole.is_some() => {
                ended(&self.slots[key].1);
                Some(self.finish_whole(key))
            }
            What::End(Ok(())) if self.slots[key].1.is_plain() => {
                ended(&self.slots[key].1);
                Some(self.finish_plain(key))
            }
            What::End(outcome) => {
                self.whole = None;
                let (_, slot) = &mut self.slots[key];
                if let Err(error) = outcome {
                    slot.end_failed(tag.part, error, &mut self.chunks);
                }
                ended(slot);
                slot.left -= 1;
                (slot.left == 0).then(|| self.finish(key))
            }
        }
    }

    /// Writes out the chunks that waited for more of the same request.
    pub(super) fn settle(&mut self) {
        self.spill();
        let Some(key) = self.chunks_of.take() else { return };
        let Some((_, slot)) = self.slots.get_mut(key) else { return };
        slot.write_chunks(&mut self.chunks, &mut self.output);
    }

    /// Tells a refusal of a request that never was in flight; `cost` is due back once it is sent.
    pub(super) fn refuse(&mut self, to: ReplyTo, error: Kind, text: &str, cost: u32) {
        self.output.tally.error += u64::from(to.style != ReplyStyle::Simple);
        self.output.encode(|out| to.error(out, error, text, Done::Yes));
        self.output.finish(cost);
    }

    fn piece(&mut self, key: usize, part: u16, piece: Piece) {
        let (_, slot) = &mut self.slots[key];
        if let Err(error) = slot.piece(part, piece, &mut self.chunks) {
            slot.answer = Answer::Plain(Some(error));
        }
    }

    /// Goes the long way with data that turns out not to be all that comes.
    fn spill(&mut self) {
        if let Some(whole) = self.whole.take() {
            let key = self.chunks_of.expect("the request whose data is held");
            let piece = match whole {
                Whole::Lent(lent) => self.copy_of(lent),
                Whole::Stored(stored) => sending::read(&stored),
            };
            self.piece(key, 0, piece);
        }
    }

    fn copy_of(&self, lent: Lent) -> Piece {
        let place = self.place.expect("lent data comes with its arena");
        Piece::Data { offset: lent.offset, bytes: Bytes::copy_from_slice(self.output.lent_bytes(place, lent)) }
    }

    /// Answers a read with the data that is all of it, in its place.
    fn finish_whole(&mut self, key: usize) -> Answered {
        let whole = self.whole.take().expect("checked by the caller");
        let (_, Slot { to, command, cost, started, .. }) = self.slots.remove(key);
        self.chunks_of = None;
        let bytes = to.style.read_header_bytes();
        let header = |mut out: &mut [u8], offset, length| match to.style {
            ReplyStyle::Simple => to.simple_data_header(&mut out),
            _ => to.data_header(&mut out, offset, length, Done::Yes),
        };
        match whole {
            Whole::Lent(lent) => {
                let place = self.place.expect("lent data comes with its arena");
                let length = u32::try_from(lent.length).expect("lent data is short");
                self.output.lent(place, lent, bytes, |out| header(out, lent.offset, length));
            }
            Whole::Stored(stored) => {
                self.output.header(bytes, |out| header(out, stored.offset, stored.length));
                self.output.stored(stored);
            }
        }
        self.output.tally.data += u64::from(to.style != ReplyStyle::Simple);
        self.output.finish(cost);
        Answered { command, started, error: None }
    }

    /// Answers a command that brings nothing back, and went well.
    fn finish_plain(&mut self, key: usize) -> Answered {
        let (_, Slot { to, command, cost, started, .. }) = self.slots.remove(key);
        self.chunks_of = None;
        write_success(to, &mut self.output);
        self.output.finish(cost);
        Answered { command, started, error: None }
    }

    fn finish(&mut self, key: usize) -> Answered {
        let (_, mut slot) = self.slots.remove(key);
        self.chunks_of = None;
        slot.write_chunks(&mut self.chunks, &mut self.output);
        let (command, started, cost) = (slot.command, slot.started, slot.cost);
        let error = slot.write_end(&mut self.output);
        self.output.finish(cost);
        Answered { command, started, error }
    }
}

fn unexpected(tag: Tag) -> Option<Answered> {
    tracing::error!(?tag, "backend answered a request that had ended (B2)");
    None
}

impl Slot {
    /// Whether nothing is missing but the end of its only part.
    fn is_plain(&self) -> bool {
        self.left == 1 && matches!(self.answer, Answer::Plain(None))
    }

    /// Whether so much data is all that a read asked for, and the first that came of it.
    fn is_answered_by(&self, offset: u64, length: u64) -> bool {
        let Command::Read { range, .. } = self.command else { return false };
        let is_new = match &self.answer {
            Answer::Stream { plan, .. } => plan.is_new(),
            Answer::Gather(plan) => plan.is_new(),
            Answer::Status(_) | Answer::Plain(_) => false,
        };
        is_new && self.left == 1 && range.offset() == offset && range.length() == length
    }

    fn piece(&mut self, part: u16, piece: Piece, chunks: &mut Vec<Chunk>) -> Result<(), Error> {
        match (&mut self.answer, piece) {
            (Answer::Stream { plan, .. }, piece) => {
                if let Piece::Failed(_, error) = &piece {
                    self.error.get_or_insert_with(|| error.duplicate());
                }
                plan.push(piece, chunks)
            }
            (Answer::Gather(plan), piece) => {
                plan.push(piece);
                Ok(())
            }
            (Answer::Status(lists), Piece::Extents(extents)) => {
                lists[usize::from(part)] = extents;
                Ok(())
            }
            // An error is already to be told; whatever else comes is void.
            (Answer::Plain(Some(_)), _) => Ok(()),
            (Answer::Status(_) | Answer::Plain(None), _) => {
                Err(Error::new(Kind::Io, "backend answered with pieces that were not asked for"))
            }
        }
    }

    fn end_failed(&mut self, part: u16, error: Error, chunks: &mut Vec<Chunk>) {
        match &mut self.answer {
            Answer::Stream { plan, parts, .. } => {
                self.error.get_or_insert_with(|| error.duplicate());
                plan.fail(parts[usize::from(part)], error, chunks);
            }
            Answer::Gather(plan) => plan.fail(error),
            Answer::Plain(told @ None) => *told = Some(error),
            Answer::Plain(Some(_)) => {}
            answer @ Answer::Status(_) => *answer = Answer::Plain(Some(error)),
        }
    }

    /// Writes chunks. The last gets DONE if the backend has ended and so no error can follow it; a chunk that leaves
    /// earlier never does, for the backend may still fail the whole read (B3).
    fn write_chunks(&mut self, chunks: &mut Vec<Chunk>, output: &mut Output) {
        let Answer::Stream { plan, done, .. } = &mut self.answer else { return chunks.clear() };
        *done = self.left == 0 && plan.is_covered() && !chunks.is_empty();
        let count = chunks.len();
        for (index, chunk) in chunks.drain(..).enumerate() {
            let last = if *done && index + 1 == count { Done::Yes } else { Done::No };
            match chunk {
                Chunk::Error { offset, error } => {
                    let kind = wire_error(&self.command, error.kind());
                    let text = error.chain();
                    output.tally.error += 1;
                    output.encode(|out| self.to.error_offset(out, kind, &text, offset, last));
                }
                chunk => write_content(self.to, &chunk, last, output),
            }
        }
    }

    /// Writes what ends the reply; the error that the client was told, if any.
    fn write_end(mut self, output: &mut Output) -> Option<Error> {
        let error = match std::mem::replace(&mut self.answer, Answer::Plain(None)) {
            Answer::Stream { done, plan, .. } => {
                if !done && plan.is_covered() {
                    output.tally.none += 1;
                    output.header(self.to.style.header_bytes(), |mut out| self.to.none(&mut out));
                } else if !done {
                    let error = Error::new(Kind::Io, "backend ended a read that it had not delivered (B3)");
                    self.write_error(&error, output);
                    return Some(error);
                }
                return self.error;
            }
            Answer::Gather(plan) => match plan.finish() {
                Ok(chunk) if self.to.style == ReplyStyle::Simple => {
                    output.header(self.to.style.header_bytes(), |mut out| self.to.simple_data_header(&mut out));
                    output.payload(&chunk.into_payload());
                    return None;
                }
                Ok(chunk) => {
                    write_content(self.to, &chunk, Done::Yes, output);
                    return None;
                }
                Err(error) => error,
            },
            Answer::Status(lists) => {
                let Command::BlockStatus { range, req_one, contexts } = self.command else {
                    unreachable!("only BLOCK_STATUS is answered with extents")
                };
                let asked = Asked { range, req_one };
                let mut contexts = contexts.iter().zip(&lists).peekable();
                while let Some((context, extents)) = contexts.next() {
                    let done = if contexts.peek().is_none() { Done::Yes } else { Done::No };
                    output.tally.block_status += 1;
                    output.encode(|out| self.to.block_status(out, context, asked, extents, done));
                }
                return None;
            }
            Answer::Plain(None) => {
                write_success(self.to, output);
                return None;
            }
            Answer::Plain(Some(error)) => error,
        };
        self.write_error(&error, output);
        Some(error)
    }

    fn write_error(&self, error: &Error, output: &mut Output) {
        let kind = wire_error(&self.command, error.kind());
        output.tally.error += u64::from(self.to.style != ReplyStyle::Simple);
        output.encode(|out| self.to.error(out, kind, &error.chain(), Done::Yes));
    }
}

/// Writes the whole reply of a command that brings nothing back.
fn write_success(to: ReplyTo, output: &mut Output) {
    output.header(to.style.success_bytes(), |mut out| to.success(&mut out));
}

/// Writes a content chunk of a structured or extended reply.
fn write_content(to: ReplyTo, chunk: &Chunk, done: Done, output: &mut Output) {
    match chunk {
        Chunk::Data { offset, payload } => {
            let length = u32::try_from(payload.len()).expect("a read is at most the maximum payload");
            output.tally.data += 1;
            let header = to.style.data_header_bytes();
            output.header(header, |mut out| to.data_header(&mut out, *offset, length, done));
            output.payload(payload);
        }
        Chunk::Hole(range) => {
            output.tally.hole += 1;
            output.header(to.style.hole_bytes(), |mut out| to.hole(&mut out, *range, done));
        }
        Chunk::Error { .. } => unreachable!("content is data or a hole"),
    }
}
