"""What it costs to open a large empty disk, and to hold idle connections.

Creates a disk of the object log in a directory used as a bucket, serves it, and prints the CPU seconds and the
peak of resident memory at the moment when a client has come through the handshake; with --connections, then, what
so many idle connections take. All numbers are the kernel's accounting of the server's process: start, recovery and
one handshake are in the first two.

    cargo build --release && python3 benches/open.py --connections 1000
"""

import argparse
import contextlib
import os
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

START_SECONDS = 60
STOP_SECONDS = 20
REPLY_SECONDS = 20

# NBD specification, "Newstyle negotiation".
FIXED_NEWSTYLE_NO_ZEROES = 3
OPTION_MAGIC = b"IHAVEOPT"
OPTION_REPLY_MAGIC = 0x3E889045565A9
OPT_GO, REP_ACK, REP_INFO = 7, 1, 3
# "Transmission".
REQUEST_MAGIC, CMD_READ, BLOCK = 0x25609513, 0, 4096


class Trouble(Exception):
    """Something that the user can mend; its text says how."""


def receive(client, length):
    """Exactly so many bytes."""
    received = b""
    while len(received) < length:
        part = client.recv(length - len(received))
        if not part:
            raise Trouble("the server closed a connection; is its limit on connections lower than --connections?")
        received += part
    return received


def enter(path):
    """A client that has come through the handshake, to the default export."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(REPLY_SECONDS)
    try:
        client.connect(str(path))
        if receive(client, 18)[:16] != b"NBDMAGIC" + OPTION_MAGIC:
            raise Trouble(f"{path} does not speak NBD")
        client.sendall(struct.pack(">I", FIXED_NEWSTYLE_NO_ZEROES))
        # The name, empty, and no information asked for.
        client.sendall(OPTION_MAGIC + struct.pack(">IIIH", OPT_GO, 6, 0, 0))
        while True:
            magic, _, kind, length = struct.unpack(">QIII", receive(client, 20))
            told = receive(client, length)
            if magic != OPTION_REPLY_MAGIC or kind not in (REP_ACK, REP_INFO):
                raise Trouble(f"the server refused the export: {told.decode(errors='replace')}")
            if kind == REP_ACK:
                return client
    except BaseException:
        client.close()
        raise


def read_a_block(client):
    """A connection that has worked has had buffers, and shall have let go of them."""
    client.sendall(struct.pack(">IHHQQI", REQUEST_MAGIC, 0, CMD_READ, 0, 0, BLOCK))
    _magic, error, _cookie = struct.unpack(">IIQ", receive(client, 16))
    if error != 0:
        raise Trouble(f"a read failed with NBD error {error}")
    receive(client, BLOCK)


def wait_until_it_serves(process, path, log):
    """The first client."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Trouble(f"nbdgate ended with {process.returncode}: {log.read_text(errors='replace')[-2000:].strip()}")
        try:
            return enter(path)
        except (FileNotFoundError, ConnectionRefusedError):
            time.sleep(0.01)
    raise Trouble(f"nbdgate did not answer within {START_SECONDS} s: {log.read_text(errors='replace')[-2000:].strip()}")


def cpu_seconds(pid):
    """User and system time of all its threads; the kernel counts in ticks."""
    # The name, in parentheses, may hold blanks; fields 14 and 15 are counted from 1.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_kib(pid, field):
    """VmRSS or VmHWM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0])
    raise Trouble(f"/proc/{pid}/status has no {field}")


@contextlib.contextmanager
def serving(program, folder, size, connections):
    """The server of a new disk and its socket; ended at the end."""
    disk, path, log = f"dir:{folder}/bucket/disk", folder / "socket", folder / "log"
    (folder / "bucket").mkdir()
    created = subprocess.run([program, "disk", "create", disk, "--size", size], capture_output=True, text=True,
                             check=False, timeout=START_SECONDS)
    if created.returncode != 0:
        raise Trouble(f"the disk cannot be created: {created.stderr.strip()}")
    command = [program, "serve", "--export", f"={disk}", "--listen", f"unix:{path}",
               "--max-connections", str(connections + 1)]
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process, path, log
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def measure(program, size, connections):
    """Prints the numbers."""
    with tempfile.TemporaryDirectory(prefix="nbdgate-open-") as folder, \
            serving(program, Path(folder), size, connections) as (process, path, log), \
            contextlib.ExitStack() as clients:
        clients.enter_context(wait_until_it_serves(process, path, log))
        pid = process.pid
        print(f"open {size}: {cpu_seconds(pid):.2f} s CPU, {memory_kib(pid, 'VmHWM') / 1024:.1f} MiB peak")
        if connections:
            before = memory_kib(pid, "VmRSS")
            idle = [clients.enter_context(enter(path)) for _ in range(connections)]
            tell(f"{connections} connections after the handshake", pid, before, connections)
            for client in idle:
                read_a_block(client)
            tell(f"{connections} connections idle after a read each", pid, before, connections)


def tell(what, pid, before, connections):
    """What memory has grown by."""
    now = memory_kib(pid, "VmRSS")
    print(f"{what}: {(now - before) / 1024:.1f} MiB more, {(now - before) / connections:.1f} KiB each; "
          f"{now / 1024:.1f} MiB in all")


def allow_descriptors(count):
    """This process's limit, which the server inherits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * count + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise Trouble(f"{wanted} descriptors are needed and {hard} allowed: raise `ulimit -n`")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main():
    """Reads the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nbdgate", default="target/release/nbdgate", help="the program (default: %(default)s)")
    parser.add_argument("--size", default="1T", help="of the disk (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=0, help="idle ones to hold after that (default: none)")
    flags = parser.parse_args()
    program = Path(flags.nbdgate).resolve()
    try:
        if not program.is_file():
            raise Trouble(f"{flags.nbdgate} is not there; build it: cargo build --release, or name it with --nbdgate")
        allow_descriptors(flags.connections)
        measure(program, flags.size, flags.connections)
    except (Trouble, TimeoutError) as trouble:
        sys.exit(f"open.py: {trouble}")


if __name__ == "__main__":
    main()
