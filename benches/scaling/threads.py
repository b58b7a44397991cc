"""4 KiB reads from memory over more connections and more I/O threads."""

import contextlib
import statistics

from kinds import ours
from load import fill, run_load
from scene import Part, folder_in, memory, reads
from servers import serving

SIZE = 256 << 20
THREADS = (1, 2)
CONNECTIONS = (1, 2, 3, 4)
SATURATED_CORES = 0.97

HEAD = ("I/O threads", "connections", "rate", "× one connection", "× one thread", "CPU/request", "server's cores",
        "generator's cores")


def measure(settings):
    """Interleaved over threads and connections."""
    runs = {(threads, connections): [] for threads in THREADS for connections in CONNECTIONS}
    with folder_in(settings) as folder, contextlib.ExitStack() as stack:
        servers = {}
        for threads in THREADS:
            kind = ours("--io-threads", str(threads))
            name = f"nbdgate-{threads}"
            servers[threads] = stack.enter_context(serving(name, kind, settings.nbdgate, folder / name, memory(SIZE)))
            fill(settings.load, servers[threads], SIZE)
        for number in range(settings.rounds):
            for connections in CONNECTIONS:
                for threads in THREADS if number % 2 else reversed(THREADS):
                    run = run_load(settings.load, servers[threads], reads(settings, connections, number + 1))
                    runs[threads, connections].append(run)
    return Part(
        "Connections and I/O threads",
        "4 KiB random reads from memory, depth 32 on each connection. Ratios are taken within rounds, rates and CPU "
        "are medians. The generator is one thread on the same machine: where it uses a whole core (an asterisk), or "
        "where it and the server use all cores that there are, the row says what the machine can do rather than the "
        "server.",
        HEAD, [line(runs, *key) for key in runs])


def rates(runs):
    return [run["requests_per_second"] for run in runs]


def ratio(runs, others):
    """The median of the ratios within rounds."""
    return statistics.median(ours / theirs for ours, theirs in zip(rates(runs), rates(others)))


def line(runs, threads, connections):
    """One line of the table."""
    found = runs[threads, connections]
    median = lambda of: statistics.median(of(run) for run in found)
    client = median(lambda run: run["client_cpu"]["cores"])
    mark = " *" if client > SATURATED_CORES else ""
    return (str(threads), str(connections), f"{statistics.median(rates(found)):,.0f}/s{mark}",
            f"{ratio(found, runs[threads, 1]):.2f}", f"{ratio(found, runs[1, connections]):.2f}",
            f"{median(lambda run: run['server_cpu']['us_per_request']):.2f} µs",
            f"{median(lambda run: run['server_cpu']['cores']):.2f}", f"{client:.2f}")
