//! A RAM disk: sparse, thin, gone when it is closed.
//!
//! The disk is a two-level table of chunks, each behind its own lock. A chunk has no memory until it is
//! written to, and gives it back when it reads as zeros again, so an empty disk of any size is small and opens
//! at once. Every request is answered inside `submit`, on the calling thread.
//!
//! The memory is 2 MiB regions, on huge pages where the kernel has them, from which chunks take their blocks of 64 KiB
//! each. A disk with N bytes allocated has at most 4/3 N + 34 MiB of memory, whatever was trimmed in which order.
//!
//! Invariants: a lock covers one chunk, and at most one of them is held at a time; it is held across
//! [`Sink::fill`](nbdgate_api::Sink::fill), which allows that, and across no other call out of the crate. The lock
//! of the disk's free blocks is taken below it, and by whoever drops an answer.
//!
//! Absent: durability. FLUSH and FUA succeed because there is no level below the process to reach.

mod budget;
mod chunk;
mod pool;
mod region;
mod table;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use nbdgate_api::{
    Backend, BlockSizes, ByteRange, Capabilities, Error, Extent, ExtentKind, Home, Info, Io, Kind, Op, Payload, Reply,
};

use crate::{budget::Budget, chunk::Chunk, pool::Pool, table::Table};

pub use crate::table::{CHUNK_SIZE, MAX_SIZE};

/// Longest read served as one unit: it bounds the time of one `submit`, not the memory, since long reads share.
const READ_PIECE: u32 = 1 << 20;
/// Reads of a chunk from this length on share its memory instead of being copied. Below, a copy is cheaper than
/// what sharing may bring: a chunk that is written to while an answer still holds it has to be duplicated.
const SHARE_MIN: u64 = 16 << 10;
/// Extents of one BLOCK_STATUS answer; the caller asks again for more.
const EXTENTS_MAX: usize = 4096;
/// Chunks looked at by one BLOCK_STATUS, about a millisecond's worth; absent leaves count as one.
const STATUS_CHUNKS_MAX: usize = 64 << 10;

/// A RAM disk.
#[derive(Debug)]
pub struct Memory {
    info: Info,
    /// Dropped before the table, whose blocks then go with their regions instead of one by one.
    pool: Arc<Pool>,
    table: Table,
    closed: AtomicBool,
}

impl Memory {
    /// An empty disk of `size` bytes that may grow to its full size.
    ///
    /// # Errors
    /// [`Kind::Invalid`] above [`MAX_SIZE`]; [`Kind::NoMemory`] if not even the table's first level fits.
    pub fn new(size: u64) -> Result<Self, Error> {
        Self::bounded(size, u64::MAX)
    }

    /// An empty disk of `size` bytes whose content takes at most `limit` bytes of memory, counted in whole chunks
    /// of [`CHUNK_SIZE`]. A mutation that needs more fails with [`Kind::NoMemory`].
    ///
    /// # Errors
    /// As [`Memory::new`].
    pub fn bounded(size: u64, limit: u64) -> Result<Self, Error> {
        let info = Info {
            size,
            block: BlockSizes::default(),
            read_only: false,
            rotational: false,
            capabilities: Capabilities::ALL,
            read_piece: READ_PIECE,
            home: Home::Spread,
        };
        let pool = Pool::new(Budget::new(limit));
        Ok(Self { info, pool, table: Table::new(size)?, closed: AtomicBool::new(false) })
    }

    /// Bytes of content that are allocated now, in whole chunks.
    pub fn allocated(&self) -> u64 {
        self.pool.budget.used()
    }

    fn serve(&self, op: &Op, reply: &Reply) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(Kind::Shutdown, "memory disk is closed"));
        }
        if let Some(range) = op.range() {
            assert!(range.end() <= self.info.size, "range {range} leaves a disk of {} bytes (C1)", self.info.size);
        }
        match op {
            Op::Read(range) => self.read(*range, reply),
            Op::Write { offset, payload, .. } => self.write(*offset, payload)?,
            Op::WriteZeroes { range, zeroes, .. } if zeroes.no_hole => self.zero_allocated(*range)?,
            Op::Trim { range, .. } | Op::WriteZeroes { range, .. } => self.trim(*range)?,
            Op::BlockStatus { range, req_one } => reply.extents(self.extents(*range, *req_one)),
            Op::DirtyStatus { .. } => {
                return Err(Error::new(Kind::NotSupported, "a memory disk has no dirty bitmaps"));
            }
            Op::Flush | Op::Cache(_) => {}
        }
        Ok(())
    }

    fn read(&self, range: ByteRange, reply: &Reply) {
        let mut zeros: Option<ByteRange> = None;
        for (part, slot) in self.table.parts(range) {
            let guard = slot.map(|slot| slot.read());
            let Some(block) = guard.as_deref().and_then(Chunk::block) else {
                zeros = Some(ByteRange::between(zeros.map_or(part.offset(), ByteRange::offset), part.end()));
                continue;
            };
            let wanted = table::within_chunk(part);
            let shared = if part.length() < SHARE_MIN {
                reply.copy(part.offset(), &block[wanted]);
                None
            } else {
                Some(block.share(wanted))
            };
            drop(guard);
            if let Some(run) = zeros.take() {
                reply.hole(run);
            }
            if let Some(bytes) = shared {
                reply.data(part.offset(), bytes);
            }
        }
        if let Some(run) = zeros {
            reply.hole(run);
        }
    }

    fn write(&self, offset: u64, payload: &Payload) -> Result<(), Error> {
        let range = ByteRange::between(offset, offset + payload.len());
        for part in range.pieces(CHUNK_SIZE) {
            let length = self.table.chunk_length(part);
            let mut chunk = self.table.slot(part)?.write();
            if part == range {
                chunk.write(table::within_chunk(part), payload, length, &self.pool)?;
            } else {
                let payload = payload.slice(part.offset() - offset, part.length());
                chunk.write(table::within_chunk(part), &payload, length, &self.pool)?;
            }
        }
        Ok(())
    }

    fn trim(&self, range: ByteRange) -> Result<(), Error> {
        for (part, slot) in self.table.parts(range) {
            if let Some(slot) = slot {
                slot.write().trim(table::within_chunk(part), self.table.chunk_length(part), &self.pool)?;
            }
        }
        Ok(())
    }

    fn zero_allocated(&self, range: ByteRange) -> Result<(), Error> {
        for part in range.pieces(CHUNK_SIZE) {
            let length = self.table.chunk_length(part);
            self.table.slot(part)?.write().zero_allocated(table::within_chunk(part), length, &self.pool)?;
        }
        Ok(())
    }

    fn extents(&self, range: ByteRange, req_one: bool) -> Vec<Extent> {
        let limit = if req_one { 1 } else { EXTENTS_MAX };
        let mut list = Vec::new();
        for (part, slot) in self.table.parts(range).take(STATUS_CHUNKS_MAX) {
            let kind = slot.map_or(ExtentKind::Hole, |slot| slot.read().kind());
            Extent { range: part, kind }.push_onto(&mut list);
            if list.len() > limit {
                list.pop();
                break;
            }
        }
        list
    }
}

impl Backend for Memory {
    fn info(&self) -> &Info {
        &self.info
    }

    fn submit(&self, io: Io) {
        let Io { op, reply } = io;
        let outcome = self.serve(&op, &reply);
        reply.end(outcome);
    }

    fn close(&self) -> Result<(), Error> {
        self.closed.store(true, Ordering::Release);
        self.trim(ByteRange::between(0, self.info.size))
    }
}
