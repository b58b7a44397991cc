"""The rows: disks in RocksDB beside a file and beside memory, round by round, and what RocksDB makes of overwriting.

A row gives lines (`Found`). Bars are those of the measures in docs/ROCKSDB.md."""

from counters import amplification, inline_share, since, written
from disks import bytes_by_kind
from found import Found, at_least, at_most
from processes import Trouble
from rounds import summary

KIB, MIB = 1 << 10, 1 << 20
# What is read in the row of warm reads: half of the cache of `--rocksdb-cache`'s default.
WARM = 128 * MIB
# An overwritten disk is looked at again when compaction has been still for so long, or after so long in any case.
SETTLED_SECONDS, SETTLE_SECONDS = 3, 120
LONGEST_MS = 100


def interleaved(rounds, disks, flags):
    """The runs of each disk; every round begins with another. One round before them is not counted."""
    runs = {disk.name: [] for disk in disks}
    for number in range(rounds + 1):
        turn = number % len(disks)
        for disk in disks[turn:] + disks[:turn]:
            runs[disk.name].append(disk.run(*flags, "--seed", str(number + 1)))
    return {name: found[1:] for name, found in runs.items()}


def shown(medians, in_mebibytes=False):
    """Rate and CPU of the server."""
    rate = (f"{medians['bytes_per_second'] / MIB:,.0f} MiB/s" if in_mebibytes
            else f"{medians['requests_per_second']:,.0f}/s")
    return f"{rate}, {medians['cpu_us']:,.1f} µs CPU"


def beside(what, runs, baseline, least, in_mebibytes=False, note=lambda runs: ""):
    """A line for each disk but the baseline."""
    medians = summary(runs, baseline)
    reference = f"{shown(medians[baseline], in_mebibytes)}, {baseline}"
    for name in (name for name in runs if name != baseline):
        found = medians[name]
        yield at_least(f"{what}, {name}", shown(found, in_mebibytes) + note(runs[name]), reference, found["rate_ratio"],
                       least, f"≥ {least} ×", {"medians": found, "baseline": medians[baseline], "runs": runs[name],
                                               "runs of the baseline": runs[baseline]})


def flush(shelf, plan):
    disks = [shelf.file(), *(shelf.rocksdb(extent) for extent in plan.extents)]
    runs = interleaved(plan.rounds, disks, [
        "--op", "write+flush", "--connections", "8", "--fresh", "--seconds", str(plan.seconds)])
    yield from beside("4 KiB random write + FLUSH, 8 connections", runs, "file:", 0.7)


