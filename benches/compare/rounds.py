"""Interleaved rounds: every server runs a row before any runs it again, so that drift hits all alike."""

import contextlib
import statistics
import sys
import tempfile
from pathlib import Path

import images
from kinds import KINDS, OURS, Storage
from load import fill, run_load
from processes import Trouble
from servers import Server
from workloads import TARGETS

TMPFS = Path("/dev/shm")
RATIOS = (("requests_per_second", "rate_ratio"), ("cpu_us", "cpu_ratio"), ("p99_us", "p99_ratio"))


class Runner:
    """Runs rows with one load generator."""

    def __init__(self, load, programs, settings):
        self.load, self.programs, self.settings = load, programs, settings
        self.notes = []

    def target(self, name, rows):
        """Runs all rows of one target; yields each with the runs of every server."""
        target = TARGETS[name]
        names = [kind for kind in self.programs if any(KINDS[kind].runs(row, target) for row in rows)]
        with contextlib.ExitStack() as stack:
            servers = [server for kind in names if (server := self.try_to_start(stack, kind, name)) is not None]
            for row in rows:
                runs = self.row(row, [server for server in servers if server.kind.runs(row, target)])
                if runs:
                    yield row, runs

    def try_to_start(self, stack, name, target_name):
        """A server; None, and a note, if it does not start: the others are still worth measuring."""
        try:
            return self.start(stack, name, TARGETS[target_name])
        except Trouble as trouble:
            self.note(f"{name} is missing from {target_name}: {trouble}")
            return None

    def start(self, stack, name, target):
        """Starts a server on storage of its own; the stack ends it and removes its files."""
        size = self.settings.size
        new_folder = lambda place: Path(stack.enter_context(
            tempfile.TemporaryDirectory(prefix="nbdgate-compare-", dir=place)))
        folder = new_folder(self.settings.dir)
        image = None
        if target.storage == "sparse":
            image = images.make_sparse(folder / "image", size)
        elif target.storage != "memory":
            image = images.make_full(folder / "image", size)
        elif not KINDS[name].has_memory:
            images.require_room(TMPFS, size)
            image = images.make_full(new_folder(TMPFS) / "image", size)
        storage = Storage(target.storage, size, image)
        server = Server(name, KINDS[name], self.programs[name], folder, storage, target.transport)
        stack.callback(server.stop)
        server.wait_until_it_answers()
        if image is None:
            fill(self.load, server, size)
        return server

    def row(self, row, servers):
        """The runs of every server, round by round. A server that fails is out of the row, and noted."""
        runs = {server.name: [] for server in servers}
        for number in range(self.settings.rounds):
            turn = number % len(servers)
            for server in servers[turn:] + servers[:turn]:
                if server.name not in runs:
                    continue
                try:
                    runs[server.name].append(self.timed(row, server, number + 1))
                except Trouble as trouble:
                    del runs[server.name]
                    self.note(f"{server.name} is missing from {row.name!r} ({row.target}): {trouble}")
        return runs

    def timed(self, row, server, seed):
        """One run of a row, on storage that is as the row wants it."""
        resident = None
        if server.image is not None:
            images.settle(server.image)
        if row.is_cached:
            images.warm(server.image)
        if row.is_cold:
            resident = images.evict(server.image)
        # What a warm-up reads is not cold any more.
        warm_up = 0 if row.is_cold else self.settings.warm_up
        times = ["--seconds", str(self.settings.seconds), "--warm-up-seconds", str(warm_up), "--seed", str(seed)]
        run = run_load(self.load, server, [*row.arguments(), *times])
        return run if resident is None else run | {"resident_before": resident}

    def note(self, text):
        """Tells it now and in the report."""
        self.notes.append(text)
        progress(f"    {text}")

    def take_notes(self):
        """What was noted since the last time."""
        taken, self.notes = self.notes, []
        return taken


def numbers(run):
    """The numbers of a run that are compared."""
    return {
        "requests_per_second": run["requests_per_second"],
        "bytes_per_second": run["bytes_per_second"],
        "cpu_us": run["server_cpu"]["us_per_request"],
        "p50_us": run["latency_us"]["p50"],
        "p99_us": run["latency_us"]["p99"],
        "client_cores": run["client_cpu"]["cores"],
    }


def ratios_within_rounds(ours, theirs):
    """Medians of the ratios, which are taken round by round; None where there is nothing to compare with."""
    found = {}
    for key, name in RATIOS:
        ratios = [our[key] / their[key] for our, their in zip(ours, theirs) if their[key] > 0]
        found[name] = statistics.median(ratios) if ratios else None
    return found


def summary(runs, baseline):
    """Medians by server with ratios to the baseline, and for ours those to the limit."""
    compared = {name: [numbers(run) for run in rounds] for name, rounds in runs.items()}
    found = {}
    for name, rounds in compared.items():
        median = {key: statistics.median(run[key] for run in rounds) for key in rounds[0]}
        rates = [run["requests_per_second"] for run in rounds]
        median["spread"] = (max(rates) - min(rates)) / median["requests_per_second"]
        median |= ratios_within_rounds(rounds, compared.get(baseline, []))
        if name in OURS and "limit" in compared:
            median["to_limit"] = ratios_within_rounds(rounds, compared["limit"])
        if "resident_before" in runs[name][0]:
            median["resident_before"] = max(run["resident_before"] for run in runs[name])
        found[name] = median
    return found


def progress(text):
    """Tells a waiting person."""
    print(text, file=sys.stderr, flush=True)
