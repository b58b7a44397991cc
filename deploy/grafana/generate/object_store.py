"""The object stores: what is asked of them, how they answer, what is kept in front of them, and what it costs."""

from dashboard import dashboard, exports, gateways, row, typed
from panels import graph, number, quantiles, query, table, text
from prices import ITEMS, amount, month, providers

ABOUT_COSTS = """An estimate, for disks that a gateway serves now. Prices are typed at the top and are those of **{of}**,
{as_of}, in US dollars. Requests are those of the last hour, times a month; stored bytes are blocks before compression. Left out:
the map, the log, disks that nobody serves, requests of `nbdgate disk`, discounts, free allowances, taxes, traffic out of the region.
`nbdgate disk cost` asks the store itself."""


def name(item):
    """The variable of a price."""
    return item.replace("-", "_")


def made():
    lists = providers()
    start = lists["aws"]
    typed_prices = {item: f"${{{name(item)}}}" for item in ITEMS}
    variables = [typed(name(item), f"$ a {words}", start.get(item, 0)) for item, (words, _) in ITEMS.items()]
    return dashboard(
        "nbdgate-object-store", "object store and costs", "What is asked of the stores, how they answer, and what it costs.",
        [*gateways(), exports("nbdgate_object_dirty_bytes"), *variables],
        row(
            "What is asked",
            graph("Requests by cause", "reqps", "`gc` above `segment` for long: a disk that is rewritten in small pieces.",
                  query("sum by (method, cause) (rate(nbdgate_object_requests_total{of}[rate]))", "{{method}} {{cause}}"),
                  stack=True),
            graph("Sent and received", "Bps", "Flat at the top: the network is full.",
                  query("sum by (direction, cause) (rate(nbdgate_object_bytes_total{of}[rate]))", "{{direction}} {{cause}}"),
                  stack=True),
            graph("Share that did not succeed", "percentunit",
                  "`denied`: credentials. `failed`: store or network. `exists` and `not_found` belong to the protocol.",
                  query('sum by (outcome) (rate(nbdgate_object_requests_total{of, outcome!="ok"}[rate]))'
                        " / on() group_left() sum(rate(nbdgate_object_requests_total{of}[rate]))", "{{outcome}}"), bound=0.05),
        ),
        row(
            "How the stores answer",
            graph("Latency of GET", "s", "A tail far above the median: hedged requests rise, reads wait.",
                  *quantiles("nbdgate_object_request_seconds", '{of, method="get"}')),
            graph("Latency of PUT", "s", "Without a journal every FLUSH waits for one.",
                  *quantiles("nbdgate_object_request_seconds", '{of, method="put"}')),
            graph("Mean latency by cause", "s", "All slow: the store or the way to it; `put` alone: the upstream.",
                  query("sum by (method, cause) (rate(nbdgate_object_request_seconds_sum{of}[rate]))"
                        " / sum by (method, cause) (rate(nbdgate_object_request_seconds_count{of}[rate]))",
                        "{{method}} {{cause}}")),
            graph("Retries and second tries", "ops", "More than a few in a hundred requests: see what fails.",
                  query("sum by (method) (rate(nbdgate_object_retries_total{of}[rate]))", "retries of {{method}}"),
                  query("sum(rate(nbdgate_object_hedges_total{of}[rate]))", "hedged GETs"),
                  query("sum(rate(nbdgate_object_hedges_won_total{of}[rate]))", "of which won")),
            graph("Uploads of a bucket", "short", "At a low limit for long: the store refuses the load.",
                  query("max by (instance) (nbdgate_object_bucket_uploads_limit{of})", "{{instance}} may be under way"),
                  query("max by (instance) (nbdgate_object_bucket_uploads_in_flight{of})", "{{instance}} are under way"),
                  query("max by (instance) (nbdgate_object_bucket_waiting_uploads{of})", "{{instance}} wait")),
            graph("Refused for load", "ops", "Growing: spread disks over buckets or prefixes.",
                  query("max by (instance) (rate(nbdgate_object_bucket_refusals_total{of}[rate]))", "{{instance}}"), bound=0.1),
            graph("Bytes under way to a bucket", "bytes", "Large while little ends: the upstream is full.",
                  query("max by (instance) (nbdgate_object_bucket_upload_bytes{of})", "{{instance}}")),
            table("As the probe found them at the start",
                  "`safe` 0: nothing but you keeps two gateways apart. A clock 15 minutes off: S3 refuses everything.",
                  [query("nbdgate_object_probe_round_trip_seconds{of}", kind="table"),
                   query("nbdgate_object_probe_get_seconds{of}", kind="table"),
                   query("nbdgate_object_probe_put_seconds{of}", kind="table"),
                   query("nbdgate_object_clock_offset_seconds{of}", kind="table"),
                   query("nbdgate_object_probe_safe{of}", kind="table")],
                  {"instance": "gateway", "export": "export", "Value #A": "round trip", "Value #B": "get", "Value #C": "put",
                   "Value #D": "clock ahead", "Value #E": "safe"}, width=16,
                  units={f"Value #{letter}": "s" for letter in "ABCD"}),
        ),
        row(
            "Memory and read cache",
            graph("Memory of the disks", "bytes", "At the budget is well, unless disks wait.",
                  query("nbdgate_object_memory_used_bytes{at}", "{{instance}} used"),
                  query("nbdgate_object_memory_budget_bytes{at}", "{{instance}} budget"), width=6),
            graph("Disks", "short", "Waiting above 0 for long: more `--object-memory`.",
                  query("nbdgate_object_memory_waiting_disks{at}", "{{instance}} wait for memory"),
                  query("nbdgate_object_memory_disks{at}", "{{instance}} open"), width=6),
            graph("Cache: found", "percentunit", "Low while many lines go for others: a larger cache.",
                  query("rate(nbdgate_cache_hits_total{at}[rate]) / (rate(nbdgate_cache_hits_total{at}[rate])"
                        " + rate(nbdgate_cache_misses_total{at}[rate]) > 0)", "{{instance}}"), width=6, most=1),
            graph("Cache: lines", "ops", "Written lines wear the device; evicted fast with few hits: too small.",
                  query("rate(nbdgate_cache_kept_lines_total{at}[rate])", "{{instance}} kept"),
                  query("rate(nbdgate_cache_evicted_lines_total{at}[rate])", "{{instance}} evicted"),
                  query("rate(nbdgate_cache_damaged_lines_total{at}[rate])", "{{instance}} damaged"), width=6),
            graph("Cache: size", "bytes", "Far below its size after days: it may be smaller.",
                  query("nbdgate_cache_used_bytes{at}", "{{instance}} used"),
                  query("nbdgate_cache_size_bytes{at}", "{{instance}} size"), width=6),
            graph("Cache: not kept", "Bps", "All the time: its device is too slow for what is read.",
                  query("rate(nbdgate_cache_dropped_bytes_total{at}[rate])", "{{instance}}"), width=6),
            graph("Cache: failures", "ops", "Growing: replace the device.",
                  query("rate(nbdgate_cache_failures_total{at}[rate])", "{{instance}}"), width=6),
            number("Cache switched off", "none", "1: replace its device and restart the gateway.",
                   query("sum(nbdgate_cache_off{at}) or vector(0)"), width=6, height=8, red=1),
        ),
        row(
            "Costs",
            text("What these numbers are", ABOUT_COSTS.format(of=start["of"], as_of=start["as-of"]).replace("\n", " "), height=4),
            number("A month at this rate", "currencyUSD", "Twice the last month's: see which cause grew.",
                   query(month(typed_prices)), width=6, height=8, decimals=2),
            graph("A month, by what is paid for", "currencyUSD", "Requests above storage: longer `upload-delay`, or a journal.",
                  *(query(amount(item, price), ITEMS[item][0]) for item, price in typed_prices.items()), width=9, stack=True),
            graph("A month, by export", "currencyUSD", "One far above the others: see what its guest rewrites.",
                  query("topk(10, " + month(typed_prices, "instance, export") + ")", "{{instance}} {{export}}"), width=9, stack=True),
            graph("The same month at others", "currencyUSD", "Prices of the list that `nbdgate disk cost --print-prices` writes.",
                  *(query(month(prices), prices["of"]) for prices in lists.values()), width=24),
        ),
        since="now-24h",
    )
