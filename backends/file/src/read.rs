//! READ: holes from the cache, data from the page cache inline, the rest from the device.

use std::{io, ops::RangeInclusive, sync::Arc};

use nbdgate_api::{ByteRange, Error, Kind, Stored};
use nbdgate_io::Buffer;

use crate::{
    disk::{Disk, Pending, Ticket},
    extents::Asker,
    status,
};

/// Reads of up to this many bytes go from the page cache to where they are sent from; longer ones have their own memory.
const LENT: u64 = 16 << 10;
/// Reads of these lengths are sent out of the page cache. Shorter ones are copied at less than the cost of the calls; longer
/// ones too, since the kernel sends them in pieces of 64 KiB, each of which wakes the client.
const SENT: RangeInclusive<u32> = 32 << 10..=256 << 10;
/// Shorter holes in bytes are read like data.
const SHORTEST_HOLE: u64 = 4096;
/// Pieces of one read at most.
const PIECES: usize = 64;

pub(crate) fn submit(request: Pending, range: ByteRange) {
    let holes = holes(request.ticket.shared(), range);
    if holes.is_empty() {
        return read_data(request, range);
    }
    if holes[0] == range {
        request.reply.hole(range);
        return request.end(Ok(()));
    }
    let parts = Arc::new(Parts { request: Some(request) });
    let mut at = range.offset();
    for hole in holes {
        parts.read(ByteRange::between(at, hole.offset()));
        parts.pending().reply.hole(hole);
        at = hole.end();
    }
    parts.read(ByteRange::between(at, range.end()));
}

/// The holes of the range that are worth telling. Has what is not known scanned, for the reads that follow.
fn holes(disk: &Arc<Disk>, range: ByteRange) -> Vec<ByteRange> {
    let Some(extents) = &disk.extents else { return Vec::new() };
    let known = extents.known(range);
    if let Some(offset) = known.unknown
        && let Some(scan) = extents.begin_scan(offset, Asker::Read)
    {
        match Ticket::new(disk) {
            Some(ticket) => disk.file.run(move |_| status::scan(&ticket, &scan)),
            None => extents.end_scan(&scan, &[], scan.range.offset()),
        }
    }
    let mut holes: Vec<ByteRange> = Vec::new();
    for extent in known.zeros {
        match holes.last_mut() {
            Some(last) if last.end() == extent.range.offset() => {
                *last = ByteRange::between(last.offset(), extent.range.end());
            }
            _ => holes.push(extent.range),
        }
    }
    holes.retain(|hole| hole.length() >= SHORTEST_HOLE || *hole == range);
    holes.truncate(PIECES / 2);
    holes
}

/// A read without holes; the shortest way to a page in the page cache.
fn read_data(request: Pending, range: ByteRange) {
    if is_sent(&request, range) {
        return request.end(Ok(()));
    }
    if range.length() <= LENT && request.ticket.file.reads_now() {
        let (file, length) = (&request.ticket.file, usize::try_from(range.length()).expect("at most LENT"));
        let read = |memory: &mut [u8]| file.read_now(memory, range.offset()) == length;
        if request.reply.fill(range.offset(), length, &mut { read }) {
            return request.end(Ok(()));
        }
        let parts = Arc::new(Parts { request: Some(request) });
        return Part { parts, range }.read_rest(buffer(range), 0);
    }
    let mut buffer = buffer(range);
    let now = request.ticket.file.read_now(&mut buffer, range.offset());
    if now == buffer.len() {
        deliver(&request, range.offset(), buffer);
        return request.end(Ok(()));
    }
    let parts = Arc::new(Parts { request: Some(request) });
    Part { parts, range }.read_rest(buffer, now);
}

/// Has a long read sent out of the page cache, if all of it is there and whoever takes the answer can.
fn is_sent(request: &Pending, range: ByteRange) -> bool {
    let length = u32::try_from(range.length()).expect("a read fits in 32 bits (C2)");
    SENT.contains(&length)
        && request.ticket.file.to_send(range.offset(), length as usize).is_some_and(|file| {
            let stored = Stored { offset: range.offset(), length, file, at: range.offset() };
            request.reply.stored(stored).is_ok()
        })
}

fn buffer(range: ByteRange) -> Buffer {
    Buffer::new(usize::try_from(range.length()).expect("a read fits in memory (C2)"))
}

fn deliver(request: &Pending, offset: u64, buffer: Buffer) {
    if buffer.len() as u64 <= LENT {
        request.reply.copy(offset, &buffer);
    } else {
        request.reply.data(offset, buffer.freeze());
    }
}

/// A read in several pieces; the last of them to go ends it.
#[derive(Debug)]
struct Parts {
    request: Option<Pending>,
}

impl Parts {
    fn pending(&self) -> &Pending {
        self.request.as_ref().expect("taken by drop alone")
    }

    fn read(self: &Arc<Self>, range: ByteRange) {
        if range.is_empty() {
            return;
        }
        let mut buffer = buffer(range);
        let now = self.pending().ticket.file.read_now(&mut buffer, range.offset());
        if now == buffer.len() {
            return deliver(self.pending(), range.offset(), buffer);
        }
        Part { parts: self.clone(), range }.read_rest(buffer, now);
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            request.end(Ok(()));
        }
    }
}

/// A piece on its way; reported as failed if it gets lost.
#[derive(Debug)]
struct Part {
    parts: Arc<Parts>,
    /// Empty when it is answered.
    range: ByteRange,
}

impl Part {
    fn read_rest(self, buffer: Buffer, now: usize) {
        let file = self.parts.pending().ticket.file.clone();
        let offset = self.range.offset() + now as u64;
        file.read(buffer, now, offset, move |buffer, outcome| self.settle(buffer, outcome));
    }

    fn settle(mut self, buffer: Buffer, outcome: io::Result<()>) {
        let range = std::mem::replace(&mut self.range, ByteRange::between(0, 0));
        let request = self.parts.pending();
        match outcome {
            Ok(()) => deliver(request, range.offset(), buffer),
            Err(error) => request.reply.fail(range, request.ticket.failed(error, &format!("read {range} of"))),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.range.is_empty() {
            let error = Error::new(Kind::Io, "a read was lost with its thread");
            self.parts.pending().reply.fail(self.range, error);
        }
    }
}
