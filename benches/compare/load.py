"""One run of the load generator on a server."""

import json
import subprocess

from processes import Trouble

# A disk is filled through its server in pieces of this size.
CHUNK = 128 << 10
# A server that says nothing for so long has failed.
STALL_SECONDS = 10


def run_load(program, server, arguments):
    """What it reports."""
    command = [program, "--connect", server.address.uri, "--server-pid", str(server.pid), "--json",
               "--stall-seconds", str(STALL_SECONDS)]
    command += ["--export", server.kind.export] if server.kind.export else []
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Trouble(f"the load on {server.name} failed: {done.stderr.strip() or done.stdout.strip()}; "
                      f"{server.name} said: {server.told()}")
    return json.loads(done.stdout)


def fill(program, server, size):
    """Writes every byte of a disk, so that nothing is read from a hole."""
    run_load(program, server, ["--op", "write", "--order", "sequential", "--block-size", str(CHUNK), "--depth", "4",
                               "--requests", str(size // CHUNK)])
