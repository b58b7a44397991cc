//! What there is to know of an open disk, for whoever shows it.

use std::sync::{
    Weak,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use rocksdb::{properties, statistics::Ticker};

use crate::disk::Core;

/// What the backend counts itself.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) user_bytes: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) combined_writes: AtomicU64,
    pub(crate) reads_inline: AtomicU64,
    pub(crate) reads_pooled: AtomicU64,
    pub(crate) corruptions: AtomicU64,
    pub(crate) paced_micros: AtomicU64,
}

/// One more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// What stands at a value now, and what was counted since the disk was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Levels {
    /// Bytes of the disk.
    pub size: u64,
    /// Bytes of the extents that are there.
    pub allocated: u64,
    /// Bytes of the tables that are live.
    pub live_sst_bytes: u64,
    /// Bytes of the blob files that are live.
    pub live_blob_bytes: u64,
    /// Bytes of them that nothing refers to.
    pub garbage_blob_bytes: u64,
    /// Bytes of all tables and blob files, with those that only old reads need.
    pub total_file_bytes: u64,
    /// Bytes of the memtables.
    pub memtables: u64,
    /// Memtables that wait to be written out.
    pub immutable_memtables: u64,
    /// Tables in level 0.
    pub level0_files: u64,
    /// Bytes that compaction has to move.
    pub pending_compaction_bytes: u64,
    /// Compactions that run.
    pub running_compactions: u64,
    /// Memtables that are being written out.
    pub running_flushes: u64,
    /// Bytes per second that RocksDB slows writes down to; 0 if it does not.
    pub delayed_write_rate: u64,
    /// Whether RocksDB has stopped writes.
    pub write_stopped: bool,
    /// Failures of RocksDB's background work.
    pub background_errors: u64,
    /// Mutations that wait for the committer.
    pub queued_writes: u64,
    /// Bytes of them.
    pub queued_bytes: u64,
    /// How near RocksDB is to stopping writes, or the disk to taking too much space, 0 to 1; above 0 writes are slowed down.
    pub pressure: f64,
    /// Whether a sync has failed, so that no FLUSH is believed any more.
    pub latched: bool,
    /// Blocks found in the cache.
    pub cache_hits: u64,
    /// Blocks not found in it.
    pub cache_misses: u64,
    /// Extents in blob files found in the cache.
    pub blob_cache_hits: u64,
    /// Extents in blob files not found in it.
    pub blob_cache_misses: u64,
    /// Extents found in memtables.
    pub memtable_hits: u64,
    /// Syncs of the log.
    pub wal_syncs: u64,
    /// Bytes written to the log.
    pub wal_bytes: u64,
    /// Bytes of memtables written to tables and blob files.
    pub flush_bytes: u64,
    /// Bytes that compaction read.
    pub compaction_read_bytes: u64,
    /// Bytes that compaction wrote to tables and blob files.
    pub compaction_written_bytes: u64,
    /// Bytes of both that went to blob files.
    pub blob_written_bytes: u64,
    /// Bytes that clients wrote.
    pub user_bytes: u64,
    /// Time for which RocksDB made writes wait, in microseconds.
    pub stall_micros: u64,
    /// Time for which the committer waited so that RocksDB need not, in microseconds.
    pub paced_micros: u64,
    /// Batches written.
    pub batches: u64,
    /// Parts of extents that were written together with others of the same extent.
    pub combined_writes: u64,
    /// Reads answered from memory on the thread that asked.
    pub reads_inline: u64,
    /// Reads that went to the pool.
    pub reads_pooled: u64,
    /// Extents that were missing or failed their check.
    pub corruptions: u64,
}

impl Levels {
    /// Bytes written to the device for each byte that clients wrote; 0 before they did.
    pub fn write_amplification(&self) -> f64 {
        if self.user_bytes == 0 {
            return 0.0;
        }
        // What memtables and compaction write to blob files is counted with them.
        let written = self.wal_bytes + self.flush_bytes + self.compaction_written_bytes;
        written as f64 / self.user_bytes as f64
    }
}

/// A look at an open disk, which does not keep it open.
#[derive(Clone, Debug)]
pub struct Watch(pub(crate) Weak<Core>);

impl Watch {
    /// What there is to know; `None` once the disk is closed.
    pub fn levels(&self) -> Option<Levels> {
        let core = self.0.upgrade().filter(|core| !core.is_closed())?;
        Some(levels(&core))
    }
}

fn levels(core: &Core) -> Levels {
    let database = &core.database;
    let (queued_writes, queued_bytes) = core.queue.waiting();
    let counters = &core.counters;
    let signs = core.signs();
    Levels {
        size: core.info.size,
        allocated: signs.allocated,
        live_sst_bytes: database.level(properties::LIVE_SST_FILES_SIZE),
        live_blob_bytes: database.level("rocksdb.live-blob-file-size"),
        garbage_blob_bytes: database.level("rocksdb.live-blob-file-garbage-size"),
        total_file_bytes: signs.files,
        memtables: database.level(properties::SIZE_ALL_MEM_TABLES),
        immutable_memtables: signs.immutable,
        level0_files: signs.level0,
        pending_compaction_bytes: signs.pending,
        running_compactions: database.level(properties::NUM_RUNNING_COMPACTIONS),
        running_flushes: database.level(properties::NUM_RUNNING_FLUSHES),
        delayed_write_rate: database.level(properties::ACTUAL_DELAYED_WRITE_RATE),
        write_stopped: database.level(properties::IS_WRITE_STOPPED) != 0,
        background_errors: database.level(properties::BACKGROUND_ERRORS),
        queued_writes,
        queued_bytes,
        pressure: signs.pressure(),
        latched: core.sync.check().is_err(),
        cache_hits: database.count(Ticker::BlockCacheHit),
        cache_misses: database.count(Ticker::BlockCacheMiss),
        blob_cache_hits: database.count(Ticker::BlobDbCacheHit),
        blob_cache_misses: database.count(Ticker::BlobDbCacheMiss),
        memtable_hits: database.count(Ticker::MemtableHit),
        wal_syncs: database.count(Ticker::WalFileSynced),
        wal_bytes: database.count(Ticker::WalFileBytes),
        flush_bytes: database.count(Ticker::FlushWriteBytes),
        compaction_read_bytes: database.count(Ticker::CompactReadBytes),
        compaction_written_bytes: database.count(Ticker::CompactWriteBytes),
        blob_written_bytes: database.count(Ticker::BlobDbBlobFileBytesWritten),
        user_bytes: counters.user_bytes.load(Relaxed),
        stall_micros: database.count(Ticker::StallMicros),
        paced_micros: counters.paced_micros.load(Relaxed),
        batches: counters.batches.load(Relaxed),
        combined_writes: counters.combined_writes.load(Relaxed),
        reads_inline: counters.reads_inline.load(Relaxed),
        reads_pooled: counters.reads_pooled.load(Relaxed),
        corruptions: counters.corruptions.load(Relaxed),
    }
}
