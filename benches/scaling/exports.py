"""One export of a thousand against the only one: a request shall not pay for the others."""

import contextlib
import statistics

from kinds import ours
from load import fill, run_load
from open import memory_kib
from scene import Part, folder_in, memory, reads, verdict
from servers import serving

SIZE = 64 << 20
OTHERS = 999
RATE_RATIO = 0.97
# A small difference wants more rounds than a large one.
ROUNDS_FACTOR = 3

HEAD = ("exports", "rate", "CPU/request", "resident memory")


def measure(settings):
    """Alternating; which of both is first alternates, too."""
    more = [flag for number in range(OTHERS) for flag in ("--export", f"disk-{number}=mem:1M")]
    kinds = {1: ours(), OTHERS + 1: ours(*more)}
    runs, resident = {count: [] for count in kinds}, {}
    with folder_in(settings) as folder, contextlib.ExitStack() as stack:
        servers = {}
        for count, kind in kinds.items():
            name = f"nbdgate-{count}"
            servers[count] = stack.enter_context(serving(name, kind, settings.nbdgate, folder / name, memory(SIZE)))
            fill(settings.load, servers[count], SIZE)
            resident[count] = memory_kib(servers[count].pid, "VmRSS") / 1024
        for number in range(ROUNDS_FACTOR * settings.rounds):
            for count in sorted(servers, reverse=bool(number % 2)):
                runs[count].append(run_load(settings.load, servers[count], reads(settings, 1, number + 1)))
    many, one = runs[OTHERS + 1], runs[1]
    by_round = sorted(ratios(many, one, rate))
    found, quarter = statistics.median(by_round), len(by_round) // 4
    cpu_found = statistics.median(ratios(many, one, cpu))
    return Part(
        "A thousand exports",
        f"4 KiB random reads from one export in memory, depth 32: with {OTHERS} more exports beside it, the rate is "
        f"{found:.3f} times that of a server that has no other (the middle half of the rounds: {by_round[quarter]:.3f} "
        f"to {by_round[-1 - quarter]:.3f}), the CPU per request {cpu_found:.3f} times. "
        f"Bar: ≥ {RATE_RATIO}, {verdict(found >= RATE_RATIO)}.",
        HEAD, [line(count, found, resident[count]) for count, found in runs.items()])


def rate(run):
    return run["requests_per_second"]


def cpu(run):
    return run["server_cpu"]["us_per_request"]


def ratios(these, those, of):
    """Within rounds."""
    return [of(this) / of(that) for this, that in zip(these, those)]


def line(count, runs, resident):
    """One line of the table."""
    return (f"{count:,}", f"{statistics.median(map(rate, runs)):,.0f}/s", f"{statistics.median(map(cpu, runs)):.2f} µs",
            f"{resident:.0f} MiB")
