"""The kinds of server: which program each is, what it can serve, and how it is told to."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from processes import START_SECONDS, Trouble

CLIENTS_MAX = 64
# nbd-server's configuration: what is not said is its default, four threads for each connection among it.
NBD_SERVER_CONFIGURATION = """\
[generic]
{listen}
[default]
exportname = {image}
flush = true
fua = true
"""


@dataclass(frozen=True)
class Address:
    """Where a server listens: a Unix socket, or a port of loopback."""

    path: Path
    port: int | None = None

    @property
    def uri(self):
        """As the load generator and nbdgate take it."""
        return f"unix:{self.path}" if self.port is None else f"tcp:127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Storage:
    """What a server shall serve: `kind` is memory, file, direct, sparse or, of nbdgate alone, rocksdb."""

    kind: str
    size: int
    image: Path | None
    # Several servers may have one image where none of them writes.
    is_readonly: bool = False
    # More of nbdgate's options of an export, each behind a comma.
    options: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of server."""

    program: str
    command: Callable[[str, Address, Storage], list[str]]
    storages: tuple[str, ...]
    # Without memory of its own, it serves an image in a tmpfs.
    has_memory: bool = False
    # The name of its export.
    export: str = ""
    knows_structured_replies: bool = True
    takes_many_connections: bool = True
    # Whether it leaves the process that was started and tells its number in a file.
    is_daemon: bool = False

    def runs(self, row, target):
        """Whether it can run a row."""
        return (target.storage in self.storages and (self.knows_structured_replies or not target.structured)
                and (self.takes_many_connections or row.connections == 1))


def pid_file(address):
    """Where a daemon tells its number."""
    return address.path.with_suffix(".pid")


def nbdgate(engine, *more):
    """Ours, with one of its I/O engines, and with more flags."""
    def command(program, address, storage):
        match storage.kind:
            case "memory":
                uri = f"mem:{storage.size}"
            case "direct":
                uri = f"file:{storage.image},direct"
            case "rocksdb":
                uri = f"rocksdb:{storage.image},size={storage.size}"
            case _:
                uri = f"file:{storage.image}"
        uri += storage.options + (",readonly" if storage.is_readonly else "")
        return [program, "serve", "--export", f"={uri}", "--listen", address.uri, "--io-engine", engine, *more]
    return command


def nbdkit(program, address, storage):
    """Its memory and file plugins; it has no O_DIRECT."""
    listen = ["--unix", str(address.path)] if address.port is None else [
        "--ipaddr", "127.0.0.1", "--port", str(address.port)]
    plugin = ["memory", str(storage.size)] if storage.kind == "memory" else ["file", str(storage.image)]
    readonly = ["--readonly"] if storage.is_readonly else []
    return [program, "--foreground", *listen, *readonly, *plugin]


def qemu_nbd(aio):
    """QEMU's server."""
    def command(program, address, storage):
        listen = ["--socket", str(address.path)] if address.port is None else [
            "--bind", "127.0.0.1", "--port", str(address.port)]
        cache = "none" if storage.kind == "direct" else "writeback"
        readonly = ["--read-only"] if storage.is_readonly else []
        return [program, *listen, "--persistent", "--shared", str(CLIENTS_MAX), "--format", "raw",
                f"--cache={cache}", f"--aio={aio}", "--discard=unmap", *readonly, str(storage.image)]
    return command


def nbd_server(program, address, storage):
    """The reference implementation, with a process for each connection. It takes its settings from a file."""
    listen = f"unixsock = {address.path}" if address.port is None else f"listenaddr = 127.0.0.1\nport = {address.port}"
    configuration = address.path.with_suffix(".conf")
    configuration.write_text(NBD_SERVER_CONFIGURATION.format(listen=listen, image=storage.image))
    return [program, "-C", str(configuration), "-p", str(pid_file(address))]


def limit(program, address, storage):
    """Not a server but a measuring stick: a loop without scheduler, metrics, budgets or checks."""
    return [program, "--size", str(storage.size), "--listen", address.uri]


CACHED = ("memory", "file", "sparse")
KINDS = {
    "nbdgate": Kind("nbdgate", nbdgate("auto"), (*CACHED, "direct"), has_memory=True),
    "nbdgate-epoll": Kind("nbdgate", nbdgate("epoll"), (*CACHED, "direct"), has_memory=True),
    "nbdkit": Kind("nbdkit", nbdkit, CACHED, has_memory=True),
    "qemu-nbd": Kind("qemu-nbd", qemu_nbd("threads"), CACHED),
    "qemu-nbd-uring": Kind("qemu-nbd", qemu_nbd("io_uring"), ("file", "sparse", "direct")),
    "nbd-server": Kind("nbd-server", nbd_server, CACHED, export="default", knows_structured_replies=False,
                       is_daemon=True),
    "limit": Kind("nbdgate-limit", limit, ("memory",), has_memory=True, takes_many_connections=False),
}
OURS = ("nbdgate", "nbdgate-epoll")


def ours(*flags, engine="auto"):
    """nbdgate as a kind of server, with more flags."""
    return replace(KINDS["nbdgate"], command=nbdgate(engine, *flags))


HINTS = {
    "nbdgate": "build it: cargo build --release",
    "nbdkit": "install it: apt-get install nbdkit",
    "qemu-nbd": "install it: apt-get install qemu-utils",
    "nbd-server": "install it: apt-get install nbd-server",
    "nbdgate-limit": "build it: cargo build --release -p nbdgate-limit",
}


def program_of(name, places):
    """The program behind a kind of server; `places` tells where some of them are."""
    program = KINDS[name].program
    found = shutil.which(places.get(program, program))
    if found is None:
        raise Trouble(f"{program} is not there; {HINTS[program]}, or leave {name} out with --servers")
    return found


def version_of(program):
    """Its first line about itself."""
    name = Path(program).name
    flag = "-V" if name == "nbd-server" else "--version"
    # Called by its bare name, it tells that and not its place.
    told = subprocess.run([name, flag], executable=program, capture_output=True, text=True, check=False,
                          timeout=START_SECONDS)
    lines = (told.stdout or told.stderr).splitlines()
    return lines[0].strip().removeprefix("This is ") if lines else name
