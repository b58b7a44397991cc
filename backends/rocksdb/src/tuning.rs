//! RocksDB's options, each with its reason. The measurements are in docs/ROCKSDB.md.

use std::{fs, os::unix::fs::OpenOptionsExt, path::Path, thread};

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, InfoLogger,
    LogLevel, Options, statistics::StatsLevel,
};

use crate::{
    Compression, Shared,
    database::{Family, Mode},
};

/// Bytes of a memtable, at most: an eighth of what all disks may have. Writing it out is one long piece of work.
const MEMTABLE: u64 = 32 << 20;
const LEAST_MEMTABLE: u64 = 1 << 20;
/// Memtables, with the one that is written to. All full: RocksDB stops writes.
pub(crate) const MEMTABLES: i32 = 6;
/// Tables in level 0 at which RocksDB slows writes down, and at which it stops them.
pub(crate) const LEVEL0_SLOWDOWN: i32 = 20;
pub(crate) const LEVEL0_STOP: i32 = 36;
/// Tables in level 0 at which they are compacted. Those of keys alone are tiny, and what has become garbage in blob files is not
/// known before.
const LEVEL0_BLOBS: i32 = 2;
/// Bytes waiting for compaction at which RocksDB slows writes down, and at which it stops them.
pub(crate) const PENDING_SLOWDOWN: usize = 16 << 30;
const PENDING_STOP: usize = 64 << 30;
/// Bytes of log at which the oldest family is written out, so that its log can go: bounds the replay after a crash.
const LOG: u64 = 512 << 20;
/// Old logs that are written over. A file that grows costs a commit of the file system's journal at each sync.
const RECYCLED_LOGS: usize = 2;
/// From this size of extents on they lie in blob files, where compaction does not copy them.
const BLOB_EXTENT: u32 = 16 << 10;
/// The oldest part of the blob files that is cleaned when compaction comes by, and the part of garbage in it that calls
/// compaction.
const BLOB_AGE: f64 = 0.25;
const BLOB_GARBAGE: f64 = 0.3;
/// Bytes of a blob file: the unit that garbage is given back in.
const BLOB_FILE: u64 = 64 << 20;
/// Open files of one disk; most of a large disk's tables are closed.
const OPEN_FILES: i32 = 1024;

/// What of a disk decides about its options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) extent: u32,
    pub(crate) compression: Compression,
}

/// Bytes of the cache that a value of so many bytes keeps there: a blob is by itself, smaller ones have company in a block.
pub(crate) fn pinned_by(length: usize) -> u64 {
    length.max(BLOB_EXTENT as usize) as u64
}

/// Options of the database at `path`.
pub(crate) fn database(path: &Path, mode: Mode, shared: &Shared) -> Options {
    let mut options = Options::default();
    log(&mut options);
    options.set_recycle_log_file_num(RECYCLED_LOGS);
    options.set_max_total_wal_size(LOG);
    // Tables and logs are written to the device as they grow, not all at once at their sync.
    options.set_bytes_per_sync(1 << 20);
    options.set_wal_bytes_per_sync(1 << 20);
    options.set_paranoid_checks(true);
    options.set_max_open_files(OPEN_FILES);
    // Closing an iterator or a table never deletes files on the thread that reads.
    options.set_avoid_unnecessary_blocking_io(true);
    if mode == Mode::Read {
        quiet(&mut options);
    } else {
        // Compaction would push what is read out of the page cache.
        options.set_use_direct_io_for_flush_and_compaction(takes_direct_io(path));
    }
    options.set_max_background_jobs(background_jobs());
    options.set_write_buffer_manager(&shared.write_buffers);
    options.enable_statistics();
    options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(8 << 20);
    options
}

/// RocksDB writes a log of what it does beside its files, also when it only reads them. What is worth a warning comes to ours
/// instead.
pub(crate) fn quiet(options: &mut Options) {
    let logger = InfoLogger::new_callback_logger(LogLevel::Warn, |level, text| {
        // All options come at each opening, past the level that was asked for.
        if matches!(level, LogLevel::Warn | LogLevel::Error | LogLevel::Fatal) {
            tracing::warn!(text = text.trim_end(), "RocksDB has something to say");
        }
    });
    options.set_info_logger(logger);
}

