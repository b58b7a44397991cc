"""Where the time of a request goes: the same time axis for each stage that it passes."""

from dashboard import dashboard, exports, gateways, row, words
from panels import graph, heat, quantiles, query

COMMANDS = ["read", "write", "flush", "trim", "write_zeroes", "cache", "block_status"]
CAUSES = ["segment", "flush", "manifest", "checkpoint", "fence", "lease", "probe", "directory", "recovery", "index", "read",
          "prefetch", "gc", "scrub", "transfer"]
OF = '{of, command=~"$command"}'


def spread(histogram, of):
    """How many of each duration ended."""
    return f"sum by (le) (increase({histogram}_bucket{of}[rate]))"


def made():
    return dashboard(
        "nbdgate-latency", "latency by stage", "Where the time of a request goes, from the client's side to the store's.",
        [*gateways(), exports(), words("command", "Command", COMMANDS), words("cause", "Cause of object requests", CAUSES)],
        row(
            "1. The request, as its client waits for it",
            heat("How long requests take", "Two bands: some are answered from memory, some wait for storage. A band that climbs: something fills up.",
                 spread("nbdgate_export_request_seconds", OF)),
            graph("Percentiles of requests", "s", "99.9 % far above 99 %: see whether the stages below show the same.",
                  *quantiles("nbdgate_export_request_seconds", OF), width=12, height=9),
        ),
        row(
            "2. Its pieces in the backend",
            heat("How long pieces take", "As above but slower than before: the storage. Not as above: requests wait for memory or for each other.",
                 spread("nbdgate_export_backend_seconds", OF)),
            graph("Beyond the backend", "s", "The mean of a request less that of its piece: waiting for budgets and overlapping writes.",
                  query(f"sum by (command) (rate(nbdgate_export_request_seconds_sum{OF}[rate]))"
                        f" / sum by (command) (rate(nbdgate_export_request_seconds_count{OF}[rate]))"
                        f" - sum by (command) (rate(nbdgate_export_backend_seconds_sum{OF}[rate]))"
                        f" / sum by (command) (rate(nbdgate_export_backend_seconds_count{OF}[rate]))", "{{command}}"),
                  width=12, height=9),
        ),
        row(
            "3. Requests to the object store",
            heat("GET", "A second band far above the first: the store is at times late; hedged requests hide some of it.",
                 spread("nbdgate_object_request_seconds", '{of, method="get", cause=~"$cause"}')),
            heat("PUT", "Climbing while GETs do not: the upstream is full.",
                 spread("nbdgate_object_request_seconds", '{of, method="put", cause=~"$cause"}')),
            graph("By cause, 99 %", "s", "`flush` is what a FLUSH waits for without a journal; `index` and `read` what reads wait for.",
                  query("histogram_quantile(0.99, sum by (method, cause, le)"
                        ' (rate(nbdgate_object_request_seconds_bucket{of, cause=~"$cause"}[rate])))', "{{method}} {{cause}}"),
                  width=24),
        ),
        row(
            "4. Before all that: connecting",
            heat("How long handshakes take", "Long ones are slow clients, or exports that are opened on demand.",
                 spread("nbdgate_server_handshake_seconds", "{at}")),
            graph("Percentiles of handshakes", "s", "Near `--handshake-timeout`: clients are dropped.",
                  *quantiles("nbdgate_server_handshake_seconds", "{at}"), width=12, height=9),
        ),
        since="now-1h",
    )
