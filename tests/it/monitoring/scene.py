"""A gateway with a disk of every kind under load, and a Prometheus that scrapes it."""

import errno
import json
import os
import pathlib
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request

import nbd
from files import PROMETHEUS

PATIENCE_SECONDS = 60
SIZE = 64 << 20
BLOCK = 16384
# Nothing listens on port 1.
OTHERS = """\
  - job_name: other
    static_configs:
      - targets: ["127.0.0.1:1"]
"""
EXPORTS = ("journal", "plain", "rocks", "file", "mem")


def wait_for(what, tell):
    """Asks until there is an answer that counts."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (answer := tell()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {PATIENCE_SECONDS} seconds")
        time.sleep(0.05)
    return answer


class Process:
    """A program that runs until the scene ends; what it says goes to a file."""

    def __init__(self, name, folder, command):
        self.log = folder / f"{name}.log"
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def told(self, pattern):
        """What the program said that matches, once it did."""
        def look():
            assert self.child.poll() is None, f"it ended:\n{self.log.read_text()}"
            return re.search(pattern, self.log.read_text())
        return wait_for(f"{pattern} in {self.log}", look)[1]

    def stop(self):
        """Ends it, and sees that it ends well."""
        self.child.terminate()
        status = self.child.wait(PATIENCE_SECONDS)
        assert status == 0, f"ended with {status}:\n{self.log.read_text()}"


class Gateway(Process):
    """The program under test; its object store is told by the environment."""

    def __init__(self, program, bucket, folder):
        def run(*words):
            subprocess.run([program, *map(str, words)], check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE_SECONDS)
        run("disk", "create", f"{bucket}/journal", "--size", SIZE, "--flush", "journal")
        run("disk", "create", f"{bucket}/plain", "--size", SIZE)
        run("disk", "snapshot", "create", f"{bucket}/plain", "monday")
        self.image, self.socket = folder / "disk.img", folder / "nbd.sock"
        exports = {
            "journal": f"{bucket}/journal,journal={folder}/journal,journal-size=64M,scrub=2s",
            "plain": f"{bucket}/plain,upload-delay=1s",
            "rocks": f"rocksdb:{folder}/rocks?size={SIZE}", "file": f"file:{self.image},size={SIZE}", "mem": f"mem:{SIZE}",
        }
        flags = [f"--export={name}={uri}" for name, uri in exports.items()]
        super().__init__("gateway", folder, [
            program, "serve", *flags, f"--listen=unix:{self.socket}", "--metrics=127.0.0.1:0", f"--cache={folder}/cache",
            "--cache-size=64M", "--rocksdb-memory=8M", "--rocksdb-cache=8M"])
        self.metrics = self.told(r"serving metrics address=(\S+)")

    def enter(self, export):
        """A client that may ask for what is wrong."""
        client = nbd.NBD()
        client.set_strict_mode(0)
        client.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        client.set_export_name(export)
        client.connect_unix(str(self.socket))
        return client


class Client(threading.Thread):
    """Every command on one export, over and over, and some that fail."""

    def __init__(self, gateway, export):
        super().__init__()
        self.gateway, self.export, self.over, self.failure = gateway, export, threading.Event(), None

    def run(self):
        try:
            client = self.gateway.enter(self.export)
            snapshot = self.gateway.enter("plain@monday")
            if self.export == "file":
                # What is beyond the end of an image that was cut short is an I/O error.
                os.truncate(self.gateway.image, SIZE // 2)
            rounds = 0
            # As fast as these go, and no faster than leaves the machine to others.
            while not self.over.wait(0.02):
                self._everything(client, rounds)
                snapshot.pread(BLOCK, 0)
                self.gateway.enter(self.export).shutdown()
                if self.export == "file":
                    self._refused(errno.EIO, client, SIZE - BLOCK)
                self._refused(errno.EINVAL, client, SIZE)
                rounds += 1
            client.shutdown()
            snapshot.shutdown()
        except Exception as failure:
            self.failure = failure

    def _everything(self, client, rounds):
        most = (SIZE // 2 if self.export == "file" else SIZE) // BLOCK
        at = rounds * 37 % (most - 80) * BLOCK
        for block in range(8):
            client.pwrite(os.urandom(BLOCK), at + block * BLOCK)
        client.flush()
        client.pwrite(bytes(BLOCK), at, nbd.CMD_FLAG_FUA)
        # In order, as readers of files do, and somewhere else.
        for block in range(64):
            client.pread(BLOCK, block * BLOCK)
        client.pread(BLOCK, (at * 7) % (most * BLOCK) // BLOCK * BLOCK)
        client.trim(BLOCK, at + BLOCK)
        client.zero(BLOCK, at + 2 * BLOCK)
        client.block_status(most * BLOCK, 0, lambda *_: 0)
        client.cache(BLOCK, at + 3 * BLOCK)

    @staticmethod
    def _refused(expected, client, offset):
        try:
            client.pread(BLOCK, offset)
        except nbd.Error as error:
            assert error.errnum == expected, error
        else:
            raise AssertionError(f"a read at {offset} went well")


class Load:
    """A client of each export."""

    def __init__(self, gateway):
        self.clients = [Client(gateway, export) for export in EXPORTS]
        for client in self.clients:
            client.start()

    def check(self):
        """Fails as the first of them did."""
        for client in self.clients:
            if client.failure:
                raise AssertionError(f"the client of {client.export} failed") from client.failure

    def stop(self):
        """Ends them, and sees that they end well."""
        for client in self.clients:
            client.over.set()
        for client in self.clients:
            client.join(PATIENCE_SECONDS)
            assert not client.is_alive(), f"the client of {client.export} goes on"
        self.check()


class Prometheus(Process):
    """The real one, with the configuration and the rules of deploy/, but faster, and with a target of somebody else's that is
    down."""

    def __init__(self, folder, target):
        configuration = folder / "prometheus"
        shutil.copytree(PROMETHEUS, configuration)
        main = configuration / "prometheus.yml"
        main.write_text(main.read_text().replace("interval: 15s", "interval: 500ms") + OTHERS)
        targets = configuration / "targets/nbdgate.yml"
        targets.write_text(targets.read_text().replace("localhost:9810", target))
        super().__init__("prometheus", folder, [
            "prometheus", f"--config.file={main}", f"--storage.tsdb.path={folder}/data",
            "--web.listen-address=127.0.0.1:0"])
        self.address = self.told(r"address=(127\.0\.0\.1:[1-9][0-9]*)")
        wait_for("readiness of Prometheus", self._is_ready)

    def _is_ready(self):
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=5) as response:
                return response.status == 200
        except OSError:
            return False

    def _ask(self, path, **values):
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(values)}"
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as response:
            return json.load(response)["data"]

    def query(self, expression):
        """The samples of now, as (labels, value)."""
        result = self._ask("query", query=expression)["result"]
        return [(sample["metric"], float(sample["value"][1])) for sample in result]

    def rules(self):
        """Every rule as it is known there."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]


def folder_below(path):
    """A folder of its own for everything that runs."""
    folder = pathlib.Path(path).resolve()
    folder.mkdir()
    return folder
