"""Plays systemd towards the gateway: passes sockets, listens to what it notifies, waits for its end."""

import fcntl
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

# For the gateway to say or do what a test waits for.
PATIENCE = 60
# Above the descriptors that are passed.
FREE_DESCRIPTOR = 50


def wait_until(what, is_so):
    """Polls until `is_so()` is true, and returns what it gave."""
    deadline = time.monotonic() + PATIENCE
    while not (found := is_so()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not in time: {what}")
        time.sleep(0.01)
    return found


class Manager:
    """A folder, a notification socket, and the gateways that were started in it; all of them end with it."""

    def __init__(self, binary, abstract=False):
        self.binary = binary
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="nbdgate-systemd-"))
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.name = f"@nbdgate-test-{os.getpid()}-{id(self)}" if abstract else str(self.folder / "notify")
        self.notified.bind("\0" + self.name[1:] if abstract else self.name)
        self.notified.settimeout(PATIENCE)
        self.gateways = []

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for gateway in self.gateways:
            # First, for a gateway may refuse to end.
            if kind is not None:
                print(f"--- log of the gateway\n{gateway.log()}", flush=True)
            gateway.kill()
        self.notified.close()
        shutil.rmtree(self.folder)

    def start(self, *flags, sockets=(), environment=None, wrapper=(), listen_pid="$$"):
        """Starts a gateway as systemd starts services; `sockets` are pairs of a name and a socket."""
        environment = {**os.environ, "NOTIFY_SOCKET": self.name, **(environment or {})}
        environment.pop("NBDGATE_LOG", None)
        log = self.folder / f"log-{len(self.gateways)}"
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        copies = []
        for number, (_, passed) in enumerate(sockets):
            copies.append(fcntl.fcntl(passed, fcntl.F_DUPFD_CLOEXEC, FREE_DESCRIPTOR))
            actions.append((os.POSIX_SPAWN_DUP2, copies[-1], 3 + number))
        prefix = ""
        if sockets:
            environment["LISTEN_FDS"] = str(len(sockets))
            environment["LISTEN_FDNAMES"] = ":".join(name for name, _ in sockets)
            prefix = f"LISTEN_PID={listen_pid} "
        # The shell becomes the gateway, so that it knows the process id beforehand.
        command = ["/bin/sh", "-c", f'{prefix}exec "$@"', "sh", *map(str, wrapper), self.binary, "serve", *map(str, flags)]
        process = os.posix_spawn("/bin/sh", command, environment, file_actions=actions)
        for copy in copies:
            os.close(copy)
        gateway = Gateway(process, log)
        self.gateways.append(gateway)
        return gateway

    def heard(self, timeout=PATIENCE):
        """The next datagram as a dictionary, or None."""
        self.notified.settimeout(timeout)
        try:
            lines = self.notified.recv(65536).decode().splitlines()
        except TimeoutError:
            return None
        return dict(line.split("=", 1) for line in lines)

    def hear(self, what, is_it):
        """The first datagram that is waited for; what came before is returned too."""
        before = []
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            news = self.heard(max(0.01, deadline - time.monotonic()))
            if news is not None and is_it(news):
                return news, before
            before.append(news)
        raise AssertionError(f"not heard in time: {what}; but {before}")

    def ready(self):
        return self.hear("READY=1", lambda news: news.get("READY") == "1")


class Gateway:
    """A process that the manager started."""

    def __init__(self, process, log):
        self.process = process
        self.log_file = log
        self.status = None

    def log(self):
        return self.log_file.read_text() if self.log_file.exists() else ""

    def told(self, key):
        """The rest of the word that follows `key` in the log."""
        _, found, rest = self.log().partition(key)
        return rest.split()[0] if found else None

    def ended(self):
        if self.status is None:
            process, status = os.waitpid(self.process, os.WNOHANG)
            if process:
                self.status = status
        return self.status is not None

    def wait(self):
        """Its exit code, or the negative signal."""
        wait_until("the gateway ends", self.ended)
        return os.waitstatus_to_exitcode(self.status)

    def stop(self):
        os.kill(self.process, signal.SIGTERM)
        code = self.wait()
        assert code == 0 and "stopped cleanly" in self.log(), f"{code}\n{self.log()}"
        assert "ERROR" not in self.log(), self.log()

    def kill(self):
        if not self.ended():
            os.kill(self.process, signal.SIGKILL)
            self.wait()

    def threads(self, name):
        """The ids of its threads of this name."""
        tasks = pathlib.Path(f"/proc/{self.process}/task")
        return [int(task.name) for task in tasks.iterdir() if (task / "comm").read_text().strip() == name]


def unix_listener(path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    return listener


def tcp_listener(host="127.0.0.1"):
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((host, 0))
    listener.listen()
    return listener


def run(*command, **more):
    """Runs a program to its end; what it printed if it succeeded."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=PATIENCE, **more)
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
