"""What the gateway tells to Prometheus, and how the page is to show it: worked out a second time, from /metrics alone."""

import re
from decimal import ROUND_HALF_UP, Decimal

DASH = "–"
NARROW, FIXED = "\u202f", "\u00a0"

ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


def parse(text):
    """Every series: (name, labels as a sorted tuple of pairs) -> number."""
    series = {}
    for line in text.splitlines():
        if line.startswith("#") or not line:
            continue
        name, labels, value = re.fullmatch(r"([a-z_]+)(?:\{(.*)\})? (\S+)", line).groups()
        pairs = re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', labels or "")
        clean = [(key, re.sub(r"\\.", lambda found: ESCAPES[found[0]], text)) for key, text in pairs]
        series[name, tuple(sorted(clean))] = float(value)
    return series


def value(series, name, **labels):
    """One number, None if there is none."""
    return series.get((name, tuple(sorted(labels.items()))))


def total(series, name, **labels):
    """The sum of all series that have these labels."""
    wanted = set(labels.items())
    return sum(number for (found, pairs), number in series.items() if found == name and wanted <= set(pairs))


def buckets(series, **labels):
    """(bound, cumulative count) in order, the last bound infinite."""
    wanted = set(labels.items())
    found = []
    for (name, pairs), number in series.items():
        if name == "nbdgate_export_request_seconds_bucket" and wanted <= set(pairs):
            found.append((float(dict(pairs)["le"].replace("+Inf", "inf")), number))
    return sorted(found)


def quantile(share, cumulative):
    """As Prometheus' histogram_quantile; None without requests."""
    if not cumulative or cumulative[-1][1] == 0:
        return None
    rank = share * cumulative[-1][1]
    lower, below = 0.0, 0.0
    for bound, count in cumulative:
        if count >= rank and count > below:
            assert bound != float("inf"), "a request above the largest bound"
            return lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    raise AssertionError("counts do not add up")


def rounded(number, places):
    """As browsers round: what is halfway goes up."""
    return str(Decimal(number).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


def three_digits(number):
    return rounded(number, 0 if number >= 99.95 else 1 if number >= 9.995 else 2)


def count(number):
    return f"{round(number):,}".replace(",", NARROW)


def bytes_text(number):
    if number is None:
        return DASH
    unit = 0
    while number >= 1023.5 and unit < 6:
        number /= 1024
        unit += 1
    name = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][unit]
    return (rounded(number, 0) if unit == 0 else three_digits(number)) + FIXED + name


def duration(seconds):
    if seconds is None:
        return DASH
    if seconds < 0.0009995:
        return f"{rounded(seconds * 1e6, 0)}{FIXED}µs"
    if seconds < 0.9995:
        return f"{three_digits(seconds * 1e3)}{FIXED}ms"
    assert seconds < 9.95, "slower than a test should see"
    return f"{rounded(seconds, 1)}{FIXED}s"
