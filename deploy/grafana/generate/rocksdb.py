"""Disks in RocksDB: does it keep up, what is read from where, and what it takes on the device."""

from dashboard import dashboard, exports, gateways, row
from panels import graph, number, query

WRITTEN = "rate(nbdgate_rocksdb_written_bytes_total"


def found(cache):
    """The share of lookups that the cache answered."""
    hits, misses = (f'rate(nbdgate_rocksdb_cache_{what}_total{{of, cache="{cache}"}}[rate])' for what in ("hits", "misses"))
    return query(f"{hits} / ({hits} + {misses} > 0)", "{{export}} " + cache)


def made():
    return dashboard(
        "nbdgate-rocksdb", "RocksDB", "Disks in RocksDB: does it keep up, and what does it take.",
        [*gateways(), exports("nbdgate_rocksdb_size_bytes")],
        row(
            "Is anything wrong?",
            number("Latched", "none", "A sync of the log failed: writes and flushes fail until the disk is opened again.",
                   query("sum(nbdgate_rocksdb_latched{of})"), red=1),
            number("Takes no writes", "none", "The file system is full, or the device does not keep up at all.",
                   query("sum(nbdgate_rocksdb_writes_stopped{of})"), red=1),
            number("Corrupt extents", "none", "Restore the ranges that the log names, and replace the device.",
                   query("sum(nbdgate_rocksdb_corruptions_total{of})"), red=1),
            number("Failed flushes and compactions", "none", "The file system is full or the device fails; writes stop soon.",
                   query("sum(nbdgate_rocksdb_background_errors_total{of})"), red=1),
            number("Pressure", "percentunit", "How near writes are to being stopped; at 100 % for long, less load or a faster device.",
                   query("max(nbdgate_rocksdb_pressure_ratio{of})"), yellow=0.1, red=0.9),
            number("Slowed down to", "Bps", "Above 0 RocksDB slows writes down itself: the pacing came too late.",
                   query("max(nbdgate_rocksdb_delayed_write_bytes_per_second{of})"), yellow=1),
        ),
        row(
            "Does it keep up?",
            graph("Time for which writes were held back", "percentunit", "Paced all the time: clients write faster than the device"
                  " takes. Stalled at all: tell the maintainers if it was not paced too.",
                  query("rate(nbdgate_rocksdb_paced_seconds_total{of}[rate])", "{{export}} paced"),
                  query("rate(nbdgate_rocksdb_stall_seconds_total{of}[rate])", "{{export}} stalled"), bound=0.25),
            graph("Waiting to be compacted", "bytes", "Rising for hours: the device does not keep up.",
                  query("nbdgate_rocksdb_pending_compaction_bytes{of}", "{{export}}")),
            graph("Files of level 0, full memtables", "short", "Rising all the time, or more than 2 memtables: as before.",
                  query("nbdgate_rocksdb_unmerged_files{of}", "{{export}} files"),
                  query("nbdgate_rocksdb_immutable_memtables{of}", "{{export}} memtables")),
            graph("Under way", "short", "0 while bytes wait for compaction would be a fault.",
                  query("nbdgate_rocksdb_running_compactions{of}", "{{export}} compactions"),
                  query("nbdgate_rocksdb_running_flushes{of}", "{{export}} flushes")),
            graph("Waiting for the committer", "short", "Large for long without batches: the device hangs.",
                  query("nbdgate_rocksdb_queued_writes{of}", "{{export}}")),
            graph("Bytes waiting for the committer", "bytes", "As for the writes.",
                  query("nbdgate_rocksdb_queued_bytes{of}", "{{export}}")),
        ),
        row(
            "Writes",
            graph("Written by stage", "Bps", "Compaction far above the clients: small writes all over the disk.",
                  query("sum by (stage) (" + WRITTEN + "{of}[rate]))", "{{stage}}"), stack=True),
            graph("Write amplification", "none", "Above 10 for days: a smaller extent on a new disk helps.",
                  query('sum by (export) (' + WRITTEN + '{of, stage!="client"}[rate])) / (sum by (export) ('
                        + WRITTEN + '{of, stage="client"}[rate])) > 0)', "{{export}} now"),
                  query("nbdgate_rocksdb_write_amplification_ratio{of}", "{{export}} since it was opened"), bound=10),
            graph("Batches, syncs, parts written together", "ops", "Syncs limit FLUSH where the device makes few a second.",
                  query("rate(nbdgate_rocksdb_batches_total{of}[rate])", "{{export}} batches"),
                  query("rate(nbdgate_rocksdb_wal_syncs_total{of}[rate])", "{{export}} syncs"),
                  query("rate(nbdgate_rocksdb_combined_writes_total{of}[rate])", "{{export}} combined")),
            graph("Compaction and blob files", "Bps", "Blob files written far above what clients write: garbage is rewritten with much that lives.",
                  query("rate(nbdgate_rocksdb_compaction_read_bytes_total{of}[rate])", "{{export}} read by compaction"),
                  query("rate(nbdgate_rocksdb_blob_written_bytes_total{of}[rate])", "{{export}} written to blob files")),
            graph("Memory for writes", "bytes", "At the budget while memtables wait: the device is slow, or the budget small.",
                  query("nbdgate_rocksdb_write_memory_used_bytes{at}", "{{instance}} used"),
                  query("nbdgate_rocksdb_write_memory_budget_bytes{at}", "{{instance}} budget")),
            graph("Memtables by disk", "bytes", "Shows who holds that memory.",
                  query("nbdgate_rocksdb_memtable_bytes{of}", "{{export}}")),
        ),
        row(
            "Reads",
            graph("Reads", "reqps", "Many from the device: more `--rocksdb-cache`.",
                  query("rate(nbdgate_rocksdb_inline_reads_total{of}[rate])", "{{export}} from memory"),
                  query("rate(nbdgate_rocksdb_pooled_reads_total{of}[rate])", "{{export}} by the pool")),
            graph("Found in the cache", "percentunit", "A low share with a full cache: more `--rocksdb-cache`.",
                  found("block"), found("blob"), most=1),
            graph("Found in memtables", "ops", "Reads of what was just written; nothing to do.",
                  query("rate(nbdgate_rocksdb_memtable_hits_total{of}[rate])", "{{export}}")),
            graph("Cache", "bytes", "Pinned near the size: too little is left for what is read.",
                  query("nbdgate_rocksdb_cache_used_bytes{at}", "{{instance}} used"),
                  query("nbdgate_rocksdb_cache_size_bytes{at}", "{{instance}} size"),
                  query("nbdgate_rocksdb_cache_pinned_bytes{at}", "{{instance}} pinned"),
                  query("nbdgate_rocksdb_lent_bytes{at}", "{{instance}} lent to replies"), width=16),
        ),
        row(
            "Space",
            graph("On the device", "bytes", "Watch it against the free space of the file system; snapshots keep more.",
                  query("nbdgate_rocksdb_file_bytes{of}", "{{export}} all files"),
                  query("nbdgate_rocksdb_live_sst_bytes{of} + nbdgate_rocksdb_live_blob_bytes{of}", "{{export}} in use")),
            graph("Garbage in blob files", "percentunit", "Above half for long: compaction does not keep up.",
                  query("nbdgate_rocksdb_garbage_blob_bytes{of} / (nbdgate_rocksdb_live_blob_bytes{of} > 0)", "{{export}}"),
                  most=1),
            graph("How full the disk is", "percentunit", "Near 100 %: let the guest trim what it deleted.",
                  query("nbdgate_rocksdb_allocated_bytes{of} / nbdgate_rocksdb_size_bytes{of}", "{{export}}"), most=1),
        ),
    )
