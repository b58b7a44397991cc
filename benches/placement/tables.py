"""The tables of docs/SCALE.md."""

import tomllib
from dataclasses import replace
from pathlib import Path

import fleet
from costs import LIMITS, MEBIBYTE, Limit, costs
from fleet import percentile
from policies import POLICIES, bounded
from recovery import TooMuch, groups, served_again, spare, steady

SEED = 1
GROUPS = (1, 10, 100)
S3 = LIMITS[0]
# Limits that the gateways of a host are given: bytes of --object-memory and --max-memory, by disks per process.
BUDGETS = {1: 64 + 64, 10: 256 + 64, 100: 1024 + 256}
# Assumed of every disk: so much of it was written at random in pieces of 64 KiB. What maps take of it is from docs/BENCHMARKS.md,
# resident.
WRITTEN_GIB = 100
MAP_MEBIBYTES_PER_TIB = 221
# How long an orchestrator waits before it goes on to the next gateway (minReadySeconds).
PAUSE_SECONDS = 10
PRICES = Path(__file__).resolve().parents[2] / "src" / "cost" / "prices.toml"
# Seconds, as src/cost counts a month.
MONTH = 730 * 3600


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def seconds(value):
    if value < 10:
        return f"{value:.1f} s"
    if value < 600:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min"


class World:
    """The fleet, what a disk of it costs, and where its disks are."""

    def __init__(self):
        self.costs = costs()
        self.disks = fleet.disks(SEED)
        self.gateways = set(range(fleet.GATEWAYS))
        self.ranks = fleet.rankings(SEED, self.disks, fleet.GATEWAYS + 1)
        self.placed = bounded(self.disks, self.ranks, {}, self.gateways)

    def without(self, dead):
        """The disks that the dead gateways served, and those of the others."""
        lost = [disk for disk in self.disks if self.placed[disk.number] in dead]
        return lost, [disk for disk in self.disks if self.placed[disk.number] not in dead]

    def events(self):
        return (("one gateway", {0}), ("a rack of 10", {gateway for gateway in self.gateways if fleet.rack(gateway) == 0}))


def placement(world):
    rows = []
    for name, policy, after in POLICIES:
        placed = policy(world.disks, world.ranks, {}, world.gateways)
        row = [name, spread(fleet.loads(placed, world.disks, world.gateways))]
        for _, dead in world.events():
            alive = world.gateways - dead
            now = policy(world.disks, world.ranks, placed, alive)
            own = sum(placed[disk.number] in dead for disk in world.disks)
            row += [f"{changed(placed, now)} ({changed(placed, now) - own})", spread(fleet.loads(now, world.disks, alive))]
        grown = world.gateways | {fleet.GATEWAYS}
        now = after(world.disks, world.ranks, placed, grown, fleet.GATEWAYS)
        rows.append([*row, changed(placed, now), spread(fleet.loads(now, world.disks, grown))])
    return table(["policy", "load", "one dies: moved (others')", "load then", "10 die: moved (others')", "load then",
                  "one is added: moved", "load then"], rows)


def changed(before, after):
    return sum(before[number] != after[number] for number in before)


def spread(sums):
    """Loads of gateways as shares of their mean: the 1st, 50th and 99th percentile, and the most."""
    mean = sum(sums.values()) / len(sums)
    return " / ".join(f"{percentile(sums.values(), share) / mean:.2f}" for share in (1, 50, 99, 100))


def failover(world):
    rows = []
    for waits, each in (("yes", world.costs), ("no", replace(world.costs, lease_wait_seconds=0.0))):
        for name, dead in world.events():
            lost, kept = world.without(dead)
            for size in GROUPS:
                processes = groups(lost, world.placed, size)
                row = [waits, name, len(lost), size, len(processes)]
                for buckets in (2, 8):
                    row.append(again(processes, kept, each, buckets, S3))
                rows.append(row)
    return table(["waits for the lease", "what died", "disks", "disks per process", "processes",
                  "served again, 2 prefixes", "8 prefixes"], rows)


def again(processes, kept, each, buckets, limit):
    try:
        left = spare(kept, each, SEED, buckets, limit)
    except TooMuch:
        return "never: the store is full"
    times = served_again(processes, left, each, SEED, each.open_unclean_seconds, each.lease_wait_seconds)
    return " / ".join(seconds(percentile(times, share)) for share in (50, 99, 100))


