"""A process that was started here, or a daemon that one left behind: its number, whether it runs, its end."""

import os
import select
import signal
import subprocess
import time

START_SECONDS = 20
STOP_SECONDS = 20
POLL_SECONDS = 0.02


class Trouble(Exception):
    """Something that the user can mend; its text says how."""


class Child:
    """A process that stays in the foreground."""

    def __init__(self, command, log):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def pid(self):
        return self.process.pid

    def ended(self):
        """Its exit code, None as long as it runs."""
        return self.process.poll()

    def stop(self):
        """Ends it, asking first."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Daemon:
    """A process that detached itself; a descriptor of it makes sure that no other is ended in its place."""

    def __init__(self, command, log, pid_file):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False,
                              timeout=START_SECONDS)
        if done.returncode != 0:
            raise Trouble(f"{command[0]} ended with {done.returncode}")
        deadline = time.monotonic() + START_SECONDS
        while not (pid_file.exists() and pid_file.read_text().strip()):
            if time.monotonic() > deadline:
                raise Trouble(f"{command[0]} did not tell its number in {pid_file.name}")
            time.sleep(POLL_SECONDS)
        self.pid = int(pid_file.read_text())
        self.descriptor = os.pidfd_open(self.pid)

    def wait(self, seconds):
        """Whether it ended within so many seconds."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def ended(self):
        """-1 when it has ended: its exit code is another process's to know."""
        return -1 if self.wait(0) else None

    def stop(self):
        """Ends it, asking first."""
        for request in (signal.SIGTERM, signal.SIGKILL):
            if self.wait(0):
                break
            signal.pidfd_send_signal(self.descriptor, request)
            if self.wait(STOP_SECONDS):
                break
        os.close(self.descriptor)
