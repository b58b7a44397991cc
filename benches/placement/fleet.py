"""The disks and gateways of the simulation, and who serves what. Everything follows from one seed."""

import hashlib
import random
from dataclasses import dataclass

DISKS = 10_000
GATEWAYS = 100
RACKS = 10

# The share of disks of a kind, and their FLUSHes a second. Assumed: most disks of most fleets rest most of the time.
KINDS = (("quiet", 0.85, 0), ("busy", 0.13, 1), ("heavy", 0.02, 10))


@dataclass(frozen=True)
class Disk:
    """A disk; its load is what placement weighs: one for being there, one for each FLUSH a second."""

    number: int
    flushes: int

    @property
    def load(self):
        return 1 + self.flushes


def disks(seed, count=DISKS):
    chance = random.Random(seed)
    made = []
    for number in range(count):
        at = chance.random()
        for _, share, flushes in KINDS:
            if at < share or flushes == KINDS[-1][2]:
                made.append(Disk(number, flushes))
                break
            at -= share
    return made


def rack(gateway):
    return gateway % RACKS


def score(seed, disk, gateway):
    """The same number for the same three, on every machine."""
    return hashlib.blake2b(f"{seed}/{disk}/{gateway}".encode(), digest_size=8).digest()


def rankings(seed, fleet, gateways):
    """For each disk all gateways, the best first: rendezvous hashing (Thaler, Ravishankar 1998)."""
    return {disk.number: sorted(range(gateways), key=lambda gateway: score(seed, disk.number, gateway), reverse=True)
            for disk in fleet}


def bucket_of(seed, disk, buckets):
    """A disk stays in its bucket for good, so this does not know about load."""
    return int.from_bytes(score(seed, disk.number, "bucket"), "big") % buckets


def loads(placed, fleet, alive):
    """The load of each gateway that lives."""
    sums = dict.fromkeys(alive, 0)
    for disk in fleet:
        sums[placed[disk.number]] += disk.load
    return sums


def percentile(values, share):
    """The smallest value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * share // 100) - 1))]
