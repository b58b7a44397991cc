"""nbdcopy of a half-sparse image to nowhere, from each server."""

import contextlib
import os
import random
import shutil
import statistics
import subprocess
import time

from images import require_room
from kinds import KINDS, Storage, program_of
from open import cpu_seconds
from processes import Trouble
from relay import Relay
from scene import Part, folder_in, verdict
from servers import serving

PIECE = 1 << 20
SERVERS = ("nbdgate", "nbdgate-epoll", "nbdkit", "qemu-nbd")
BASELINE = "nbdkit"
COPY_SECONDS = 600

HEAD = ("server", "wall time", "× speed of nbdkit", "at least as fast", "server's CPU", "sent", "of the image's data")


def measure(settings):
    """Alternating; who is first alternates, too. One more copy of each, not timed, goes through a counting relay."""
    if shutil.which("nbdcopy") is None:
        raise Trouble("nbdcopy is not there; install it: apt-get install libnbd-bin")
    size = settings.copy_gib << 30
    require_room(settings.folder, size // 2)
    with folder_in(settings) as folder, contextlib.ExitStack() as stack:
        storage = Storage("file", size, make_half_sparse(folder / "image", size), is_readonly=True)
        servers = [stack.enter_context(serving(name, KINDS[name], program_of(name, {"nbdgate": settings.nbdgate}),
                                               folder / name, storage)) for name in SERVERS]
        sent = {server.name: counted(server, folder) for server in servers}
        runs = {server.name: [] for server in servers}
        for number in range(settings.copy_rounds):
            turn = number % len(servers)
            for server in servers[turn:] + servers[:turn]:
                runs[server.name].append(timed(server))
    return Part(
        "A half-sparse image",
        f"`nbdcopy nbd+unix:///?socket=... null:` of an image of {settings.copy_gib} GiB, 1 MiB of data and a hole of "
        "1 MiB in turn, in the page cache. Wall times are medians of interleaved rounds, ratios are taken within rounds. "
        "What the server sent was counted in a copy of its own.",
        HEAD, [line(name, runs, sent[name], size // 2) for name in SERVERS])


def make_half_sparse(path, size):
    """Data and holes in turn, in the page cache when it is done."""
    noise = random.Random(1).randbytes(PIECE)
    with open(path, "wb", buffering=0) as image:
        image.truncate(size)
        for offset in range(0, size, 2 * PIECE):
            os.pwrite(image.fileno(), noise, offset)
        os.fdatasync(image.fileno())
    return path


def copy(socket):
    """One copy."""
    done = subprocess.run(["nbdcopy", f"nbd+unix:///?socket={socket}", "null:"], capture_output=True, text=True,
                          check=False, timeout=COPY_SECONDS)
    if done.returncode != 0:
        raise Trouble(f"nbdcopy from {socket} failed: {done.stderr.strip()}")


def timed(server):
    """Seconds of one copy, and of the server's CPU."""
    cpu, start = cpu_seconds(server.pid), time.monotonic()
    copy(server.address.path)
    return time.monotonic() - start, cpu_seconds(server.pid) - cpu


def counted(server, folder):
    """Bytes that one copy brings."""
    path = folder / f"{server.name}-relay"
    with Relay(path, server) as relay:
        copy(path)
    return sum(relay.counts)


def line(name, runs, sent, data):
    """One line of the table."""
    seconds = statistics.median(wall for wall, _ in runs[name])
    cpu = statistics.median(used for _, used in runs[name])
    speed = statistics.median(theirs[0] / ours[0] for ours, theirs in zip(runs[name], runs[BASELINE]))
    judged = verdict(speed >= 1) if name.startswith("nbdgate") else "–"
    return (name, f"{seconds:.2f} s", f"{speed:.2f}", judged, f"{cpu:.2f} s", f"{sent / (1 << 20):,.0f} MiB",
            f"{sent / data:.3f}")
