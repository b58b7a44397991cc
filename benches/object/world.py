"""What a measurement needs: a store, disks in it, gateways, loads; everything ends with the block it was made in."""

import contextlib
import http.client
import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from processes import Trouble

START_SECONDS = 60
STOP_SECONDS = 120
RUN_SECONDS = 1800

# The export's options for each mode, as `nbdgate serve` takes them; {folder} is a folder of the run's own.
MODES = {
    "object": "",
    "journal": ",journal={folder}/journal,journal-size=1G",
    "no-cache": "",
    "gc": "",
}
# What `nbdgate disk create` takes for a disk of that mode.
CREATE = {
    "object": ["--lease", "0s"],
    "journal": ["--lease", "0s", "--flush", "journal"],
    "no-cache": ["--lease", "0s"],
    "gc": ["--lease", "0s"],
}


@dataclass(frozen=True)
class Programs:
    """Where the programs are."""

    folder: Path

    def path(self, name):
        program = self.folder / name
        if not program.exists():
            raise Trouble(f"{program} is missing: make bench-object builds it")
        return str(program)


class World:
    """One folder, one store, and what runs on them."""

    def __init__(self, programs, stack, get_ms, put_ms, mib_per_second):
        self.programs = programs
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nbdgate-bench-")))
        self.disks = 0
        self.latency = f"get-ms={get_ms}&put-ms={put_ms}&mib-per-second={mib_per_second}"
        server = subprocess.Popen([programs.path("nbdgate-s3-server")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  text=True)
        stack.callback(self.end, server)
        self.address = server.stdout.readline().strip()
        if not self.address:
            raise Trouble("the store did not start")
        self.environment = os.environ | {
            "AWS_ENDPOINT": f"http://{self.address}",
            "AWS_ACCESS_KEY_ID": "test-access-key",
            "AWS_SECRET_ACCESS_KEY": "test-secret-key",
            "AWS_REGION": "us-east-1",
        }
        self.slow()

    @staticmethod
    def end(process):
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def control(self, method, path):
        connection = http.client.HTTPConnection(self.address, timeout=START_SECONDS)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            said = answer.read().decode()
            if answer.status != 200:
                raise Trouble(f"the store: {said}")
            return said
        finally:
            connection.close()

    def slow(self):
        """The latency that was asked for."""
        self.control("POST", f"/-/settings?{self.latency}")

    def fast(self):
        """No latency, to prepare things."""
        self.control("POST", "/-/settings?get-ms=0&put-ms=0&mib-per-second=0")

    def counters(self):
        """What was asked of the store since the last time."""
        return json.loads(self.control("POST", "/-/counters"))

    def run(self, *command):
        """Runs a program to its end; gives its output."""
        done = subprocess.run([str(word) for word in command], env=self.environment, capture_output=True, text=True,
                              timeout=RUN_SECONDS)
        if done.returncode != 0:
            raise Trouble((done.stderr or done.stdout).strip().splitlines()[-1])
        return done.stdout

    def tool(self, *arguments):
        return json.loads(self.run(self.programs.path("nbdgate-object-tool"), *arguments))

    def disk(self, mode, size):
        """A new disk; its URI."""
        self.disks += 1
        uri = f"s3://bucket/bench/{mode}-{self.disks}"
        program = self.programs.path("nbdgate")
        flags = CREATE[mode]
        try:
            self.run(program, "disk", "create", uri, "--size", size, *flags)
        except Trouble as trouble:
            # Before these flags there was one kind of disk.
            if "unexpected argument" not in str(trouble) and "--help" not in str(trouble):
                raise
            if mode == "journal":
                raise Trouble("this version has no journal") from trouble
            self.run(program, "disk", "create", uri, "--size", size)
        return uri

    @contextlib.contextmanager
    def gateway(self, uri, options=""):
        """Serves a disk as the default export; gives the address and the process."""
        socket = self.folder / f"nbd-{time.monotonic_ns()}.sock"
        log = (self.folder / "gateway.log").open("w+")
        options = options.format(folder=self.folder)
        command = [self.programs.path("nbdgate"), "serve", "--export", f"={uri}{options}", "--listen", f"unix:{socket}"]
        process = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not socket.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise Trouble(f"the gateway did not start: {log.read().strip().splitlines()[-1:]}")
                time.sleep(0.01)
            yield f"unix:{socket}", process
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.close()

    def load(self, address, *flags):
        """One run of the load generator; its report."""
        words = [self.programs.path("nbdgate-load"), "--connect", address, "--json", "--stall-seconds", "120", *flags]
        report = json.loads(self.run(*words))
        if report["errors"]:
            raise Trouble(f"{report['errors']} requests failed")
        return report
