"""When disks are served again after their gateways died or were restarted.

A process opens its disks one after the other, as nbdgate does; processes do not wait for each other. Each open asks the store
for its requests, and a store's requests are a fluid queue: what it can take a second, less what the disks that are served take
all the time. The real store answers 503 beyond that and gateways back off, so the true times are not shorter than these.
"""

import heapq
from dataclasses import dataclass

from fleet import bucket_of


class TooMuch(Exception):
    """The disks that are served already ask more of the store than it takes."""


@dataclass
class Bucket:
    """The requests that a bucket can take besides those of served disks, and until when they are taken."""

    puts_per_second: float
    gets_per_second: float
    puts_free: float = 0.0
    gets_free: float = 0.0

    def ask(self, at, puts, gets):
        """When the last of these requests was taken."""
        self.puts_free = max(at, self.puts_free) + puts / self.puts_per_second
        self.gets_free = max(at, self.gets_free) + gets / self.gets_per_second
        return max(self.puts_free, self.gets_free)


def demand(disk, costs, journal):
    """Requests a second of a disk that is served: (puts, gets). What flushes more reads more, but proves one lease; with a
    journal the puts do not depend on how often it flushes."""
    if disk.flushes and journal:
        return costs.journal_puts, disk.flushes * costs.journal_reads + costs.journal_leases
    if disk.flushes:
        return disk.flushes * costs.busy_puts, disk.flushes * costs.busy_reads + costs.busy_leases
    return 0.0, costs.idle_gets


def steady(served, costs, seed, buckets, journal=False):
    """What the served disks ask of each bucket a second: [(puts, gets)]."""
    sums = [[0.0, 0.0] for _ in range(buckets)]
    for disk in served:
        puts, gets = demand(disk, costs, journal)
        at = sums[bucket_of(seed, disk, buckets)]
        at[0] += puts
        at[1] += gets
    return sums


def spare(served, costs, seed, buckets, limit):
    """Buckets with what is left of the limit beside these disks. Those that open again are not counted until the end, and all
    are taken to flush to the store."""
    made = []
    for puts, gets in steady(served, costs, seed, buckets):
        if puts >= limit.puts or gets >= limit.gets:
            raise TooMuch
        made.append(Bucket(limit.puts - puts, limit.gets - gets))
    return made


def groups(lost, placed, size):
    """The lost disks as the processes that served them, of at most so many disks each; a process moves as a whole."""
    on = {}
    for disk in lost:
        on.setdefault(placed[disk.number], []).append(disk)
    return [served[begin:begin + size] for _, served in sorted(on.items()) for begin in range(0, len(served), size)]


def served_again(processes, buckets, costs, seed, open_seconds, wait_seconds):
    """Seconds from the start of the processes until each disk is served: a process serves nothing before its last disk."""
    times = []
    waiting = [(0.0, number, 0) for number in range(len(processes))]
    heapq.heapify(waiting)
    while waiting:
        at, number, index = heapq.heappop(waiting)
        bucket = buckets[bucket_of(seed, processes[number][index], len(buckets))]
        taken = bucket.ask(at, costs.open_puts, costs.open_gets)
        ready = max(at + open_seconds, taken) + wait_seconds
        if index + 1 < len(processes[number]):
            heapq.heappush(waiting, (ready, number, index + 1))
        else:
            times += [ready] * len(processes[number])
    return times
