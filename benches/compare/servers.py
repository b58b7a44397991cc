"""A running server: started on its storage, awaited, and ended."""

import contextlib
import socket
import time

from kinds import Address, pid_file
from processes import POLL_SECONDS, START_SECONDS, Child, Daemon, Trouble


def free_port():
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server with its socket and its log in one folder."""

    def __init__(self, name, kind, program, folder, storage, transport="unix"):
        self.name, self.kind, self.image = name, kind, storage.image
        self.address = Address(folder / "socket", free_port() if transport == "tcp" else None)
        self.log_path = folder / "log"
        command = self.kind.command(program, self.address, storage)
        with open(self.log_path, "wb") as log:
            try:
                self.process = (Daemon(command, log, pid_file(self.address)) if self.kind.is_daemon
                                else Child(command, log))
            except Trouble as trouble:
                raise Trouble(f"{trouble}: {self.told()}") from trouble

    @property
    def pid(self):
        return self.process.pid

    def connect(self):
        """A client's socket."""
        if self.address.port is not None:
            return socket.create_connection(("127.0.0.1", self.address.port), START_SECONDS)
        client = socket.socket(socket.AF_UNIX)
        try:
            client.settimeout(START_SECONDS)
            client.connect(str(self.address.path))
        except BaseException:
            client.close()
            raise
        return client

    def wait_until_it_answers(self):
        """Returns when a client gets the first bytes of a greeting."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.ended() is not None:
                raise Trouble(f"{self.name} ended with {self.process.ended()}: {self.told()}")
            try:
                with self.connect() as client:
                    if client.recv(8) == b"NBDMAGIC":
                        return
            except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError):
                pass
            time.sleep(POLL_SECONDS)
        raise Trouble(f"{self.name} did not answer within {START_SECONDS} s: {self.told()}")

    def told(self):
        """The end of its log."""
        return self.log_path.read_text(errors="replace")[-2000:].strip() or "it said nothing"

    def stop(self):
        """Ends it, asking first."""
        self.process.stop()


@contextlib.contextmanager
def serving(name, kind, program, folder, storage):
    """A server that answers, in a new folder; ended at the end."""
    folder.mkdir()
    server = Server(name, kind, program, folder, storage)
    try:
        server.wait_until_it_answers()
        yield server
    finally:
        server.stop()
