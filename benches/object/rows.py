"""The rows: each measures a value and, where the bar is a ratio, the raw thing next to it, round by round.

A row gives a list of `Found`. Rounds of gateway and reference alternate, so that drift of the machine hits both."""

import os
import statistics
import time

from found import Found, at_least, at_most
from processes import Trouble
from world import MODES

MIB = 1 << 20


def median(numbers):
    return statistics.median(list(numbers))


def paired(rounds, ours, reference):
    """Both, alternating; the medians and the median of the ratios."""
    pairs = [(ours(), reference()) for _ in range(rounds)]
    return (median(a for a, _ in pairs), median(b for _, b in pairs), median(a / b for a, b in pairs))


def raw_fdatasync(path, seconds):
    """The median of write(4 KiB) + fdatasync on a preallocated file, in µs."""
    body, times = os.urandom(4096), []
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, 64 * MIB)
        os.fsync(descriptor)
        offset, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            begin = time.perf_counter()
            os.pwrite(descriptor, body, offset)
            os.fdatasync(descriptor)
            times.append((time.perf_counter() - begin) * 1e6)
            offset = (offset + 4096) % (64 * MIB)
    finally:
        os.close(descriptor)
    return median(times)


def flush_load(world, address, plan, connections=1):
    return world.load(address, "--op", "write+flush", "--depth", "1", "--connections", str(connections),
                      "--range", "64m", "--seconds", str(plan.seconds))


def journal_flush(world, plan):
    uri = world.disk("journal", "1G")
    with world.gateway(uri, MODES["journal"]) as (address, _):
        ours, raw, ratio = paired(plan.rounds, lambda: flush_load(world, address, plan)["latency_us"]["p50"],
                                  lambda: raw_fdatasync(world.folder / "raw", plan.seconds))
    yield at_most("4 KiB write + FLUSH, journal mode, depth 1, p50", f"{ours:,.0f} µs",
                  f"{raw:,.0f} µs, raw file", ratio, 2.0, "≤ 2 ×")


def object_flush(world, plan):
    uri = world.disk("object", "1G")
    count = max(int(plan.seconds * 20), 10)
    number = iter(range(1 << 30))
    with world.gateway(uri, MODES["object"]) as (address, _):
        put = lambda: world.tool("put", "--bytes", 4096, "--requests", count, "--prefix",
                                 f"raw-flush-{next(number)}")["p50_us"]
        ours, raw, ratio = paired(plan.rounds, lambda: flush_load(world, address, plan)["latency_us"]["p50"], put)
        yield at_most("the same, object mode", f"{ours / 1e3:,.1f} ms", f"{raw / 1e3:,.1f} ms, one PUT", ratio, 1.3,
                      "≤ 1.3 ×")
        rate = lambda connections: lambda: flush_load(world, address, plan, connections)["requests_per_second"]
        eight, one, ratio = paired(plan.rounds, rate(8), rate(1))
    yield at_least("8 connections flushing, object mode", f"{eight:,.0f}/s", f"{one:,.0f}/s, one connection", ratio,
                   4.0, "≥ 4 ×")


def sequential_write(world, plan):
    uri = world.disk("object", "8G")
    number = iter(range(1 << 30))
    with world.gateway(uri, MODES["object"]) as (address, _):
        # The budget of dirty bytes is full before the measurement begins.
        ours = lambda: world.load(address, "--op", "write", "--order", "sequential", "--block-size", "256k", "--depth",
                                  "16", "--warm-up-seconds", str(plan.seconds), "--seconds",
                                  str(4 * plan.seconds))["bytes_per_second"] / MIB
        raw = lambda: world.tool("put", "--bytes", 8 * MIB, "--parallel", 8, "--requests", plan.bulk // 8, "--prefix",
                                 f"raw-bulk-{next(number)}")["mib_per_second"]
        value, reference, ratio = paired(plan.rounds, ours, raw)
    yield at_least("sequential write to the bucket, sustained", f"{value:,.0f} MiB/s",
                   f"{reference:,.0f} MiB/s, 8 × PUT of 8 MiB", ratio, 0.85, "≥ 0.85 ×")


