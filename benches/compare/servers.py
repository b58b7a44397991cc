"""The servers: how each is started on a kind of storage, awaited and ended."""

import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 20
STOP_SECONDS = 20
CLIENTS_MAX = 64

HINTS = {
    "nbdgate": "build it: cargo build --release",
    "nbdkit": "install it: apt-get install nbdkit",
    "qemu-nbd": "install it: apt-get install qemu-utils",
}


class Trouble(Exception):
    """Something that the user can mend; its text says how."""


@dataclass(frozen=True)
class Storage:
    """What a server shall serve."""

    target: str
    size: int
    image: Path | None


def nbdgate(program, path, storage, engine):
    """Ours, with one of its I/O engines."""
    match storage.target:
        case "memory":
            uri = f"mem:{storage.size}"
        case "file":
            uri = f"file:{storage.image}"
        case "direct":
            uri = f"file:{storage.image},direct"
    return [program, "serve", "--export", f"={uri}", "--listen", f"unix:{path}", "--io-engine", engine]


def nbdkit(program, path, storage):
    """Its memory and file plugins; it has no O_DIRECT."""
    command = [program, "--foreground", "--unix", str(path)]
    match storage.target:
        case "memory":
            return [*command, "memory", str(storage.size)]
        case "file":
            return [*command, "file", str(storage.image)]
        case "direct":
            return None


def qemu_nbd(program, path, storage, aio):
    """QEMU's server. It has no memory of its own: its image lies in a tmpfs."""
    cache = "none" if storage.target == "direct" else "writeback"
    if storage.target == "memory" and aio != "threads":
        return None
    return [program, "--socket", str(path), "--persistent", "--shared", str(CLIENTS_MAX), "--format", "raw",
            f"--cache={cache}", f"--aio={aio}", "--discard=unmap", str(storage.image)]


KINDS = {
    "nbdgate": ("nbdgate", lambda *given: nbdgate(*given, "auto")),
    "nbdgate-epoll": ("nbdgate", lambda *given: nbdgate(*given, "epoll")),
    "nbdkit": ("nbdkit", nbdkit),
    "qemu-nbd": ("qemu-nbd", lambda *given: qemu_nbd(*given, "threads")),
    "qemu-nbd-uring": ("qemu-nbd", lambda *given: qemu_nbd(*given, "io_uring")),
}


def program_of(name, nbdgate_path):
    """The program behind a kind of server."""
    program = KINDS[name][0]
    found = shutil.which(nbdgate_path if program == "nbdgate" else program)
    if found is None:
        raise Trouble(f"{program} is not there; {HINTS[program]}, or leave it out with --servers")
    return found


def version_of(program):
    """Its first line about itself."""
    # Called by its bare name, it tells that and not its place.
    told = subprocess.run([Path(program).name, "--version"], executable=program, capture_output=True, text=True,
                          check=False, timeout=START_SECONDS)
    return (told.stdout or told.stderr).splitlines()[0].strip()


class Server:
    """A running server."""

    def __init__(self, name, program, path, storage):
        self.name, self.path, self.image = name, path, storage.image
        command = KINDS[name][1](program, path, storage)
        self.log = open(path.with_suffix(".log"), "wb")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    @property
    def pid(self):
        return self.process.pid

    def wait_until_it_answers(self):
        """Returns when a client gets the first bytes of a greeting."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Trouble(f"{self.name} ended with {self.process.returncode}: {self.told()}")
            try:
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(START_SECONDS)
                    client.connect(str(self.path))
                    if client.recv(8) == b"NBDMAGIC":
                        return
            except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError):
                pass
            time.sleep(0.02)
        raise Trouble(f"{self.name} did not answer within {START_SECONDS} s: {self.told()}")

    def told(self):
        """The end of its log."""
        return self.path.with_suffix(".log").read_text(errors="replace")[-2000:].strip() or "it said nothing"

    def stop(self):
        """Ends it, asking first."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


def serves(name, target):
    """Whether this kind of server has this kind of storage."""
    return KINDS[name][1]("", Path("socket"), Storage(target, 1, Path("image"))) is not None
