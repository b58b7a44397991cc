"""The gateway under test, the store behind it, and the tools for its disks."""

import json
import os
import re
import select
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

from processes import DIES_WITH_US, run
from trouble import Trouble, expect

START_SECONDS = 60
STOP_SECONDS = 60
POLL_SECONDS = 0.02
TOOL_SECONDS = 120
STORE_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test-access-key",
    "AWS_SECRET_ACCESS_KEY": "test-secret-key",
    "AWS_REGION": "us-east-1",
}


class Programs:
    """The programs under test: nbdgate and its S3 server for tests, and how tools are run beside them."""

    def __init__(self, nbdgate):
        self.nbdgate = nbdgate
        self.store = nbdgate.with_name("nbdgate-s3-server")
        self.environment = os.environ | {"LC_ALL": "C", "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
        self.environment.pop("NBDGATE_LOG", None)
        for program in (self.nbdgate, self.store):
            expect(os.access(program, os.X_OK), f"{program} is missing: make test-vm builds it")

    def run(self, *command):
        """Runs a program to its end; gives what it printed."""
        return run(command, self.environment, TOOL_SECONDS)

    def disk(self, *arguments):
        return self.run(self.nbdgate, "disk", *arguments)


class Store:
    """The project's S3 server in memory; it ends when its standard input does."""

    def __init__(self, programs):
        self.process = subprocess.Popen([programs.store], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ready = select.select([self.process.stdout], [], [], START_SECONDS)[0]
        address = self.process.stdout.readline().strip() if ready else None
        if not address:
            self.close()
            raise Trouble(f"{programs.store} told no address")
        programs.environment |= STORE_ENVIRONMENT | {"AWS_ENDPOINT": f"http://{address}"}

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Gateway:
    """`nbdgate serve` on a Unix socket and on a port of its own, started as often as a test likes, with one log."""

    def __init__(self, programs, folder, log):
        self.programs = programs
        self.socket = Path(folder) / "nbd.sock"
        self.log = log.open("ab")
        self.port = 0
        self.metrics_address = None
        self.process = None

    def start(self, *exports):
        """Starts it and waits until it serves. Later starts take the port of the first, as clients expect.
        Gives what it logged until then."""
        expect(self.process is None, "the gateway runs already")
        command = [*DIES_WITH_US, str(self.programs.nbdgate), "serve", f"--listen=unix:{self.socket}",
                   f"--listen=tcp:127.0.0.1:{self.port}", "--metrics=127.0.0.1:0", *(f"--export={export}" for export in exports)]
        self.log.write(f"--- {' '.join(command)}\n".encode())
        self.log.flush()
        begin = self.log.tell()
        self.process = subprocess.Popen(command, env=self.programs.environment, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=self.log)
        said = self.wait_until_it_serves(begin)
        self.port = int(found(r"address=tcp:127\.0\.0\.1:(\d+)", said))
        self.metrics_address = found(r"serving metrics address=(\S+)", said)
        return said

    def wait_until_it_serves(self, begin):
        """Its log since then, which tells its addresses."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            ended = self.process.poll() is not None
            said = Path(self.log.name).read_bytes()[begin:].decode(errors="replace")
            if "serving engine=" in said:
                return said
            expect(not ended, f"the gateway ended before it served:\n{said}")
            expect(time.monotonic() < deadline, f"the gateway does not serve after {START_SECONDS} s:\n{said}")
            time.sleep(POLL_SECONDS)

    def metric(self, name, **labels):
        """The sum of the samples with at least these labels, 0 without any."""
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics", timeout=START_SECONDS) as answer:
            text = answer.read().decode()
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        samples = [line.rsplit(" ", 1) for line in text.splitlines() if re.match(rf"{name}[{{ ]", line)]
        return sum(float(value) for series, value in samples if all(label in series for label in wanted))

    def uri(self, export):
        return f"nbd+unix:///{export}?socket={self.socket}"

    def kill(self):
        """Ends it as a crash does."""
        self.end(signal.SIGKILL)

    def stop(self):
        """Asks it to stop, and sees that it does so cleanly."""
        status = self.end(signal.SIGTERM)
        expect(status == 0, f"the gateway ended with {status} after SIGTERM; see {self.log.name}")

    def end(self, number):
        process, self.process = self.process, None
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return process.returncode

    def close(self):
        if self.process:
            self.kill()
        self.log.close()


def found(pattern, text):
    match = re.search(pattern, text)
    expect(match, f"the gateway did not say {pattern!r}:\n{text}")
    return match[1]


def allocated_bytes(programs, uri):
    """How much of a served disk is data, as the gateway's block status tells any client."""
    extents = json.loads(programs.run("nbdinfo", "--map", "--json", uri))
    return sum(extent["length"] for extent in extents if not extent["type"] & 1)
