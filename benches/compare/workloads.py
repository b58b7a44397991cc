"""The rows of the comparison, the bars that they are held against, and what they run on."""

from dataclasses import dataclass

KIB, MIB = 1 << 10, 1 << 20
EPOLL = "nbdgate-epoll"


@dataclass(frozen=True)
class Target:
    """A kind of storage behind a kind of socket."""

    title: str
    storage: str
    transport: str = "unix"
    # Whom ratios are taken to.
    baseline: str = "nbdkit"
    structured: bool = False


TARGETS = {
    "memory": Target("Memory", "memory"),
    "file": Target("File in the page cache", "file"),
    "direct": Target("File with O_DIRECT", "direct", baseline="qemu-nbd-uring"),
    "sparse": Target("Sparse file, structured replies", "sparse", structured=True),
    "tcp": Target("Memory over TCP on loopback", "memory", transport="tcp"),
}


@dataclass(frozen=True)
class Bar:
    """What nbdgate shall reach, in ratios to the baseline."""

    rate: float
    cpu: float


@dataclass(frozen=True)
class Workload:
    """One row: a load on one target."""

    target: str
    op: str
    order: str
    block: int
    depth: int
    connections: int = 1
    # Whether the image is dropped from the page cache before each run.
    is_cold: bool = False
    bar: Bar | None = None

    @property
    def name(self):
        size = f"{self.block // MIB} MiB" if self.block >= MIB else f"{self.block // KIB} KiB"
        what = f"{self.op} of holes" if self.target == "sparse" else self.op
        plural = "" if self.connections == 1 else f", {self.connections} connections"
        return f"{size} {self.order} {what}, depth {self.depth}{plural}" + (", cold cache" if self.is_cold else "")

    @property
    def is_cached(self):
        """Whether the image shall be in the page cache when a run begins."""
        return self.target == "file" and not self.is_cold

    @property
    def is_bulk(self):
        """Whether bytes per second say more than requests per second."""
        return self.block >= 64 * KIB

    def binds(self, name):
        """Whether bars are for this kind of server: where the page cache misses, the epoll engine may be slower."""
        misses = self.is_cold or self.target == "direct"
        return name == "nbdgate" or (name == EPOLL and not misses)

    def arguments(self):
        """As the load generator takes them."""
        structured = ["--structured"] if TARGETS[self.target].structured else []
        return ["--op", self.op, "--order", self.order, "--block-size", str(self.block),
                "--depth", str(self.depth), "--connections", str(self.connections), *structured]


def small(target, depth, connections, bar, ops=("read", "write")):
    """4 KiB at random."""
    return [Workload(target, op, "random", 4 * KIB, depth, connections, bar=bar) for op in ops]


def bulk(target):
    """Large and in order."""
    shapes = ((128 * KIB, 8, Bar(1.3, 0.6)), (MIB, 4, Bar(1.2, 0.8)))
    return [Workload(target, op, "sequential", block, depth, bar=bar)
            for block, depth, bar in shapes for op in ("read", "write")]


def memory():
    found = small("memory", 1, 1, Bar(1.6, 0.6)) + small("memory", 1, 4, Bar(1.0, 0.7))
    for depth in (32, 128):
        for connections in (1, 4):
            found += small("memory", depth, connections, Bar(3.5, 0.3))
    return found + bulk("memory")


def file():
    """The cold row is the last, since it leaves the cache cold."""
    read, write = Bar(3.0, 0.35), Bar(2.0, 0.5)
    found = small("file", 32, 1, read, ["read"]) + small("file", 128, 1, read, ["read"])
    found += small("file", 32, 1, write, ["write"]) + small("file", 32, 4, write, ["write"])
    found += small("file", 128, 1, None, ["write"])
    found.append(Workload("file", "write+flush", "random", 4 * KIB, 1, 8, bar=Bar(2.0, 0.6)))
    found += bulk("file")
    return [*found, Workload("file", "read", "random", 4 * KIB, 32, is_cold=True, bar=Bar(2.0, 0.5))]


def direct():
    """Past the page cache."""
    return small("direct", 32, 1, Bar(1.0, 0.5), ["read"]) + small("direct", 32, 1, None, ["write"])


def sparse():
    """Nothing but a hole."""
    return [Workload("sparse", "read", "sequential", MIB, 4, bar=Bar(10.0, 0.1))]


def tcp():
    """As a client on another machine would, without the network."""
    return small("tcp", 32, 1, Bar(3.5, 0.3))


ROWS = {"memory": memory, "file": file, "direct": direct, "sparse": sparse, "tcp": tcp}


def rows(targets):
    """All rows of these targets, in the order of the document."""
    return [row for target in TARGETS if target in targets for row in ROWS[target]()]