def throttled(world):
    """A rack dies while the store takes only a part of what it promises; each disk has a process of its own."""
    lost, kept = world.without(world.events()[1][1])
    processes = groups(lost, world.placed, 1)
    rows = []
    for percent in (100, 50, 25, 10):
        limit = Limit("", S3.puts * percent // 100, S3.gets * percent // 100, False, "")
        rows.append([f"{percent} %", limit.puts, limit.gets,
                     *(again(processes, kept, world.costs, buckets, limit) for buckets in (2, 8, 32))])
    return table(["the store takes", "PUT/s per prefix", "GET/s per prefix", "2 prefixes", "8 prefixes", "32 prefixes"], rows)


def rolling(world):
    each, rows = world.costs, []
    counts = {}
    for disk in world.disks:
        counts[world.placed[disk.number]] = counts.get(world.placed[disk.number], 0) + 1
    largest = max(counts.values())
    for size in GROUPS:
        # Processes of a gateway stop and start side by side, the disks of one open one after the other.
        open_together = min(size, largest)
        away = each.stop_first_seconds + (open_together - 1) * each.stop_seconds + open_together * each.open_seconds
        for together in (1, 5, 10):
            whole = -(-len(world.gateways) // together) * (away + PAUSE_SECONDS)
            rows.append([size, together, seconds(away), sum(sorted(counts.values())[-together:]), seconds(whole)])
    return table(["disks per process", "gateways at a time", "a disk is away for", "disks away at most",
                  "the whole fleet takes"], rows)


def requests(world):
    rows = []
    price = tomllib.loads(PRICES.read_text())["aws"]
    for flush, lease in (("object", True), ("object", False), ("journal", True), ("journal", False)):
        journal, each = flush == "journal", costs(lease)
        [(puts, gets)] = steady(world.disks, each, SEED, 1, journal)
        dollars = (puts * price["put-million"] + gets * price["get-million"]) * MONTH / 1e6
        places = [next(count for count in range(1, 1000) if fits(world, each, count, limit, journal)) for limit in LIMITS]
        rows.append([flush, "10 s" if lease else "0", f"{puts:.0f}", f"{gets:.0f}", f"{dollars:,.0f} USD", *places])
    return table(["FLUSH to", "lease", "PUT/s", "GET/s", "a month", *(f"{limit.name}: {limit.per}" for limit in LIMITS)], rows)


def fits(world, each, buckets, limit, journal):
    """Whether even the fullest bucket uses at most 70 % of what it takes."""
    for puts, gets in steady(world.disks, each, SEED, buckets, journal):
        used = (puts + gets) / limit.puts if limit.together else max(puts / limit.puts, gets / limit.gets)
        if used > 0.7:
            return False
    return True


def memory(world):
    each, rows = world.costs, []
    after = bounded(world.disks, world.ranks, world.placed, world.gateways - world.events()[1][1])
    for size in GROUPS:
        row = [size]
        for placed in (world.placed, after):
            used = {}
            for disk in world.disks:
                on = used.setdefault(placed[disk.number], [0, 0.0])
                on[0] += 1
                on[1] += each.busy_bytes if disk.flushes else each.idle_bytes
            sums = [(-(-count // size), -(-count // size) * each.process_bytes + held) for count, held in used.values()]
            maps = max(count for count, _ in used.values()) * WRITTEN_GIB / 1024 * MAP_MEBIBYTES_PER_TIB / 1024
            row += [max(count for count, _ in sums), f"{max(held for _, held in sums) / MEBIBYTE:.0f} MiB", f"{maps:.1f} GiB",
                    f"{max(count * BUDGETS[size] for count, _ in sums) / 1024:.1f} GiB"]
        rows.append(row)
    return table(["disks per process", "processes", "used", "maps", "budgets", "after a rack died: processes", "used", "maps",
                  "budgets"], rows)


def one_disk(world):
    each = world.costs
    left = [
        ("memory, at rest", f"{each.idle_bytes / 1024:.0f} KiB"),
        ("memory, busy", f"{each.busy_bytes / 1024:.0f} KiB"),
        ("memory of a process", f"{each.process_bytes / MEBIBYTE:.1f} MiB"),
        ("cores, at rest", f"{each.idle_cores:.5f}"),
        ("cores, busy", f"{each.busy_cores:.5f}"),
        ("files while it opens", f"{each.files_opening:.0f}"),
        ("files later", f"{each.files_idle:.1f}"),
        ("files of a process", f"{each.process_files:.0f}"),
        ("journal replayed", f"{each.replay_bytes_per_second / MEBIBYTE:.0f} MiB/s"),
    ]
    right = [
        ("PUT, DELETE to open", f"{each.open_puts:.0f}"),
        ("GET, HEAD, LIST to open", f"{each.open_gets:.0f}"),
        ("to open, closed cleanly", f"{each.open_seconds:.2f} s"),
        ("to open, after a crash", f"{each.open_unclean_seconds:.2f} s"),
        ("more, from another host", f"{each.lease_wait_seconds:.1f} s"),
        ("GET an hour, at rest", f"{each.idle_gets * 3600:.0f}"),
        ("PUT an hour, busy", f"{each.busy_puts * 3600:.0f}"),
        ("GET an hour, busy", f"{each.busy_gets * 3600:.0f}"),
        ("PUT an hour, busy, journal", f"{each.journal_puts * 3600:.0f}"),
    ]
    return table(["of one disk", "", "of one disk", ""], [(*one, *other) for one, other in zip(left, right, strict=True)])


TABLES = {"disk": one_disk, "requests": requests, "memory": memory, "placement": placement, "failover": failover,
          "throttled": throttled, "rolling": rolling}
