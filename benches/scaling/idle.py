"""What a thousand connections keep in memory after each has done a request."""

import contextlib

from images import make_full
from kinds import Storage, ours
from open import allow_descriptors, enter, memory_kib, read_a_block
from scene import Part, folder_in, verdict
from servers import serving

CONNECTIONS = 1000
SIZE = 1 << 20
LIMIT_MIB = 64

HEAD = ("engine", "with one connection", f"with {CONNECTIONS:,} that did a read", "each", f"< {LIMIT_MIB} MiB")


def measure(settings):
    """Both engines, one after the other."""
    allow_descriptors(CONNECTIONS)
    with folder_in(settings) as folder:
        storage = Storage("file", SIZE, make_full(folder / "image", SIZE))
        lines = [line(settings, folder, storage, engine) for engine in ("auto", "epoll")]
    return Part(
        "Idle connections",
        f"Resident memory (VmRSS) of a server of one file, with {CONNECTIONS:,} connections that are through their "
        "handshake and have each read 4 KiB.", HEAD, lines)


def line(settings, folder, storage, engine):
    """One line of the table."""
    name = f"nbdgate-{engine}"
    kind = ours("--max-connections", str(CONNECTIONS + 1), engine=engine)
    with serving(name, kind, settings.nbdgate, folder / name, storage) as server, contextlib.ExitStack() as clients:
        path = server.address.path
        read_a_block(clients.enter_context(enter(path)))
        before = memory_kib(server.pid, "VmRSS")
        for client in [clients.enter_context(enter(path)) for _ in range(CONNECTIONS)]:
            read_a_block(client)
        now = memory_kib(server.pid, "VmRSS")
    return (engine, f"{before / 1024:.1f} MiB", f"{now / 1024:.1f} MiB", f"{(now - before) / CONNECTIONS:.1f} KiB",
            verdict(now / 1024 < LIMIT_MIB))