/// How logs are kept and believed, whoever opens the database.
pub(crate) fn log(options: &mut Options) {
    // A log's end may be torn after a power cut. What was flushed is checked apart (see flushed).
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // The manifest knows what old logs there must be, and how long they are. The number of what was flushed does not tell when
    // one is gone that only the bits still need: the tables of extents are further than that.
    options.set_track_and_verify_wals_in_manifest(true);
}

/// The families of a disk.
pub(crate) fn families(shape: Shape, shared: &Shared) -> Vec<ColumnFamilyDescriptor> {
    let small = || {
        let mut options = Options::default();
        options.set_write_buffer_size(4 << 20);
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&shared.cache);
        options.set_block_based_table_factory(&table);
        options
    };
    vec![
        ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, small()),
        ColumnFamilyDescriptor::new(Family::Meta.name(), small()),
        ColumnFamilyDescriptor::new(Family::Bits.name(), small()),
        ColumnFamilyDescriptor::new(Family::Data.name(), data(shape, shared)),
    ]
}

fn data(shape: Shape, shared: &Shared) -> Options {
    let mut options = Options::default();
    let memtable = (shared.write_memory() / 8).clamp(LEAST_MEMTABLE, MEMTABLE);
    options.set_write_buffer_size(usize::try_from(memtable).expect("at most 32 MiB"));
    options.set_max_write_buffer_number(MEMTABLES);
    options.set_level_zero_slowdown_writes_trigger(LEVEL0_SLOWDOWN);
    options.set_level_zero_stop_writes_trigger(LEVEL0_STOP);
    options.set_soft_pending_compaction_bytes_limit(PENDING_SLOWDOWN);
    options.set_hard_pending_compaction_bytes_limit(PENDING_STOP);
    options.set_level_compaction_dynamic_level_bytes(true);
    // Nobody asks for what is not there: presence knows. The last level needs no filter.
    options.set_optimize_filters_for_hits(true);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&shared.cache);
    table.set_bloom_filter(10.0, false);
    let compression = kind(shape.compression);
    if shape.extent >= BLOB_EXTENT {
        options.set_enable_blob_files(true);
        options.set_min_blob_size(u64::from(shape.extent / 2));
        options.set_blob_file_size(BLOB_FILE);
        options.set_blob_compression_type(compression);
        options.set_enable_blob_gc(true);
        options.set_blob_gc_age_cutoff(BLOB_AGE);
        options.set_blob_gc_force_threshold(BLOB_GARBAGE);
        options.set_blob_cache(&shared.cache);
        // Tables hold keys alone: tiny, so their indexes stay in memory.
        options.set_compression_type(DBCompressionType::None);
        options.set_level_zero_file_num_compaction_trigger(LEVEL0_BLOBS);
        options.set_target_file_size_base(4 << 20);
        options.set_max_bytes_for_level_base(16 << 20);
    } else {
        options.set_compression_type(DBCompressionType::None);
        options.set_bottommost_compression_type(compression);
        // A block of four extents: an index entry for each would be a gigabyte for a terabyte.
        table.set_block_size(BLOB_EXTENT as usize + 512);
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_partition_filters(true);
        table.set_cache_index_and_filter_blocks(true);
        table.set_cache_index_and_filter_blocks_with_high_priority(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_pin_top_level_index_and_filter(true);
    }
    options.set_block_based_table_factory(&table);
    options
}

fn kind(compression: Compression) -> DBCompressionType {
    match compression {
        Compression::None => DBCompressionType::None,
        Compression::Lz4 => DBCompressionType::Lz4,
        Compression::Zstd => DBCompressionType::Zstd,
    }
}

fn background_jobs() -> i32 {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    i32::try_from(cores.clamp(2, 16)).expect("at most 16")
}

/// Whether the file system of `directory` has direct I/O: memory file systems do not.
fn takes_direct_io(directory: &Path) -> bool {
    let path = directory.join(format!("direct-{}", uuid::Uuid::new_v4().simple()));
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).custom_flags(libc_o_direct()).open(&path);
    let _nothing_there = fs::remove_file(&path);
    opened.is_ok()
}

fn libc_o_direct() -> i32 {
    i32::try_from(rustix::fs::OFlags::DIRECT.bits()).expect("one flag")
}
