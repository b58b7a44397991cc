//! A backend that can do less than the one below: for testing what a caller does then.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use nbdgate_api::{Backend, Capabilities, Error, Info, Io, Kind, Op};

/// The most that a [`Limit`] lets a backend have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// What is denied here is denied, whatever the backend can do.
    pub capabilities: Capabilities,
    /// Smallest minimum block, a power of two up to 65536.
    pub minimum_block: u32,
    /// Longest payload, a multiple of the minimum block.
    pub maximum_payload: u32,
    /// Longest read piece, a multiple of the minimum block.
    pub read_piece: u32,
}

impl Default for Limits {
    /// No limits.
    fn default() -> Self {
        Self { capabilities: Capabilities::ALL, minimum_block: 1, maximum_payload: u32::MAX, read_piece: u32::MAX }
    }
}

/// Tells its caller of less, and holds it to that: a request that the reduced [`Info`] forbids (C1, C2, C4) ends with
/// [`Kind::Invalid`] and is counted.
pub struct Limit {
    inner: Arc<dyn Backend>,
    info: Info,
    violations: AtomicU64,
}

impl Limit {
    /// `inner`, reduced to `limits`.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the size is no multiple of the larger minimum block.
    pub fn new(inner: Arc<dyn Backend>, limits: Limits) -> Result<Self, Error> {
        let mut info = inner.info().clone();
        info.block.minimum = info.block.minimum.max(limits.minimum_block);
        info.block.preferred = info.block.preferred.max(info.block.minimum);
        info.block.maximum_payload = info.block.maximum_payload.min(limits.maximum_payload);
        info.read_piece = info.read_piece.min(limits.read_piece).max(info.block.minimum);
        info.capabilities = both(info.capabilities, limits.capabilities);
        if !info.size.is_multiple_of(info.block.minimum.into()) {
            let text = format!("size {} is no multiple of a minimum block of {}", info.size, info.block.minimum);
            return Err(Error::new(Kind::Invalid, text));
        }
        Ok(Self { inner, info, violations: AtomicU64::new(0) })
    }

    /// How many requests broke a duty of the caller.
    pub fn violations(&self) -> u64 {
        self.violations.load(Ordering::SeqCst)
    }

    fn broken_duty(&self, op: &Op) -> Option<&'static str> {
        let Info { size, block, capabilities, .. } = &self.info;
        if let Some(range) = op.range() {
            if range.is_empty() || range.end() > *size || !range.is_aligned(block.minimum.into()) {
                return Some("range is empty, unaligned or outside (C1)");
            }
            let has_payload = matches!(op, Op::Read(_) | Op::Write { .. });
            if has_payload && range.length() > block.maximum_payload.into() {
                return Some("payload is too long (C2)");
            }
        }
        if op.is_mutation() && self.info.read_only {
            return Some("mutation of a read-only disk (C4)");
        }
        let can = match op {
            Op::Read(_) | Op::Flush | Op::DirtyStatus { .. } => true,
            Op::Write { fua, .. } => capabilities.fua || !fua,
            Op::Trim { fua, .. } => capabilities.trim && (capabilities.fua || !fua),
            Op::WriteZeroes { fua, zeroes, .. } => {
                let fast = capabilities.fast_zero || !zeroes.fast;
                capabilities.write_zeroes && fast && (capabilities.fua || !fua)
            }
            Op::BlockStatus { .. } => capabilities.extents,
            Op::Cache(_) => capabilities.cache,
        };
        (!can).then_some("command or flag is not among the capabilities (C4)")
    }
}

impl Backend for Limit {
    fn info(&self) -> &Info {
        &self.info
    }

    fn submit(&self, io: Io) {
        match self.broken_duty(&io.op) {
            None => self.inner.submit(io),
            Some(duty) => {
                self.violations.fetch_add(1, Ordering::SeqCst);
                io.reply.end(Err(Error::new(Kind::Invalid, duty)));
            }
        }
    }

    fn bitmaps(&self) -> Vec<Arc<str>> {
        self.inner.bitmaps()
    }

    fn close(&self) -> Result<(), Error> {
        self.inner.close()
    }
}

fn both(one: Capabilities, other: Capabilities) -> Capabilities {
    Capabilities {
        fua: one.fua && other.fua,
        trim: one.trim && other.trim,
        write_zeroes: one.write_zeroes && other.write_zeroes,
        fast_zero: one.fast_zero && other.fast_zero,
        cache: one.cache && other.cache,
        extents: one.extents && other.extents,
    }
}
