"""An NBD client that does a little work at a steady pace: what one quiet virtual machine asks of its disk."""

import random
import socket
import struct
import threading
import time

CONNECT_SECONDS = 60
BLOCK = 4096
# The part of a disk that the work goes to, so that reads meet what was written.
RANGE = 256 << 20

HELLO = struct.Struct(">QQH")
OPTION = struct.Struct(">IQII")
REQUEST = struct.Struct(">IHHQQI")
REPLY = struct.Struct(">IIQ")
FIXED_NEWSTYLE_NO_ZEROES = 3
EXPORT_NAME = 1
OPTION_MAGIC = 0x49484156454F5054
REQUEST_MAGIC = 0x25609513
REPLY_MAGIC = 0x67446698
READ, WRITE, DISCONNECT, FLUSH = 0, 1, 2, 3


class Failed(Exception):
    """The server answered with an error, or not as the protocol says."""


class Client:
    """One connection to one export, a request at a time."""

    def __init__(self, path, export):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(CONNECT_SECONDS)
        self.socket.connect(path)
        self.receive(HELLO.size)
        name = export.encode()
        self.socket.sendall(OPTION.pack(FIXED_NEWSTYLE_NO_ZEROES, OPTION_MAGIC, EXPORT_NAME, len(name)) + name)
        self.receive(10)

    def receive(self, size):
        data = bytearray()
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise Failed("the server hung up")
            data += part
        return bytes(data)

    def ask(self, command, offset=0, length=0, payload=b""):
        self.socket.sendall(REQUEST.pack(REQUEST_MAGIC, 0, command, 1, offset, length) + payload)
        magic, error, _ = REPLY.unpack(self.receive(REPLY.size))
        if magic != REPLY_MAGIC or error:
            raise Failed(f"command {command} was answered with error {error}")
        return self.receive(length) if command == READ else b""

    def write(self, offset, data):
        self.ask(WRITE, offset, len(data), data)

    def close(self):
        self.socket.sendall(REQUEST.pack(REQUEST_MAGIC, 0, DISCONNECT, 2, 0, 0))
        self.socket.close()


class Crowd:
    """A client for each of many exports; all work at the same pace, each in a thread of its own."""

    def __init__(self, path, exports):
        self.clients = [Client(path, export) for export in exports]
        self.flushes = 0
        self.flush_seconds = []
        self.failures = []
        self.lock = threading.Lock()

    def work(self, seconds, writes, reads):
        """Each second: some writes of 4 KiB, one FLUSH, some reads; a second that came too late is left out."""
        threads = [threading.Thread(target=self.one, args=(client, number, seconds, writes, reads))
                   for number, client in enumerate(self.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failures:
            raise self.failures[0]

    def one(self, client, seed, seconds, writes, reads):
        chance = random.Random(seed)
        begun = time.monotonic()
        due = begun + chance.random()
        try:
            while due < begun + seconds:
                time.sleep(max(0.0, due - time.monotonic()))
                for _ in range(writes):
                    client.write(chance.randrange(RANGE // BLOCK) * BLOCK, chance.randbytes(BLOCK))
                asked = time.monotonic()
                client.ask(FLUSH)
                took = time.monotonic() - asked
                for _ in range(reads):
                    client.ask(READ, chance.randrange(RANGE // BLOCK) * BLOCK, BLOCK)
                with self.lock:
                    self.flushes += 1
                    self.flush_seconds.append(took)
                due = max(due + 1.0, time.monotonic())
        except (OSError, Failed) as error:
            with self.lock:
                self.failures.append(error)

    def close(self):
        for client in self.clients:
            client.close()
