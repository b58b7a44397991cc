"""Interleaved rounds: every server runs a row before any runs it again, so that drift hits all alike."""

import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from servers import Server, Storage, Trouble, serves

TMPFS = Path("/dev/shm")
# A disk is filled through its server in pieces of this size.
CHUNK = 128 << 10
# An image is written in single pages, so that the page cache holds it so: in the large folios that longer writes leave,
# ext4 walks a list for every small write, and the row measures little but that. See README.md.
PAGE = 4096


class Runner:
    """Runs rows with one load generator."""

    def __init__(self, load, programs, settings):
        self.load, self.programs, self.settings = load, programs, settings

    def target(self, target, rows):
        """Runs all rows of one kind of storage; yields each with the runs of every server."""
        names = [name for name in self.programs if serves(name, target)]
        if not names:
            return
        with contextlib.ExitStack() as stack:
            servers = [self.start(stack, name, target) for name in names]
            for row in rows:
                yield row, self.row(row, servers)

    def start(self, stack, name, target):
        """Starts a server on storage of its own, full of noise; the stack ends it and removes its files."""
        size = self.settings.size
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nbdgate-compare-", dir=self.settings.dir)))
        image = None
        if target != "memory":
            image = make_image(folder / "image", size)
        elif name.startswith("qemu"):
            tmpfs = stack.enter_context(tempfile.TemporaryDirectory(prefix="nbdgate-compare-", dir=TMPFS))
            image = make_image(Path(tmpfs) / "image", size)
        server = Server(name, self.programs[name], folder / "socket", Storage(target, size, image))
        stack.callback(server.stop)
        server.wait_until_it_answers()
        if image is None:
            fill = ["--op", "write", "--order", "sequential", "--block-size", str(CHUNK), "--depth", "4"]
            self.run(server, [*fill, "--requests", str(size // CHUNK)])
        return server

    def row(self, row, servers):
        """The runs of every server, round by round."""
        runs = {server.name: [] for server in servers}
        for number in range(self.settings.rounds):
            turn = number % len(servers)
            for server in servers[turn:] + servers[:turn]:
                settle(server.image)
                arguments = [*row.arguments(), "--seconds", str(self.settings.seconds), "--warm-up-seconds",
                             str(self.settings.warm_up), "--seed", str(number + 1)]
                runs[server.name].append(self.run(server, arguments))
        return runs

    def run(self, server, arguments):
        """One run of the load generator."""
        command = [self.load, "--connect", f"unix:{server.path}", "--server-pid", str(server.pid), "--json"]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Trouble(f"the load on {server.name} failed: {done.stderr.strip() or done.stdout.strip()}\n"
                          f"{server.name} said: {server.told()}")
        return json.loads(done.stdout)


def make_image(path, size):
    """An image without holes that no server can compress."""
    noise = random.Random(1).randbytes(PAGE)
    with open(path, "wb", buffering=0) as image:
        for number in range(size // PAGE):
            image.write(number.to_bytes(8, "little") + noise[8:])
        os.fdatasync(image.fileno())
    return path


def settle(image):
    """Writes back what an earlier run left dirty, so that the next does not pay for it."""
    if image is not None:
        with open(image, "rb") as opened:
            os.fdatasync(opened.fileno())


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


def summary(runs, baseline):
    """Medians by server, and the medians of the ratios to the baseline, which are taken round by round."""
    compared = {name: [numbers(run) for run in rounds] for name, rounds in runs.items()}
    found = {}
    for name, rounds in compared.items():
        median = {key: statistics.median(run[key] for run in rounds) for key in rounds[0]}
        rates = [run["requests_per_second"] for run in rounds]
        median["spread"] = (max(rates) - min(rates)) / median["requests_per_second"]
        for key, ratio in (("requests_per_second", "rate_ratio"), ("cpu_us", "cpu_ratio"), ("p99_us", "p99_ratio")):
            pairs = zip(rounds, compared.get(baseline, []))
            ratios = [ours[key] / theirs[key] for ours, theirs in pairs if theirs[key] > 0]
            median[ratio] = statistics.median(ratios) if ratios else None
        found[name] = median
    return found


def progress(text):
    """Tells a waiting person."""
    print(text, file=sys.stderr, flush=True)


def require_room(folder, wanted):
    """Refuses to fill a file system."""
    if shutil.disk_usage(folder).free < 2 * wanted:
        raise Trouble(f"{folder} has no room for images of {wanted} bytes; give another with --dir, or a smaller --size")
