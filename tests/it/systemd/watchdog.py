"""The watchdog is fed while every thread turns, and only then; /livez tells the same.

A thread is made to hang as a debugger stops it: it alone, the rest of the process goes on. Stopped where it enters a
write, it is as if the kernel kept it there.

    watchdog.py NBDGATE
"""

import contextlib
import ctypes
import os
import struct
import sys
import time
import urllib.error
import urllib.request

import nbd

from manager import Manager, wait_until

PTRACE_DETACH = 17
PTRACE_SYSCALL = 24
PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
PTRACE_GET_SYSCALL_INFO = 0x420E
# PTRACE_O_TRACESYSGOOD: stops at system calls are told from others.
TRACE_SYSTEM_CALLS = 1
# Of struct ptrace_syscall_info: whether a system call is entered, and its number.
SYSCALL_INFO = struct.Struct("B23xQ")
SYSCALL_ENTERED = 1
# pwrite64 and pwritev2.
WRITES = {"x86_64": {18, 328}, "aarch64": {68, 287}}[os.uname().machine]
# __WALL of waitpid(2): threads of other processes are waited for too.
WALL = 0x40000000
# System calls between a request's arrival and its write.
MOST_CALLS = 1000
# What systemd would be told by WatchdogSec=2.
INTERVAL = 2.0
# For a watchdog that is not fed at all.
SHORT_INTERVAL = 0.2

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
LIBC.ptrace.restype = ctypes.c_long


def ptrace(request, thread, address=None, data=None):
    if LIBC.ptrace(request, thread, address, data) == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"ptrace({request:#x}, {thread}): {os.strerror(error)}")


def freeze(thread):
    ptrace(PTRACE_SEIZE, thread, None, TRACE_SYSTEM_CALLS)
    ptrace(PTRACE_INTERRUPT, thread)
    wait_until("the thread is stopped", lambda: os.waitpid(thread, os.WNOHANG | WALL)[0])


def freeze_in_a_write(thread):
    """Lets a frozen thread go on until it enters a write."""
    info = ctypes.create_string_buffer(SYSCALL_INFO.size)
    for _ in range(MOST_CALLS):
        ptrace(PTRACE_SYSCALL, thread)
        wait_until("the thread makes a system call", lambda: os.waitpid(thread, os.WNOHANG | WALL)[0])
        ptrace(PTRACE_GET_SYSCALL_INFO, thread, SYSCALL_INFO.size, info)
        kind, number = SYSCALL_INFO.unpack(info.raw)
        if kind == SYSCALL_ENTERED and number in WRITES:
            return
    raise AssertionError("the thread does not write")


def thaw(thread):
    # A thread that is gone needs nothing.
    with contextlib.suppress(ProcessLookupError):
        ptrace(PTRACE_DETACH, thread)


@contextlib.contextmanager
def frozen(threads):
    """These threads do not turn inside of the block. Nobody can wait for the end of a process while a thread of it is held."""
    held = []
    try:
        for thread in threads:
            freeze(thread)
            held.append(thread)
        yield
    finally:
        for thread in held:
            thaw(thread)


