//! The memory that all RocksDB disks of a process share: the cache, the memtables, and what replies pin of the cache.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use rocksdb::{Cache, WriteBufferManager};

use crate::SharedOptions;

/// The part of the cache that replies on their way to sockets may keep from being evicted: one in so many.
const LENT_SHARE: u64 = 2;

/// See the [module documentation](self).
pub struct Shared {
    pub(crate) cache: Cache,
    pub(crate) write_buffers: WriteBufferManager,
    options: SharedOptions,
    lent: AtomicU64,
}

/// What stands at a value now, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedLevels {
    /// What the cache may hold.
    pub cache_size: u64,
    /// What it holds.
    pub cache_used: u64,
    /// What of it is in use just now.
    pub cache_pinned: u64,
    /// What memtables may hold.
    pub write_memory_budget: u64,
    /// What they hold.
    pub write_memory_used: u64,
    /// What replies on their way to sockets keep in the cache.
    pub lent: u64,
}

impl Shared {
    /// Memory that disks can be opened with.
    pub fn new(options: &SharedOptions) -> Arc<Self> {
        let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        Arc::new(Self {
            // 0: the cache finds out itself how large its entries are.
            cache: Cache::new_hyper_clock_cache(bytes(options.cache), 0),
            // Does not stall: the committers slow down before (see pace).
            write_buffers: WriteBufferManager::new_write_buffer_manager(bytes(options.write_memory), false),
            options: *options,
            lent: AtomicU64::new(0),
        })
    }

    /// What stands at a value now.
    pub fn levels(&self) -> SharedLevels {
        SharedLevels {
            cache_size: self.options.cache,
            cache_used: self.cache.get_usage() as u64,
            cache_pinned: self.cache.get_pinned_usage() as u64,
            write_memory_budget: self.options.write_memory,
            write_memory_used: self.write_buffers.get_usage() as u64,
            lent: self.lent.load(Relaxed),
        }
    }

    /// Bytes that memtables may have.
    pub(crate) fn write_memory(&self) -> u64 {
        self.options.write_memory
    }

    /// How full the memtables are, 0 to 1 and above.
    pub(crate) fn write_memory_fill(&self) -> f64 {
        self.write_buffers.get_usage() as f64 / self.options.write_memory.max(1) as f64
    }

    /// Whether `bytes` more may be kept in the cache by a reply. If so, they must be given back.
    pub(crate) fn lend(&self, bytes: u64) -> bool {
        let before = self.lent.fetch_add(bytes, Relaxed);
        if before + bytes <= self.options.cache / LENT_SHARE {
            return true;
        }
        self.give_back(bytes);
        false
    }

    pub(crate) fn give_back(&self, bytes: u64) {
        self.lent.fetch_sub(bytes, Relaxed);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_replies_keep_is_bounded_and_comes_back() {
        let shared = Shared::new(&SharedOptions { cache: 1 << 20, write_memory: 1 << 20 });
        assert!(shared.lend(256 << 10) && shared.lend(256 << 10));
        assert!(!shared.lend(1));
        assert_eq!(shared.levels().lent, 512 << 10);
        shared.give_back(256 << 10);
        assert!(shared.lend(1));
    }
}
