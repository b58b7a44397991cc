"""What stores ask for, from the list that `nbdgate disk cost` uses, and what a month costs with it."""

import pathlib
import tomllib

LIST = pathlib.Path(__file__).parents[3] / "src/cost/prices.toml"
# Seconds of a month as `nbdgate disk cost` has it, bytes of the unit that storage is sold in.
MONTH, GIB = 30 * 86_400, 1 << 30

_REQUESTS = "nbdgate_object_requests_total"
_BYTES = "nbdgate_object_bytes_total"
# Each price with its words, and what of a month is multiplied by it. A class of requests that never came counts as none.
ITEMS = {
    "storage-gib-month": ("GiB stored for a month", None),
    "put-million": ("million PUT and LIST", _REQUESTS + '{of, method=~"put|list"}'),
    "get-million": ("million GET", _REQUESTS + '{of, method="get"}'),
    "delete-million": ("million DELETE", _REQUESTS + '{of, method="delete"}'),
    "upload-gib": ("GiB sent", _BYTES + '{of, direction="up"}'),
    "download-gib": ("GiB received", _BYTES + '{of, direction="down"}'),
}
# What is stored is told by the gateway that serves the disk; one that it was taken from still has the numbers of then.
STORED = ("(4096 * nbdgate_object_gc_stored_blocks{of} + nbdgate_object_gc_pinned_bytes{of}"
          " + nbdgate_object_gc_deferred_bytes{of} + nbdgate_object_gc_waiting_bytes{of})"
          ' and on (job, instance, export) nbdgate_object_phase{of, phase=~"open|stalled"} == 1')


def providers():
    """The lists by name."""
    return tomllib.loads(LIST.read_text())


def amount(item, price, by="", window="[1h]"):
    """Money in a month for one item at the rate of now; `by` is a label that is kept, with a comma behind it."""
    grouped = f" by ({by})" if by else ""
    if item == "storage-gib-month":
        return f"sum{grouped} ({STORED}) / {GIB} * {price}"
    unit = GIB if item.endswith("gib") else 1_000_000
    return f"(sum{grouped} (rate({ITEMS[item][1]}{window})) or 0 * sum{grouped} ({STORED})) * {MONTH} / {unit} * {price}"


def month(prices, by="", window="[1h]"):
    """Money in a month for everything; items that are free are left out."""
    return " + ".join(amount(item, prices[item], by, window) for item in ITEMS if prices.get(item))
