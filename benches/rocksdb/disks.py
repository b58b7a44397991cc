"""Served disks, full of noise: of RocksDB, in a file, in memory. A run of one is over when its server has come to rest."""

import contextlib
import time
from pathlib import Path

from counters import scrape, since
from images import make_full, settle, warm
from kinds import Storage, ours
from load import fill, run_load
from open import cpu_seconds
from servers import free_port, serving

# RocksDB is at rest when it neither flushes nor compacts for so long.
STILL_SECONDS = 0.5
LOOK_SECONDS = 0.1
# After this the next run begins, whatever RocksDB does.
REST_SECONDS = 60


class Disk:
    """A disk in memory, behind a server of its own: there is nothing to wait for."""

    def __init__(self, name, server, load):
        self.name, self.server, self.load = name, server, load

    def rest(self, still=STILL_SECONDS, within=REST_SECONDS):
        """Lets the server and the device finish what earlier requests caused; whether they did."""
        del still, within
        return True

    def run_at_once(self, *flags):
        """One run of the load, with nothing before or after it."""
        return run_load(self.load, self.server, flags)

    def run(self, *flags):
        """One run of the load. The CPU of the server is all that it used until it was at rest again."""
        self.rest()
        before = cpu_seconds(self.server.pid)
        report = self.run_at_once(*flags)
        rested = self.rest()
        spent = cpu_seconds(self.server.pid) - before
        report["server_cpu"]["us_per_request"] = spent * 1e6 / max(report["requests"], 1)
        return report | {"rested": rested}


class FileDisk(Disk):
    """A disk in an image that lies in the page cache."""

    def rest(self, still=STILL_SECONDS, within=REST_SECONDS):
        del still, within
        settle(self.server.image)
        warm(self.server.image)
        return True


class RocksDisk(Disk):
    """A disk in a RocksDB."""

    def __init__(self, name, server, load, port):
        super().__init__(name, server, load)
        self.port = port

    @property
    def database(self):
        """The folder of the database's files."""
        return Path(self.server.image) / "db"

    def counters(self):
        return scrape(self.port)

    def rest(self, still=STILL_SECONDS, within=REST_SECONDS):
        began = quiet = time.monotonic()
        while (now := time.monotonic()) < quiet + still and now < began + within:
            time.sleep(LOOK_SECONDS)
            seen = self.counters()
            if seen["running_flushes"] or seen["running_compactions"] or seen["immutable_memtables"]:
                quiet = time.monotonic()
        for path in self.database.iterdir():
            with contextlib.suppress(FileNotFoundError):
                settle(path)
        return now >= quiet + still

    def run(self, *flags):
        before = self.counters()
        report = super().run(*flags)
        return report | {"rocksdb": since(before, self.counters())}


def bytes_by_kind(folder):
    """Bytes that the files of a database take on the device: tables, blob files, logs of writes, and all else."""
    found = dict.fromkeys(("sst", "blob", "log", "other"), 0)
    for path in folder.iterdir():
        # A file that is not needed any more may go at any time.
        with contextlib.suppress(FileNotFoundError):
            kind = path.suffix.removeprefix(".")
            found[kind if kind in found else "other"] += path.stat().st_blocks * 512
    return found


class Shelf:
    """Makes disks of one size in one folder; they end with the stack."""

    def __init__(self, stack, folder, programs, size):
        self.stack, self.folder, self.programs, self.size = stack, folder, programs, size
        self.servers = 0

    def serve(self, kind, storage):
        self.servers += 1
        folder = self.folder / f"server-{self.servers}"
        return self.stack.enter_context(serving(storage.kind, kind, self.programs.nbdgate, folder, storage))

    def memory(self, size):
        disk = Disk("mem:", self.serve(ours(), Storage("memory", size, None)), self.programs.load)
        fill(self.programs.load, disk.server, size)
        return disk

    def file(self):
        image = make_full(self.folder / "image", self.size)
        return FileDisk("file:", self.serve(ours(), Storage("file", self.size, image)), self.programs.load)

    def open_rocksdb(self, extent):
        """The disk with extents of this size, made if it is missing; 16K is the default."""
        path, port = self.folder / f"disk-{extent}", free_port()
        storage = Storage("rocksdb", self.size, path, options="" if extent == "16K" else f",extent={extent}")
        server = self.serve(ours("--metrics", f"127.0.0.1:{port}"), storage)
        return RocksDisk(f"rocksdb:, extents of {extent}", server, self.programs.load, port)

    def rocksdb(self, extent):
        """A full one, at rest."""
        disk = self.open_rocksdb(extent)
        fill(self.programs.load, disk.server, self.size)
        disk.rest()
        return disk

    def reopened(self, disk, extent):
        """The same disk behind a new server: what its memtables held is in its files."""
        disk.server.stop()
        return self.open_rocksdb(extent)
