"""The lines of a table: what was measured, what is beside it, the bar, and whether it is met."""

from dataclasses import dataclass, field

from processes import Trouble

COLUMNS = ("what", "found", "beside it", "ratio", "bar", "met")
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Found:
    """One line. `ratio` is what the bar is held against, or the value itself; `details` are for machines."""

    what: str
    value: str
    reference: str
    ratio: float | None
    bar: str
    met: bool | None
    details: dict = field(default_factory=dict)


def at_most(what, value, reference, ratio, limit, text, details=None):
    return Found(what, value, reference, ratio, text, ratio <= limit, details or {})


def at_least(what, value, reference, ratio, limit, text, details=None):
    return Found(what, value, reference, ratio, text, ratio >= limit, details or {})


def cells(found):
    """A line as texts."""
    ratio = "" if found.ratio is None else f"{found.ratio:.2f}" if found.ratio < 1000 else f"{found.ratio:,.0f}"
    met = {True: "yes", False: "**no**", None: "–"}[found.met]
    # The ratio repeats the value where there is nothing beside it to be compared with.
    shown = ratio if "×" in found.bar else ""
    return (found.what, found.value, found.reference, shown, found.bar, met)


def table(results):
    """Markdown, line by line."""
    head = ["| " + " | ".join(COLUMNS) + " |", "|---|---:|---:|---:|---|---|"]
    return head + ["| " + " | ".join(cells(found)) + " |" for found in results]


def told(name, row):
    """All that a row finds, printed as it comes; where it could not be measured, a line that says why."""
    results = []
    try:
        for found in row:
            results.append(found)
            print("  ".join(cell for cell in cells(found) if cell), flush=True)
    except Trouble as trouble:
        # A server's last words may be several lines.
        why = " ".join(str(trouble).split())
        results.append(Found(name, NOT_MEASURED, why, None, "", None))
        print(f"{name}: {NOT_MEASURED}: {why}", flush=True)
    return results
