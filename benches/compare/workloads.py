"""The rows of the comparison."""

from dataclasses import dataclass

KIB, MIB = 1 << 10, 1 << 20

TARGETS = ("memory", "file", "direct")


@dataclass(frozen=True)
class Workload:
    """One row: a load on one kind of storage."""

    target: str
    op: str
    order: str
    block: int
    depth: int
    connections: int = 1

    @property
    def name(self):
        size = f"{self.block // MIB} MiB" if self.block >= MIB else f"{self.block // KIB} KiB"
        plural = "" if self.connections == 1 else f", {self.connections} connections"
        return f"{size} {self.order} {self.op}, depth {self.depth}{plural}"

    @property
    def is_write(self):
        return self.op != "read"

    @property
    def is_bulk(self):
        """Whether bytes per second say more than requests per second."""
        return self.block >= 64 * KIB

    def arguments(self):
        """As the load generator takes them."""
        return ["--op", self.op, "--order", self.order, "--block-size", str(self.block),
                "--depth", str(self.depth), "--connections", str(self.connections)]


def small(target):
    """4 KiB at random."""
    return [Workload(target, op, "random", 4 * KIB, depth) for depth in (1, 32, 128) for op in ("read", "write")]


def bulk(target):
    """Large and in order."""
    shapes = ((128 * KIB, 8), (MIB, 4))
    return [Workload(target, op, "sequential", block, depth) for block, depth in shapes for op in ("read", "write")]


def many_connections(target):
    """4 KiB at random from four clients, and writers that flush."""
    rows = [Workload(target, op, "random", 4 * KIB, depth, 4) for depth in (1, 32) for op in ("read", "write")]
    if target == "file":
        rows.append(Workload(target, "write+flush", "random", 4 * KIB, 1, 8))
    return rows


def direct():
    """Past the page cache."""
    return [Workload("direct", op, "random", 4 * KIB, 32) for op in ("read", "write")]


def rows(targets, full):
    """All rows of these targets; `full` adds several connections."""
    found = []
    for target in targets:
        if target == "direct":
            found += direct()
            continue
        found += small(target) + bulk(target)
        if full:
            found += many_connections(target)
    return found
