"""A signal while exports are opened ends that: what is open is closed, what is being opened comes to its end first, and
nothing else is touched.

    opening.py NBDGATE S3-URL NAME=VALUE...

Disks are made in an S3 store, below the URL; the rest is the environment in which it can be reached.
"""

import json
import os
import signal
import socket
import sys
import threading
import time

from manager import PATIENCE, Manager, run, tcp_listener, wait_until

# Far below what opening a disk waits for a store (60 s), and some for a loaded machine.
AT_ONCE = 20


class Gate:
    """Stands before the store. While it is closed, it accepts connections and nothing is answered."""

    def __init__(self, store):
        self.store = store
        self.listener = tcp_listener()
        self.asked = threading.Event()
        self.opened = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.opened.set()
        # Wakes who accepts.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def environment(self):
        host, port = self.listener.getsockname()
        return {"AWS_ENDPOINT": f"http://{host}:{port}"}

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.asked.set()
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client):
        if not self.opened.wait(2 * PATIENCE):
            return client.close()
        store = socket.create_connection(self.store, PATIENCE)
        store.settimeout(None)
        threading.Thread(target=pass_on, args=[store, client], daemon=True).start()
        pass_on(client, store)


def pass_on(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def state(binary, uri):
    return json.loads(run(binary, "disk", "info", uri, "--json"))["state"]


class Scene:
    """A gateway with a disk that is open, one in a store that does not answer, and one that comes after it."""

    def __init__(self, binary, manager, gate, url, timeout):
        self.binary, self.manager, self.url = binary, manager, url
        self.before = f"dir:{manager.folder}/bucket/before"
        self.after = manager.folder / "after.img"
        (manager.folder / "bucket").mkdir()
        run(binary, "disk", "create", self.before, "--size", 4 << 20)
        exports = [f"before={self.before}", f"slow={url}", f"after=file:{self.after},size=1M"]
        flags = [f"--export={export}" for export in exports]
        flags += [f"--listen=unix:{manager.folder}/nbd.sock", f"--shutdown-timeout={timeout}"]
        self.gateway = manager.start(*flags, environment=gate.environment())
        wait_until("the store is asked", gate.asked.is_set)
        assert state(binary, self.before) == "open"
        assert not any("READY" in news for news in self.signal())

    def signal(self):
        """SIGTERM; returns what was notified until it is told that the gateway stops."""
        os.kill(self.gateway.process, signal.SIGTERM)
        news, before = self.manager.hear("STOPPING=1", lambda news: news.get("STOPPING") == "1")
        assert news["STATUS"].startswith("stopping") and int(news["EXTEND_TIMEOUT_USEC"]) >= 10_000_000, news
        return before

    def ended(self, code, *words):
        assert self.gateway.wait() == code, self.gateway.log()
        log = self.gateway.log()
        assert all(word in log for word in words) and "panicked" not in log, f"not all of {words} in\n{log}"
        assert state(self.binary, self.before) == "closed", "what was open is closed"
        assert not self.after.exists(), "a further export was opened"
        assert not (self.manager.folder / "nbd.sock").exists(), "the socket is removed"
        while news := self.manager.heard(0.01):
            assert "READY" not in news, news


def a_store_that_never_answers_holds_up_a_stop_until_the_shutdown_timeout(binary, store, url):
    with Manager(binary) as manager, Gate(store) as gate:
        scene = Scene(binary, manager, gate, url, "2s")
        begun = time.monotonic()
        scene.ended(1, 'export "slow" was still being opened at the shutdown timeout')
        assert time.monotonic() - begun < AT_ONCE


def a_disk_that_opens_meanwhile_is_closed_again(binary, store, url):
    with Manager(binary) as manager, Gate(store) as gate:
        scene = Scene(binary, manager, gate, url, "10m")
        # The disk before it is not kept waiting.
        wait_until("what is open is closed", lambda: state(binary, scene.before) == "closed")
        gate.opened.set()
        scene.ended(0, "stopped before serving")
        _, _, after = scene.gateway.log().partition("stopping before")
        assert "disk opened" in after and "ERROR" not in after, scene.gateway.log()
        assert state(binary, url) == "closed"


def a_disk_that_fails_to_open_meanwhile_makes_no_failure_of_the_stop(binary, store, url):
    with Manager(binary) as manager, Gate(store) as gate:
        scene = Scene(binary, manager, gate, f"{url}-that-is-not-there", "10m")
        gate.opened.set()
        scene.ended(0, "the export that was being opened failed", "stopped before serving")


def a_second_signal_waits_for_nothing(binary, store, url):
    with Manager(binary) as manager, Gate(store) as gate:
        scene = Scene(binary, manager, gate, url, "10m")
        wait_until("what is open is closed", lambda: state(binary, scene.before) == "closed")
        begun = time.monotonic()
        os.kill(scene.gateway.process, signal.SIGTERM)
        scene.ended(1, "second signal")
        assert time.monotonic() - begun < AT_ONCE


def main():
    binary, url, *environment = sys.argv[1:]
    os.environ.update(pair.split("=", 1) for pair in environment)
    host, port = os.environ["AWS_ENDPOINT"].removeprefix("http://").split(":")
    store = (host, int(port))
    run(binary, "disk", "create", url, "--size", 4 << 20)
    a_store_that_never_answers_holds_up_a_stop_until_the_shutdown_timeout(binary, store, url)
    a_disk_that_opens_meanwhile_is_closed_again(binary, store, url)
    a_disk_that_fails_to_open_meanwhile_makes_no_failure_of_the_stop(binary, store, url)
    a_second_signal_waits_for_nothing(binary, store, url)


main()