def cold_read(world, plan):
    uri = world.disk("no-cache", "2G")
    world.fast()
    size = f"{plan.bulk}m"
    with world.gateway(uri, MODES["no-cache"]) as (address, _):
        world.load(address, "--op", "write", "--order", "sequential", "--block-size", "1m", "--depth", "4",
                   "--requests", str(plan.bulk), "--range", size)
    world.slow()
    number = iter(range(1 << 30))

    def ours():
        # A new process has nothing in memory.
        with world.gateway(uri, MODES["no-cache"]) as (address, _):
            return world.load(address, "--op", "read", "--order", "sequential", "--block-size", "256k", "--depth", "4",
                              "--requests", str(plan.bulk * 4), "--range", size)["bytes_per_second"] / MIB

    raw = lambda: world.tool("get", "--bytes", 4 * MIB, "--parallel", 8, "--requests", plan.bulk // 4, "--objects",
                             plan.bulk // 8, "--prefix", f"raw-get-{next(number)}")["mib_per_second"]
    value, reference, ratio = paired(plan.rounds, ours, raw)
    yield at_least("cold sequential read", f"{value:,.0f} MiB/s", f"{reference:,.0f} MiB/s, 8 × GET of 4 MiB", ratio,
                   0.85, "≥ 0.85 ×")


def warm_read(world, plan):
    uri = world.disk("object", "1G")
    flags = ["--range", "16m"]
    with (world.gateway(uri, MODES["object"]) as (object_disk, _), world.gateway("mem:1G") as (memory, _)):
        for address in (object_disk, memory):
            world.load(address, "--op", "write", "--order", "sequential", "--block-size", "64k", "--requests", "256",
                       *flags)
        flush_load(world, object_disk, plan)
        # Now everything is in the store; one pass brings it back into memory.
        world.load(object_disk, "--op", "read", "--order", "sequential", "--block-size", "64k", "--requests", "256",
                   *flags)
        rate = lambda address: lambda: world.load(
            address, "--op", "read", "--depth", "32", "--warm-up-seconds", str(plan.seconds), "--seconds",
            str(plan.seconds), *flags)["requests_per_second"]
        value, reference, ratio = paired(plan.rounds, rate(object_disk), rate(memory))
    yield at_least("warm 4 KiB read, depth 32", f"{value:,.0f}/s", f"{reference:,.0f}/s, memory backend", ratio, 0.6,
                   "≥ 0.6 ×")


def overwrite(world, plan, name, limit, chunks):
    """Fills a disk, overwrites it three times by 4 KiB, and counts the second half."""
    mib = plan.overwrite
    uri = world.disk("gc", f"{mib}M")
    blocks = mib * 256
    with world.gateway(uri, MODES["gc"]) as (address, _):
        world.load(address, "--op", "write", "--order", "sequential", "--block-size", "256k", "--depth", "8",
                   "--requests", str(mib * 4))
        counted = 0
        steps = 60
        for step in range(steps):
            if step == steps // 2:
                world.counters()
                counted = 0
            for share, part in chunks:
                requests = max(int(3 * blocks * share / steps), 1)
                world.load(address, "--op", "write", "--depth", "32", "--range", f"{max(int(mib * part), 1)}m",
                           "--requests", str(requests), "--seed", str(step * 10 + len(str(part))))
                counted += requests * 4096
        seen = world.counters()
    amplification = seen["bytes_up"] / counted
    puts = seen["puts"] / (counted / (4 * MIB))
    deleted = seen["deletes"]
    note = f"{deleted} objects deleted meanwhile"
    # Three quarters of what was written are garbage: to stay at 70 % live, something must have been moved.
    if amplification < 1.02:
        raise Trouble(f"nothing was moved ({amplification:.2f} bytes up per byte): is garbage collected?")
    yield at_most(f"random 4 KiB writes with GC, {name}: write amplification", f"{amplification:.2f}", note,
                  amplification, limit, f"≤ {limit}")
    yield at_most(f"the same: PUTs per 4 MiB written", f"{puts:.2f}", "", puts, 1.0, "≤ 1")


def random_uniform(world, plan):
    world.fast()
    yield from overwrite(world, plan, "uniform", 2.1, [(1.0, 1.0)])


def random_skewed(world, plan):
    world.fast()
    yield from overwrite(world, plan, "90 % of them to 10 % of the disk", 1.6, [(0.9, 0.1), (0.1, 1.0)])


def map_memory(world, plan):
    for pattern, gib, limit, text in (("random-64k", plan.map_gib * 8, 160 * MIB, "≤ 160 MiB"),
                                      ("random-4k", plan.map_gib, 2048 * MIB, "≤ 2 GiB")):
        found = world.tool("map", "--pattern", pattern, "--gib", gib)
        held = found["resident_bytes_per_tib"]
        yield at_most(f"map memory per TiB, {pattern} (measured on {gib} GiB)", f"{held / MIB:,.0f} MiB",
                      f"{found['map_bytes_per_tib'] / MIB:,.0f} MiB by its own count", held, limit, text)


def large_disk(world, plan):
    uri = f"s3://bucket/large/{plan.extents}"
    world.fast()
    world.tool("fill", uri, "--gib", 1024, "--extents", plan.extents)
    world.slow()
    runs = [world.tool("open", uri) for _ in range(plan.rounds)]
    opened = median(run["open_seconds"] for run in runs)
    last = world.tool("open", uri, "--trim")
    trimmed, requests = last["trim_seconds"], last["trim_requests"]
    yield at_most(f"open a clean 1 TiB disk, {plan.extents:,} blocks apart", f"{opened:.2f} s",
                  f"{runs[0]['open_requests']} requests", opened, 2.0, "≤ 2 s")
    yield Found("TRIM of all of it", f"{trimmed * 1e3:,.0f} ms", f"{requests} requests", trimmed * 1e3,
                "< 100 ms, no request", trimmed < 0.1 and requests == 0)


def round_trips(world, plan):
    del plan
    found = world.tool("round-trips")
    yield at_most("takeover after a crash, object mode, lease 0", f"{found['takeover']} round trips",
                  f"{found['open']} to open a clean disk", found["takeover"], 10, "≤ 10")
    for key in ("snapshot", "clone"):
        yield at_most(f"{key}, whatever the size", f"{found[key]} round trips", "", found[key], 3, "≤ 3")


ROWS = {
    "journal": journal_flush,
    "flush": object_flush,
    "write": sequential_write,
    "uniform": random_uniform,
    "skewed": random_skewed,
    "cold": cold_read,
    "warm": warm_read,
    "map": map_memory,
    "large": large_disk,
    "trips": round_trips,
}