def livez(address):
    try:
        with urllib.request.urlopen(f"http://{address}/livez", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def fed(manager, times):
    """So many signs of life come, none later than half of the interval and some for a loaded machine."""
    last = time.monotonic()
    for _ in range(times):
        manager.hear("WATCHDOG=1", lambda news: news.get("WATCHDOG") == "1")
        now = time.monotonic()
        assert now - last < INTERVAL, f"a sign of life after {now - last} s"
        last = now


def not_fed(manager, seconds):
    """No sign of life comes for so long."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        news = manager.heard(left)
        assert news is None or "WATCHDOG" not in news, f"fed: {news}"


def a_thread_that_hangs_stops_the_watchdog(binary, engine, name, count, reachable):
    environment = {"WATCHDOG_USEC": str(int(INTERVAL * 1e6))}
    with Manager(binary) as manager:
        flags = ["--export=vm=mem:1M", f"--listen=unix:{manager.folder}/nbd.sock", "--metrics=127.0.0.1:0"]
        gateway = manager.start(*flags, f"--io-engine={engine}", "--io-threads=2", environment=environment)
        manager.ready()
        address = gateway.told("serving metrics address=")
        fed(manager, 5)
        wait_until("it is alive", lambda: livez(address) == (200, "alive\n"))
        threads = gateway.threads(name)
        assert len(threads) == count, f"{name}: {threads}"
        with frozen(threads):
            told, _ = manager.hear("the thread is named", lambda news: f"{name} hangs" in news.get("STATUS", ""))
            assert "WATCHDOG" not in told, told
            not_fed(manager, 2 * INTERVAL)
            if reachable:
                assert livez(address) == (503, f"{name} hangs\n")
            assert "a thread hangs" in gateway.log(), gateway.log()
        manager.hear("it goes on", lambda news: news.get("WATCHDOG") == "1" and "hangs" not in news.get("STATUS", "hangs"))
        fed(manager, 3)
        wait_until("it is alive again", lambda: livez(address) == (200, "alive\n"))


def a_device_that_does_not_answer_is_no_hang(binary):
    environment = {"WATCHDOG_USEC": str(int(INTERVAL * 1e6))}
    with Manager(binary) as manager:
        path = manager.folder / "nbd.sock"
        flags = [f"--export=vm=file:{manager.folder}/disk.img,size=1M", f"--listen=unix:{path}", "--metrics=127.0.0.1:0"]
        gateway = manager.start(*flags, "--io-threads=1", environment=environment)
        manager.ready()
        address = gateway.told("serving metrics address=")
        client = nbd.NBD()
        client.connect_uri(f"nbd+unix:///vm?socket={path}")
        [thread] = gateway.threads("nbdgate-io-0")
        freeze(thread)
        cookie = client.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(b"w" * 4096)), 0)
        freeze_in_a_write(thread)
        manager.hear("it waits", lambda news: news.get("STATUS", "").startswith("nbdgate-io-0 waits for a device"))
        # Longer than a thread may be silent.
        fed(manager, 6)
        assert livez(address) == (200, "alive\n"), gateway.log()
        log = gateway.log()
        assert "a thread waits for a device" in log and "a thread hangs" not in log, log
        thaw(thread)
        wait_until("the write is answered", lambda: client.poll(100) >= 0 and client.aio_command_completed(cookie))
        manager.hear("it goes on", lambda news: news.get("STATUS", "").startswith("serving"))
        assert client.pread(4096, 0) == b"w" * 4096
        client.shutdown()
        assert livez(address) == (200, "alive\n") and "a thread hangs" not in gateway.log(), gateway.log()


def a_watchdog_of_another_process_is_not_fed(binary):
    with Manager(binary) as manager:
        environment = {"WATCHDOG_USEC": str(int(SHORT_INTERVAL * 1e6)), "WATCHDOG_PID": "1"}
        flags = ["--export=vm=mem:1M", f"--listen=unix:{manager.folder}/nbd.sock"]
        gateway = manager.start(*flags, environment=environment)
        ready, before_ready = manager.ready()
        not_fed(manager, 5 * SHORT_INTERVAL)
        gateway.stop()
        stopping, before_stopping = manager.hear("STOPPING=1", lambda news: "STOPPING" in news)
        everything = [*before_ready, ready, *before_stopping, stopping]
        assert all("WATCHDOG" not in news for news in everything), everything
        not_fed(manager, 0.01)


def main():
    binary = sys.argv[1]
    for engine in ["auto", "epoll"]:
        a_thread_that_hangs_stops_the_watchdog(binary, engine, "nbdgate-io-1", 1, reachable=True)
    # Who answers /livez hangs itself then, and so does not answer.
    a_thread_that_hangs_stops_the_watchdog(binary, "epoll", "nbdgate-service", 2, reachable=False)
    a_device_that_does_not_answer_is_no_hang(binary)
    a_watchdog_of_another_process_is_not_fed(binary)


main()
