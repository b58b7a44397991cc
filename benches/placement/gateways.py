"""The store and the gateways that are measured, as processes; each ends with the block that it was started in."""

import contextlib
import os
import re
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

START_SECONDS = 900
STOP_SECONDS = 300
SERIES = re.compile(r'^([a-z_]+)(?:\{(.*)\})? ([-+0-9.eE]+)$')
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LABEL = re.compile(r'([a-z_]+)="([^"]*)"')


class Trouble(Exception):
    """Something that a person has to look at."""


class Store:
    """The S3 server of this repository, with a delay for each request."""

    def __init__(self, program, stack, get_ms, put_ms):
        self.get_ms, self.put_ms = get_ms, put_ms
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stack.callback(self.end)
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise Trouble("the store did not start")
        self.environment = os.environ | {
            "AWS_ENDPOINT": f"http://{self.address}",
            "AWS_ACCESS_KEY_ID": "test-access-key",
            "AWS_SECRET_ACCESS_KEY": "test-secret-key",
            "AWS_REGION": "us-east-1",
        }

    def end(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.wait(STOP_SECONDS)

    def delays(self, get_ms, put_ms):
        url = f"http://{self.address}/-/settings?get-ms={get_ms}&put-ms={put_ms}"
        urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=30).close()

    def fast(self):
        self.delays(0, 0)

    def slow(self):
        self.delays(self.get_ms, self.put_ms)


class Gateway:
    """One `nbdgate serve`, from its start to `stop` or `kill`."""

    def __init__(self, program, folder, environment, exports, host=None, flags=()):
        self.socket = str(Path(folder) / "nbd.sock")
        config = Path(folder) / "nbdgate.toml"
        config.write_text("".join(
            f'[[export]]\nname = "{name}"\nuri = "{uri}"\n'
            + "".join(f"{key} = {value}\n" for key, value in options.items()) + "\n"
            for name, uri, options in exports))
        # Port 0 would not be told to us but in the log; the metrics address is looked for there.
        command = [program, "serve", "--config", str(config), "--listen", f"unix:{self.socket}",
                   "--metrics", "127.0.0.1:0", *flags]
        if host:
            command = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host, *command]
        Path(self.socket).unlink(missing_ok=True)
        self.log = Path(folder) / "log"
        with self.log.open("w") as log:
            begun = time.monotonic()
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            self.metrics_address = self.wait(self.told_address)
            self.wait(self.healthy)
        except Trouble:
            self.kill()
            raise
        self.ready_seconds = time.monotonic() - begun

    def wait(self, ready):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if (found := ready()) is not None:
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise Trouble("the gateway did not start: " + self.log.read_text()[-2000:])

    def told_address(self):
        found = re.search(r"serving metrics address=(\S+)", COLOUR.sub("", self.log.read_text()))
        return found and found[1]

    def healthy(self):
        try:
            urllib.request.urlopen(f"http://{self.metrics_address}/healthz", timeout=30).close()
            return True
        except (urllib.error.HTTPError, OSError):
            return None

    def series(self):
        """All series now: (name, labels, value)."""
        text = urllib.request.urlopen(f"http://{self.metrics_address}/metrics", timeout=60).read().decode()
        found = (SERIES.match(line) for line in text.splitlines())
        return [(one[1], dict(LABEL.findall(one[2] or "")), float(one[3])) for one in found if one]

    def value(self, name):
        return sum(value for found, _, value in self.series() if found == name)

    def requests(self):
        """Requests to the store so far, by method and cause."""
        sums = {}
        for name, labels, value in self.series():
            if name == "nbdgate_object_requests_total":
                key = f"{labels['method']} {labels['cause']}"
                sums[key] = sums.get(key, 0) + int(value)
        return sums

    def held(self):
        """What the process holds now, as the kernel counts it."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return {
            "resident_bytes": 1024 * int(re.search(r"^VmRSS:\s+(\d+)", status, re.M)[1]),
            "anonymous_bytes": 1024 * int(re.search(r"^RssAnon:\s+(\d+)", status, re.M)[1]),
            "open_files": len(os.listdir(f"/proc/{self.process.pid}/fd")),
            "threads": int(re.search(r"^Threads:\s+(\d+)", status, re.M)[1]),
            "cpu_seconds": self.value("nbdgate_process_cpu_seconds_total"),
        }

    def stop(self):
        """A clean stop; returns the seconds it took."""
        begun = time.monotonic()
        self.process.terminate()
        if self.process.wait(STOP_SECONDS) != 0:
            raise Trouble("the gateway did not stop cleanly: " + self.log.read_text()[-2000:])
        return time.monotonic() - begun

    def kill(self):
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def folder():
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="nbdgate-placement-") as path:
        yield Path(path)