def warm(shelf, plan):
    size = min(WARM, shelf.size)
    disks = [shelf.memory(size)]
    for extent in plan.extents:
        disk = shelf.reopened(shelf.rocksdb(extent), extent)
        # Whole extents, in order: now they are in the cache, as far as it takes them.
        disk.run("--order", "sequential", "--block-size", "64k", "--range", str(size), "--requests",
                 str(size // (64 * KIB)))
        disks.append(disk)
    runs = interleaved(plan.rounds, disks, [
        "--op", "read", "--depth", "32", "--range", str(size), "--seconds", str(plan.seconds)])

    def note(runs):
        return f", {min(inline_share(run['rocksdb']) for run in runs):.0%} inline"

    yield from beside("warm 4 KiB random read, depth 32", runs, "mem:", 0.5, note=note)


def sequential(shelf, plan):
    disks = [shelf.file(), *(shelf.rocksdb(extent) for extent in plan.extents)]
    # As much as the disk is large, so that each pays for as many bytes.
    runs = interleaved(plan.rounds, disks, ["--op", "write", "--order", "sequential", "--block-size", "1m", "--depth",
                                            "4", "--requests", str(shelf.size // MIB)])
    yield from beside("sequential 1 MiB write, depth 4", runs, "file:", 0.4, in_mebibytes=True)


def bytes_to_device(pid):
    """What the kernel counts for a process: an independent check on RocksDB's own counters."""
    with open(f"/proc/{pid}/io", encoding="ascii") as told:
        counted = dict(line.split(": ") for line in told.read().splitlines())
    return int(counted["write_bytes"]) - int(counted["cancelled_write_bytes"])


def in_mib(kinds):
    return ", ".join(f"{kind} {size / MIB:,.0f}" for kind, size in kinds.items()) + " MiB"


def space(shelf, plan):
    """Overwrites full disks three times, at random, in their own extents."""
    for extent in plan.extents:
        disk = shelf.rocksdb(extent)
        block = int(extent.removesuffix("K")) * KIB
        before, device = disk.counters(), bytes_to_device(disk.server.pid)
        report = disk.run_at_once("--op", "write", "--depth", "32", "--block-size", str(block), "--fresh", "--requests",
                              str(3 * shelf.size // block), "--seed", "7")
        at_once = bytes_by_kind(disk.database)
        rested = disk.rest(SETTLED_SECONDS, SETTLE_SECONDS)
        settled = bytes_by_kind(disk.database)
        seen = since(before, disk.counters())
        live = seen["allocated_bytes"]
        if written(seen, "client") < 2.9 * shelf.size or live < 0.99 * shelf.size:
            raise Trouble(f"the disk was not overwritten: {seen}")
        details = {"report": report, "rocksdb": seen, "bytes at once": at_once, "bytes settled": settled}
        name = f"overwritten 3 × by {extent}, {disk.name}"
        for when, kinds in (("at once", at_once), ("compaction settled" if rested else
                                                   f"after {SETTLE_SECONDS} s of compaction", settled)):
            ratio = sum(kinds.values()) / live
            yield at_most(f"space, {when}: {name}", f"{sum(kinds.values()) / MIB:,.0f} MiB ({in_mib(kinds)})",
                          f"{live / MIB:,.0f} MiB live", ratio, 1.25, "≤ 1.25 ×", details)
        factor, parts = amplification(seen)
        kernel = (bytes_to_device(disk.server.pid) - device) / written(seen, "client")
        yield Found(f"write amplification: {name}", f"{factor:.2f} ({parts})", f"{kernel:.2f} by the kernel's count",
                    factor, "", None, details)
        disk.server.stop()


def latencies(report):
    """The tail, in milliseconds."""
    times = report["latency_us"]
    parts = (("p99", "p99"), ("p99.9", "p999"), ("longest", "max"))
    return ", ".join(f"{name} {times[key] / 1e3:,.1f}" for name, key in parts) + " ms"


def overwrite(shelf, plan):
    """One after the other, since each shall have the device for itself as long as it runs."""
    references = {}
    file = shelf.file()
    # In whole extents, and in parts of them.
    shapes = [(extent, block) for extent in plan.extents for block in dict.fromkeys((extent, "4K"))]
    for extent, block in shapes:
        flags = ["--op", "write", "--depth", "32", "--block-size", block, "--fresh", "--seconds", str(plan.sustained)]
        if block not in references:
            references[block] = file.run(*flags)
        disk = shelf.rocksdb(extent)
        report = disk.run(*flags)
        seen, longest = report["rocksdb"], report["latency_us"]["max"] / 1e3
        details = {"report": report, "report of the file": references[block]}
        name = f"{block} random overwrite for {plan.sustained:g} s, depth 32, {disk.name}"
        yield at_most(name, latencies(report), f"{latencies(references[block])}, file:", longest, LONGEST_MS,
                      f"longest ≤ {LONGEST_MS} ms", details)
        factor, parts = amplification(seen)
        costs = lambda run: f"{run['requests_per_second']:,.0f}/s, {run['server_cpu']['us_per_request']:,.1f} µs CPU"
        yield Found("its stalls and costs",
                    f"{report['slow']} requests above {LONGEST_MS} ms, stalled {seen['stall_seconds_total']:.2f} s, "
                    f"paced {seen['paced_seconds_total']:.2f} s; {costs(report)}; "
                    f"write amplification {factor:.2f} ({parts})",
                    f"{costs(references[block])}, file:", None, "", None, details)
        disk.server.stop()


ROWS = {"flush": flush, "warm": warm, "sequential": sequential, "space": space, "overwrite": overwrite}
