"""The gateway works under the system call filters of its unit, on every storage: nothing that they refuse is even tried.

    confinement.py NBDGATE UNIT S3-URL NAME=VALUE...

The URL names a disk that is made in an S3 store; the rest is the environment in which it can be reached.
"""

import os
import pathlib
import sys
import urllib.request

import nbd

from manager import Manager, run, unix_listener, wait_until

PYTHON = "/usr/bin/python3"
SIZE = 4 << 20


def wrapper(unit):
    """No capabilities, and the filters."""
    confined = [PYTHON, pathlib.Path(__file__).with_name("confined.py"), unit]
    if os.geteuid() != 0:
        return confined
    return ["/usr/bin/setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", *confined]


def use(uri):
    """What guests do, and more: every command, some at a time."""
    client = nbd.NBD()
    client.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    client.connect_uri(uri)
    data = os.urandom(1 << 20)
    client.pwrite(data, 0)
    client.flush()
    for offset in range(0, 1 << 20, 64 << 10):
        client.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data[:4096])), 2 * SIZE // 4 + offset)
    while client.aio_in_flight() > 0:
        client.poll(-1)
    client.pwrite(data[:4096], 0, nbd.CMD_FLAG_FUA)
    client.zero(64 << 10, 64 << 10)
    client.trim(64 << 10, 256 << 10)
    client.flush()
    client.block_status(SIZE, 0, lambda *_: 0)
    assert client.pread(4096, 0) == data[:4096]
    assert client.pread(512 << 10, 512 << 10) == data[512 << 10 :]
    assert client.pread(64 << 10, 64 << 10) == bytes(64 << 10)
    client.shutdown()


def disks(binary, folder, url):
    """An export of each kind of storage."""
    bucket, key = folder / "bucket", folder / "key"
    bucket.mkdir()
    key.write_bytes(os.urandom(32))
    run(binary, "disk", "create", f"dir:{bucket}/plain", "--size", SIZE, "--key-file", key)
    run(binary, "disk", "create", f"dir:{bucket}/fast", "--size", SIZE, "--flush", "journal")
    return {
        "mem": f"mem:{SIZE}",
        "file": f"file:{folder}/disk.img,size={SIZE}",
        "direct": f"file:{folder}/direct.img,direct,size={SIZE}",
        "plain": f"dir:{bucket}/plain,key-command=cat {key}",
        "fast": f"dir:{bucket}/fast,journal={folder}/journal,journal-size=64M",
        "s3": url,
        "rocksdb": f"rocksdb:{folder}/rocksdb,size={SIZE}",
    }


def everything_works_under_the_filters(binary, unit, url, engine):
    with Manager(binary) as manager:
        url = f"{url}-{engine}"
        run(binary, "disk", "create", url, "--size", SIZE)
        path = manager.folder / "nbd.sock"
        exports = disks(binary, manager.folder, url)
        flags = [f"--export={name}={uri}" for name, uri in exports.items()]
        flags += [f"--cache={manager.folder}/cache", "--cache-size=16M", f"--io-engine={engine}"]
        flags += ["--metrics=127.0.0.1:0", "--listen=systemd", "--listen=tcp:localhost:0"]
        environment = {"WATCHDOG_USEC": "30000000"}
        gateway = manager.start(
            *flags, sockets=[("nbd", unix_listener(path))], wrapper=wrapper(unit), environment=environment
        )
        manager.ready()
        status = pathlib.Path(f"/proc/{gateway.process}/status").read_text()
        assert "\nSeccomp:\t2\n" in status and "\nNoNewPrivs:\t1\n" in status, status
        assert "\nCapEff:\t0000000000000000\n" in status, status
        for name in exports:
            use(f"nbd+unix:///{name}?socket={path}")
        with urllib.request.urlopen(f"http://{gateway.told('serving metrics address=')}/metrics", timeout=10) as answer:
            assert b"nbdgate_export" in answer.read()
        gateway.stop()
        return gateway.told("engine=")


def io_uring_is_used_where_the_kernel_has_it(binary, unit, url):
    with Manager(binary) as free:
        gateway = free.start("--export=vm=mem:1M", f"--listen=unix:{free.folder}/nbd.sock")
        engine = wait_until("it tells the engine", lambda: gateway.told("engine="))
    assert everything_works_under_the_filters(binary, unit, url, "auto") == engine


def a_call_that_is_not_allowed_is_deadly_here(binary, unit):
    """Or the other checks would show nothing."""
    with Manager(binary) as manager:
        poor = manager.folder / "poor.service"
        text = pathlib.Path(unit).read_text()
        poor.write_text(text.replace("SystemCallFilter=~", "SystemCallFilter=~epoll_wait epoll_pwait "))
        gateway = manager.start("--export=vm=mem:1M", "--listen=tcp:localhost:0", wrapper=wrapper(poor))
        assert gateway.wait() < 0, gateway.log()


def main():
    binary, unit, url, *environment = sys.argv[1:]
    os.environ.update(pair.split("=", 1) for pair in environment)
    a_call_that_is_not_allowed_is_deadly_here(binary, unit)
    io_uring_is_used_where_the_kernel_has_it(binary, unit, url)
    everything_works_under_the_filters(binary, unit, url, "epoll")


main()
