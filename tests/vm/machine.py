"""A virtual machine, and the conversation with the agent in it."""

import contextlib
import os
import re
import select
import socket
import subprocess
import time

from processes import DIES_WITH_US
from trouble import Trouble, expect

BOOT_SECONDS = 120
ANSWER_SECONDS = 90
CONSOLE_POLL_SECONDS = 0.05
END_SECONDS = 60
# What a kernel says when a disk failed it, or when it broke.
TROUBLE_IN_KERNEL = re.compile(
    r"I/O error|critical (target|medium) error|EXT4-fs (error|warning)|JBD2: .*rror|Buffer I/O|lost async page write"
    r"|Remounting filesystem read-only|blocked for more than|Kernel panic|Oops|BUG:|Call Trace|rcu: INFO|[Dd]ead connection"
)
TAIL_LINES = 60


def served_disk(gateway, export, reconnect_seconds):
    """Flags for a virtio disk behind a gateway, as docs/OPERATING.md gives them."""
    return [
        "-blockdev",
        f"driver=nbd,node-name=disk,server.type=unix,server.path={gateway.socket},export={export},"
        f"reconnect-delay={reconnect_seconds},discard=unmap,cache.direct=on",
        "-device", "virtio-blk-pci,drive=disk,bootindex=0",
    ]


class Machine:
    """One guest. Its console goes to a file; what is asked of it goes over a second serial port."""

    def __init__(self, emulator, accel, console, flags, processors=1):
        command, environment = emulator
        ours, theirs = socket.socketpair()
        with theirs, console.open("wb") as errors:
            command = [
                *DIES_WITH_US, *command, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-machine", "pc", "-accel", "tcg,thread=multi" if accel == "tcg" else accel,
                "-cpu", "qemu64", "-smp", str(processors), "-m", "256",
                "-chardev", f"file,id=console,path={console},append=on", "-serial", "chardev:console",
                "-chardev", f"socket,id=agent,fd={theirs.fileno()}", "-serial", "chardev:agent",
                *flags,
            ]
            self.process = subprocess.Popen(command, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=errors,
                                            stderr=errors, pass_fds=[theirs.fileno()])
        self.console = console
        self.agent = ours
        self.received = b""
        self.told = []
        self.number = 0
        # Where in the console's text unexpected trouble may begin.
        self.forgiven = 0

    def wait_until_it_runs(self):
        """Waits for the agent: the first program of the file system that the machine has booted from."""
        self.until(lambda line: line == "ready", BOOT_SECONDS, "booting")

    def run(self, command, seconds=ANSWER_SECONDS):
        """Runs a command in the guest, which must succeed; gives what it said."""
        self.number += 1
        number = str(self.number)
        said = []

        def answered(line):
            if line.startswith(f"{number}|"):
                said.append(line.split("|", 1)[1])
            return line.startswith(f"{number}=")

        self.agent.sendall(f"{number} {command}\n".encode())
        status = self.until(answered, seconds, f"running {command!r}").split("=")[1]
        text = "\n".join(said)
        expect(status == "0", f"{command!r} ended with {status} in the guest: {text}")
        return text

    def wait_for(self, told, seconds=ANSWER_SECONDS):
        """Waits until a command in the background tells this."""
        if told not in self.told:
            self.until(lambda line: line == f"+{told}", seconds, f"waiting for {told!r}")

    def wait_for_console(self, words, seconds=ANSWER_SECONDS):
        """Waits until the kernel says this: its console comes by another way than answers do, and later."""
        deadline = time.monotonic() + seconds
        while words not in self.text():
            expect(time.monotonic() < deadline, f"the guest's kernel did not say {words!r} within {seconds} s\n{self.tail()}")
            time.sleep(CONSOLE_POLL_SECONDS)

    def until(self, wanted, seconds, doing):
        deadline = time.monotonic() + seconds
        while True:
            line = self.line(deadline, seconds, doing)
            if line.startswith("+"):
                self.told.append(line[1:])
                expect(not line.startswith("+failed"), f"the guest told {line[1:]!r} while {doing}")
            if wanted(line):
                return line

    def line(self, deadline, seconds, doing):
        while b"\n" not in self.received:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self.agent], [], [], left)[0]
            if not ready:
                raise Trouble(f"the guest said nothing more for its {seconds} s while {doing}\n{self.tail()}")
            part = self.agent.recv(65536)
            if not part:
                raise Trouble(f"the machine ended while {doing}\n{self.tail()}")
            self.received += part
        line, self.received = self.received.split(b"\n", 1)
        return line.decode(errors="replace")

    def take_told(self):
        """What commands in the background told since the last time, and nothing that was not received yet."""
        told, self.told = self.told, []
        return told

    def power_off(self):
        """Shuts the guest down in good order, and sees that its kernel never complained."""
        self.run("sync; for place in $(awk '$3 == \"ext4\" && $2 != \"/\" { print $2 }' /proc/mounts); do umount $place; done")
        self.run("mount -o remount,ro / 2>/dev/null || true")
        self.agent.sendall(b"0 poweroff -f\n")
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired as problem:
            raise Trouble(f"the machine did not power off\n{self.tail()}") from problem
        expect(self.process.returncode == 0, f"the emulator ended with {self.process.returncode}\n{self.tail()}")
        self.check_console()

    def check_console(self):
        """No I/O error, no error of the file system, no trouble of the kernel; since `trouble_was_expected`, if ever."""
        bad = [line for line in self.text()[self.forgiven:].splitlines() if TROUBLE_IN_KERNEL.search(line) and "agent:" not in line]
        expect(not bad, "the guest's kernel complained:\n" + "\n".join(bad))

    def trouble_was_expected(self):
        """What the kernel complained about so far is what the test has caused."""
        self.forgiven = len(self.text())

    def cut_power(self):
        """Ends the machine at once; what it told before is still taken."""
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(ConnectionError):
            while part := self.agent.recv(65536):
                self.received += part
        whole = self.received.split(b"\n")[:-1]
        self.told += [line[1:].decode() for line in whole if line.startswith(b"+")]

    def text(self):
        return self.console.read_text(errors="replace")

    def tail(self):
        return "\n".join(["--- the end of its console:", *self.text().splitlines()[-TAIL_LINES:]])

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.agent.close()
