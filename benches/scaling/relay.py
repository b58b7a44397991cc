"""A relay between the clients of a Unix socket and a server, which counts what the server sends."""

import contextlib
import socket
import threading

BUFFER = 1 << 20


class Relay:
    """Listens until it is left; one pair of threads for each connection."""

    def __init__(self, path, server):
        self.server, self.counts, self.pumps = server, [], []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()

    def __enter__(self):
        self.acceptor = threading.Thread(target=self.accept)
        self.acceptor.start()
        return self

    def __exit__(self, *_):
        # What wakes the acceptor.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.acceptor.join()
        for pump in self.pumps:
            pump.join()
        self.listener.close()

    def accept(self):
        """Takes connections until the listener is shut down."""
        with contextlib.suppress(OSError):
            while True:
                client, server = self.listener.accept()[0], self.server.connect()
                server.settimeout(None)
                for ends, counts in (((server, client), self.counts), ((client, server), [])):
                    self.pumps.append(threading.Thread(target=pump, args=(*ends, counts)))
                    self.pumps[-1].start()


def pump(source, sink, counts):
    """Passes bytes on until one of both ends, then lets the other know; notes how many."""
    buffer, total = memoryview(bytearray(BUFFER)), 0
    with contextlib.suppress(OSError):
        while count := source.recv_into(buffer):
            sink.sendall(buffer[:count])
            total += count
    counts.append(total)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
