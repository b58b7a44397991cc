"""One export: what its clients see, and what the disk below does for it."""

from dashboard import dashboard, exports, gateways, row
from panels import graph, number, quantiles, query, states

PHASES = {
    1: ("closed", "text"), 2: ("claiming", "blue"), 3: ("fencing", "blue"), 4: ("waiting", "blue"),
    5: ("recovering", "blue"), 6: ("open", "green"), 7: ("draining", "yellow"), 8: ("stalled", "orange"),
    9: ("fenced", "red"), 10: ("failed", "dark-red"),
}


def phase():
    """The phase as the number that PHASES gives it."""
    parts = (f'{number_} * nbdgate_object_phase{{of, phase="{name}"}}' for number_, (name, _) in PHASES.items())
    return query(f"max by (instance, export) ({' or '.join(parts)})", "{{instance}} {{export}}")


def made():
    return dashboard(
        "nbdgate-export", "one export", "One export: what its clients see, and what its disk does. The default export, whose name is"
        " empty, is shown by All.", [*gateways(), exports(many=False)],
        row(
            "Now",
            number("Refuses writes", "none", "1 after a failed flush: find the cause, mend it, open the export again.",
                   query("max(nbdgate_export_flush_latched{of})"), red=1),
            number("Answered", "reqps", "0 while clients are connected and requests are in flight: the storage hangs.",
                   query("sum(rate(nbdgate_export_requests_total{of}[rate]))")),
            number("In flight", "short", "Still above 0 while nothing is answered: the storage hangs.",
                   query("sum(nbdgate_export_requests_in_flight{of})")),
            number("Errors in this time", "short", "The log of the gateway names the cause of each.",
                   query("sum(increase(nbdgate_export_errors_total{of}[$__range])) or vector(0)"), yellow=1, decimals=0),
            number("Reads, 99 %", "s", "Seconds are noticed by guests; see the latency dashboard.",
                   query('histogram_quantile(0.99, sum by (le) (rate(nbdgate_export_request_seconds_bucket{of, command="read"}[rate])))')),
            number("Flushes, 99 %", "s", "What a database in the guest waits for at each commit.",
                   query('histogram_quantile(0.99, sum by (le) (rate(nbdgate_export_request_seconds_bucket{of, command="flush"}[rate])))')),
        ),
        row(
            "What clients ask for",
            graph("Requests", "reqps", "Falls to 0 while clients are connected: the storage hangs.",
                  query("sum by (command) (rate(nbdgate_export_requests_total{of}[rate]))", "{{command}}"), stack=True),
            graph("Read and written", "Bps", "Flat at the top: the network or the storage is full.",
                  query("sum by (direction) (rate(nbdgate_export_bytes_total{of}[rate]))", "{{direction}}")),
            graph("Errors", "ops", "`io` is the storage, `no_space` a full file system; others are mistakes of the client.",
                  query("sum by (command, error) (rate(nbdgate_export_errors_total{of}[rate]))", "{{command}} {{error}}")),
            graph("Latency of requests", "s", "Far apart: a few requests wait for something; see the row below.",
                  *quantiles("nbdgate_export_request_seconds", "{of}")),
            graph("Mean latency by command", "s", "A FLUSH costs a PUT without a journal, an fdatasync with one.",
                  query("sum by (command) (rate(nbdgate_export_request_seconds_sum{of}[rate]))"
                        " / sum by (command) (rate(nbdgate_export_request_seconds_count{of}[rate]))", "{{command}}")),
            graph("Reply chunks", "ops", "`error` chunks are failed reads; holes are cheap.",
                  query("sum by (kind) (rate(nbdgate_export_chunks_total{of}[rate]))", "{{kind}}"), stack=True),
        ),
        row(
            "Where it waits",
            graph("Mean time in the backend and beyond it", "s",
                  "Beyond the backend a request waits for memory or for an overlapping write.",
                  query("sum(rate(nbdgate_export_backend_seconds_sum{of}[rate]))"
                        " / sum(rate(nbdgate_export_backend_seconds_count{of}[rate]))", "a piece in the backend"),
                  query("sum(rate(nbdgate_export_request_seconds_sum{of}[rate]))"
                        " / sum(rate(nbdgate_export_request_seconds_count{of}[rate]))", "a request as a whole")),
            graph("Waiting for memory", "ops", "All the time above 0: more `--max-memory`.",
                  query("sum by (instance) (rate(nbdgate_export_budget_waits_total{of}[rate]))", "{{instance}}")),
            graph("Overlapping writes", "ops", "Two clients write the same blocks: see whether there should be two.",
                  query("sum by (instance) (rate(nbdgate_export_serialised_writes_total{of}[rate]))", "{{instance}}")),
        ),
        row(
            "Disk in an object store",
            states("Phase", "Anything but open for longer than a start: stalled is the store, fenced another gateway.",
                   PHASES, phase(), height=4),
            graph("Behind", "s", "Age of the oldest write that the bucket lacks: lost with this host and its journal.",
                  query("nbdgate_object_commit_lag_seconds{of}", "{{export}} commit"),
                  query("nbdgate_journal_lag_seconds{of}", "{{export}} journal"), bound=60),
            graph("Writes not yet in the bucket", "bytes", "At the limit all the time: uploads are slower than writes.",
                  query("nbdgate_object_dirty_bytes{of}", "{{export}} dirty"),
                  query("nbdgate_journal_lag_bytes{of}", "{{export}} in the journal"),
                  query("nbdgate_journal_memory_bytes{of}", "{{export}} of that in memory")),
            graph("Journal", "bytes", "From half on writes are held back, at 95 % they wait.",
                  query("nbdgate_journal_used_bytes{of}", "{{export}} used"),
                  query("nbdgate_journal_size_bytes{of}", "{{export}} size"),
                  query("nbdgate_journal_unsynced_bytes{of}", "{{export}} not synced")),
            graph("Each write is held back for", "s", "Above 0: clients write faster than the bucket takes.",
                  query("nbdgate_journal_write_delay_seconds{of}", "{{export}}")),
            graph("Waiting in the disk", "short", "Writes wait for room, reads for a proof of ownership.",
                  query("nbdgate_object_waiting_writes{of}", "{{export}} writes"),
                  query("nbdgate_object_lease_waiting_reads{of}", "{{export}} reads"),
                  query("nbdgate_object_uploads_in_flight{of}", "{{export}} segments on their way")),
            graph("Ownership", "bool", "0 while the disk is open or stalled: reads wait.",
                  query("nbdgate_object_lease_held{of}", "{{export}} lease held"),
                  query("1 - nbdgate_journal_failed{of}", "{{export}} journal works"), most=1),
            graph("Frames found in memory", "percentunit", "Few: reads that do not come back; or too little `--object-memory`.",
                  query("rate(nbdgate_object_frame_hits_total{of}[rate]) / (rate(nbdgate_object_frame_hits_total{of}[rate])"
                        " + rate(nbdgate_object_frame_misses_total{of}[rate]) > 0)", "{{export}}"), most=1),
            graph("Read-ahead", "Bps", "More wasted than used: lower `read-ahead` for this export.",
                  query("rate(nbdgate_object_read_ahead_bytes_total{of}[rate])", "{{export}} read ahead"),
                  query("rate(nbdgate_object_read_ahead_used_bytes_total{of}[rate])", "{{export}} used"),
                  query("rate(nbdgate_object_read_ahead_wasted_bytes_total{of}[rate])", "{{export}} wasted")),
            graph("Memory for reads", "bytes", "Shows which disk holds what others wait for.",
                  query("nbdgate_object_read_memory_bytes{of}", "{{export}} held"),
                  query("nbdgate_object_read_in_flight_bytes{of}", "{{export}} on its way")),
        ),
        row(
            "Garbage, snapshots and scrubbing",
            graph("Blocks", "bytes", "Stored far above live: collection does not keep up.",
                  query("4096 * nbdgate_object_gc_stored_blocks{of}", "{{export}} stored"),
                  query("4096 * nbdgate_object_gc_live_blocks{of}", "{{export}} live"),
                  query("nbdgate_object_gc_behind_bytes{of}", "{{export}} behind")),
            graph("Kept besides", "bytes", "Pinned and deferred go with snapshots; waiting that grows for days: deletion fails.",
                  query("nbdgate_object_gc_pinned_bytes{of}", "{{export}} pinned by snapshots"),
                  query("nbdgate_object_gc_deferred_bytes{of}", "{{export}} dead, needed by snapshots"),
                  query("nbdgate_object_gc_waiting_bytes{of}", "{{export}} dead, to be deleted"), stack=True),
            graph("Moved and deleted", "Bps", "More moved than clients write: small overwrites all over the disk.",
                  query("rate(nbdgate_object_gc_moved_bytes_total{of}[rate])", "{{export}} moved"),
                  query("rate(nbdgate_object_gc_deleted_bytes_total{of}[rate])", "{{export}} deleted")),
            graph("Dead objects that snapshots need", "short", "They go with the snapshots.",
                  query("nbdgate_object_gc_deferred_objects{of}", "{{export}}")),
            graph("Objects deleted", "ops", "0 while bytes wait for deletion for days: deletion fails.",
                  query("rate(nbdgate_object_gc_deleted_objects_total{of}[rate])", "{{export}}")),
            graph("Damage", "short", "Any: wake someone; `nbdgate disk scrub` lists what is lost.",
                  query("nbdgate_object_scrub_damaged_segments{of}", "{{export}} segments"),
                  query("nbdgate_object_gc_unreadable_segments_total{of}", "{{export}} seen by collection"), bound=1),
            graph("Unreadable by damage", "bytes", "Restore these ranges from a snapshot elsewhere or a backup.",
                  query("nbdgate_object_scrub_damaged_bytes{of}", "{{export}}")),
            graph("Scrubbed of this round", "percentunit", "Stands still: the store is too slow or stalled.",
                  query("nbdgate_object_scrub_verified_bytes{of} / (nbdgate_object_scrub_round_bytes{of} > 0)", "{{export}}"),
                  most=1),
            number("Rounds of scrubbing", "short", "Of this gateway's life; stands still for longer than `scrub`: the store is too slow.",
                   query("min(nbdgate_object_scrub_rounds_total{of}) or vector(0)"), width=8, height=8),
        ),
    )
