"""Sockets that systemd passes: served, kept over a restart, and refused by name where they are wrong.

    sockets.py NBDGATE
"""

import errno
import os
import socket
import subprocess
import sys
import threading

import nbd

from manager import PATIENCE, Manager, tcp_listener, unix_listener, wait_until


def reads(uri):
    client = nbd.NBD()
    client.connect_uri(uri)
    data = client.pread(512, 0)
    client.shutdown()
    return data == bytes(512)


def reads_unless_refused(uri):
    """To bind and to listen are two steps, and who connects in between is refused."""
    try:
        return reads(uri)
    except nbd.Error as error:
        if error.errnum != errno.ECONNREFUSED:
            raise
        return False


def all_of_them_are_served_and_stay_with_systemd(binary):
    with Manager(binary) as manager:
        path = manager.folder / "nbd.sock"
        tcp, unix = tcp_listener(), unix_listener(path)
        port = tcp.getsockname()[1]
        start = lambda: manager.start("--export=vm=mem:1M", "--listen=systemd", sockets=[("nbd", unix), ("local", tcp)])
        first = start()
        manager.ready()
        assert reads(f"nbd+unix:///vm?socket={path}") and reads(f"nbd://127.0.0.1:{port}/vm")
        assert f"address=unix:{path}" in first.log() and f"address=tcp:127.0.0.1:{port}" in first.log(), first.log()
        first.stop()
        assert path.is_socket(), "the file is systemd's to remove"
        # Who comes between two gateways waits for the second.
        outcome = []
        waiting = threading.Thread(target=lambda: outcome.append(reads(f"nbd+unix:///vm?socket={path}")))
        waiting.start()
        start()
        waiting.join(PATIENCE)
        assert outcome == [True]


def a_name_chooses_and_own_listeners_stand_beside(binary):
    with Manager(binary) as manager:
        path, own = manager.folder / "nbd.sock", manager.folder / "own.sock"
        names = [("nbd", unix_listener(path)), ("local", tcp_listener()), ("nbd", tcp_listener())]
        flags = ["--export=vm=mem:1M", "--listen=systemd:nbd", f"--listen=unix:{own}"]
        gateway = manager.start(*flags, sockets=names)
        assert gateway.wait() == 1, gateway.log()
        assert "--listen systemd:local" in gateway.log() and not own.exists(), gateway.log()
        gateway = manager.start(*flags, "--listen=systemd:local", sockets=names)
        manager.ready()
        for _, listener in names[1:]:
            assert reads(f"nbd://127.0.0.1:{listener.getsockname()[1]}/vm")
        assert reads(f"nbd+unix:///vm?socket={path}") and reads(f"nbd+unix:///vm?socket={own}")
        gateway.stop()
        assert path.is_socket() and not own.exists()


def abstract_sockets_are_served(binary):
    with Manager(binary) as manager:
        name = f"nbdgate-test-{os.getpid()}"
        gateway = manager.start("--export=vm=mem:1M", "--listen=systemd", sockets=[("nbd", unix_listener("\0" + name))])
        manager.ready()
        assert f"address=unix:@{name}" in gateway.log(), gateway.log()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect("\0" + name)
            assert client.recv(8) == b"NBDMAGIC"


def what_is_wrong_is_refused_before_anything_is_opened(binary):
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", 0))
    connection, _other_end = socket.socketpair()
    everywhere = tcp_listener("0.0.0.0")
    file = open("/dev/null", "rb")
    right = tcp_listener()
    for flags, sockets, pid, words in [
        (["--listen=systemd"], [], "$$", "it passed no socket"),
        (["--listen=systemd:nbd"], [], "$$", "it passed no socket"),
        (["--listen=systemd"], [("nbd", right)], "1", "it passed no socket"),
        (["--listen=systemd:nbd"], [("other", right)], "$$", "passed no socket of this name, but other"),
        (["--listen=tcp:127.0.0.1:0"], [("nbd", right)], "$$", "add --listen systemd:nbd"),
        (["--listen=systemd"], [("nbd", datagrams)], "$$", "neither a TCP nor a Unix stream socket"),
        (["--listen=systemd"], [("nbd", file)], "$$", "neither a TCP nor a Unix stream socket"),
        (["--listen=systemd"], [("nbd", connection)], "$$", "not a listening socket"),
        (["--listen=systemd"], [("nbd", everywhere)], "$$", "--allow-remote-plaintext"),
    ]:
        with Manager(binary) as manager:
            image = manager.folder / "disk.img"
            gateway = manager.start(f"--export=vm=file:{image},size=1M", *flags, sockets=sockets, listen_pid=pid)
            assert gateway.wait() == 1, gateway.log()
            assert words in gateway.log() and "panicked" not in gateway.log(), f"{words!r} is not in\n{gateway.log()}"
            assert not image.exists(), "it was opened all the same"
    with Manager(binary) as manager:
        flags = ["--export=vm=mem:1M", "--listen=systemd", "--allow-remote-plaintext"]
        manager.start(*flags, sockets=[("nbd", everywhere)])
        manager.ready()
        assert reads(f"nbd://127.0.0.1:{everywhere.getsockname()[1]}/vm")


def the_real_activation_starts_it_with_the_first_client(binary):
    with Manager(binary) as manager:
        path = manager.folder / "nbd.sock"
        serve = [binary, "serve", "--export=vm=mem:1M", "--listen=systemd:nbd"]
        with open(manager.folder / "log", "wb") as log:
            activate = subprocess.Popen(
                ["systemd-socket-activate", f"--listen={path}", "--fdname=nbd", *serve], stdout=log, stderr=log
            )
        try:
            wait_until("it listens", path.is_socket)
            wait_until("it is read", lambda: reads_unless_refused(f"nbd+unix:///vm?socket={path}"))
            assert b"/nbdgate" in open(f"/proc/{activate.pid}/cmdline", "rb").read().split(b"\0")[0]
            activate.terminate()
            assert activate.wait(PATIENCE) == 0, (manager.folder / "log").read_text()
            assert path.is_socket()
        finally:
            activate.kill()
            activate.wait()


def main():
    binary = sys.argv[1]
    all_of_them_are_served_and_stay_with_systemd(binary)
    a_name_chooses_and_own_listeners_stand_beside(binary)
    abstract_sockets_are_served(binary)
    what_is_wrong_is_refused_before_anything_is_opened(binary)
    the_real_activation_starts_it_with_the_first_client(binary)


main()
