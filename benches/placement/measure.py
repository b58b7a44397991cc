#!/usr/bin/env python3
"""Measures what a disk in an object store costs the gateway that serves it.

    cargo build --release -p nbdgate -p nbdgate-s3-server
    python3 benches/placement/measure.py --programs target/release --write benches/placement/measured.json

Takes half an hour. The store is the S3 server of this repository, which answers each request after a fixed time
(`--get-ms`, `--put-ms`); memory and requests do not depend on it, the times to open do. The takeover by another host is
measured with another host name in a UTS namespace, which needs root. The file written is what the simulation takes.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from client import Crowd
from gateways import Gateway, Store, Trouble, folder

# What a client asks of a busy disk, each second; and the size of the disks.
WRITES, READS = 4, 4
SIZE = "8G"
SERVE = {"on-unclean": '"serve"'}


def parse():
    parser = argparse.ArgumentParser(description="measure what a disk costs its gateway")
    parser.add_argument("--programs", type=Path, default=Path("target/release"), help="where the programs are")
    parser.add_argument("--gateway", type=Path, help="this nbdgate instead of the one there")
    parser.add_argument("--write", type=Path, help="the file for the numbers; printed if not given")
    parser.add_argument("--disks", type=int, nargs="+", default=[1, 100, 300])
    parser.add_argument("--seconds", type=int, default=60, help="how long each state is watched")
    parser.add_argument("--get-ms", type=int, default=15)
    parser.add_argument("--put-ms", type=int, default=30)
    return parser.parse_args()


class Bench:
    """One store, and folders of gateways beside it."""

    def __init__(self, args, stack):
        self.args = args
        self.program = str(args.gateway or args.programs / "nbdgate")
        self.store = Store(str(args.programs / "nbdgate-s3-server"), stack, args.get_ms, args.put_ms)
        self.made = 0

    def disks(self, count, flags=()):
        """New disks, as (name, URI)."""
        self.store.fast()
        begun = self.made
        self.made += count
        disks = [(f"disk{number:04}", f"s3://bucket/disks/disk{number:04}") for number in range(begun, self.made)]
        for _, uri in disks:
            subprocess.run([self.program, "disk", "create", uri, "--size", SIZE, *flags], check=True,
                           env=self.store.environment, stdout=subprocess.DEVNULL)
        self.store.slow()
        return disks

    def gateway(self, at, disks, options=SERVE, host=None):
        return Gateway(self.program, at, self.store.environment, [(name, uri, options) for name, uri in disks], host)


def watched(gateway, disks, seconds, during=None):
    """What is held at the end of that time, and the requests to the store in it, for each disk and hour."""
    before, cpu = gateway.requests(), gateway.held()["cpu_seconds"]
    begun = time.monotonic()
    if during:
        during()
    else:
        time.sleep(seconds)
    took = time.monotonic() - begun
    after, held = gateway.requests(), gateway.held()
    hourly = {key: round((value - before.get(key, 0)) / disks * 3600 / took, 1) for key, value in after.items()}
    return held | {
        "cpu_seconds": round(held["cpu_seconds"] - cpu, 2),
        "seconds": round(took, 1),
        "requests_per_disk_hour": {key: value for key, value in sorted(hourly.items()) if value},
    }


def many(bench, count):
    """One gateway with so many disks, from its first start to its end."""
    row = {"disks": count}
    disks = bench.disks(count)
    seconds = bench.args.seconds
    with folder() as at:
        gateway = bench.gateway(at, disks)
        row["open_new_seconds"] = round(gateway.ready_seconds, 3)
        row["opened"] = gateway.held()
        row["requests_to_open"] = gateway.requests()
        row["idle"] = watched(gateway, count, seconds)
        crowd = Crowd(gateway.socket, [name for name, _ in disks])
        row["connected"] = gateway.held()
        row["busy"] = watched(gateway, count, seconds, lambda: crowd.work(seconds, WRITES, READS))
        times = sorted(crowd.flush_seconds)
        row["busy"] |= {"flushes_per_disk_second": round(crowd.flushes / count / row["busy"]["seconds"], 3),
                        "flush_p50_seconds": round(times[len(times) // 2], 4),
                        "flush_p99_seconds": round(times[len(times) * 99 // 100], 4)}
        crowd.close()
        row["idle_after"] = watched(gateway, count, seconds)
        row["stop_seconds"] = round(gateway.stop(), 3)
        gateway = bench.gateway(at, disks)
        row["open_clean_seconds"] = round(gateway.ready_seconds, 3)
        row["opened_again"] = gateway.held()
        gateway.kill()
        gateway = bench.gateway(at, disks)
        row["open_after_kill_seconds"] = round(gateway.ready_seconds, 3)
        gateway.stop()
    return row


def takeover(bench, count):
    """A gateway dies and one with another host name takes its disks."""
    disks = bench.disks(count)
    with folder() as at:
        bench.gateway(at, disks).kill()
        gateway = bench.gateway(at, disks, SERVE | {"steal": "true"}, host="another-host")
        seconds = gateway.ready_seconds
        gateway.stop()
    return {"disks": count, "seconds": round(seconds, 3)}


def replay(bench, mebibytes):
    """A gateway dies with so much in its journal that the bucket lacks; the next one on the host replays it."""
    [disk] = bench.disks(1, ("--flush", "journal"))
    with folder() as at:
        options = SERVE | {"journal": f'"{at}/journal"', "journal-size": '"2G"', "upload-delay": '"60s"'}
        gateway = bench.gateway(at, [disk], options)
        if mebibytes:
            bench.store.delays(bench.args.get_ms, 600_000)
            crowd = Crowd(gateway.socket, [disk[0]])
            for number in range(mebibytes):
                crowd.clients[0].write(number << 20, os.urandom(1 << 20))
            crowd.close()
        lag = gateway.value("nbdgate_journal_lag_bytes")
        gateway.kill()
        bench.store.slow()
        gateway = bench.gateway(at, [disk], options)
        seconds = gateway.ready_seconds
        gateway.stop()
    return {"lag_bytes": int(lag), "seconds": round(seconds, 3)}


def without_lease(bench, count):
    """Requests of idle disks whose lease is 0."""
    disks = bench.disks(count, ("--lease", "0s"))
    with folder() as at:
        gateway = bench.gateway(at, disks)
        row = watched(gateway, count, bench.args.seconds)
        gateway.stop()
    return row


def journaled(bench, count):
    """Busy disks whose FLUSH waits for a journal and not for the store."""
    disks = bench.disks(count, ("--flush", "journal"))
    with folder() as at:
        exports = [(name, uri, SERVE | {"journal": f'"{at}/{name}.journal"', "journal-size": '"64M"'}) for name, uri in disks]
        gateway = Gateway(bench.program, at, bench.store.environment, exports)
        crowd = Crowd(gateway.socket, [name for name, _ in disks])
        row = {"disks": count} | watched(gateway, count, bench.args.seconds,
                                         lambda: crowd.work(bench.args.seconds, WRITES, READS))
        crowd.close()
        gateway.stop()
    return row


def in_a_directory(bench, count):
    """The same disks in a local directory used as a bucket: no network, no delay."""
    with folder() as at:
        disks = [(f"disk{number:04}", f"dir:{at}/bucket/disk{number:04}") for number in range(count)]
        for _, uri in disks:
            subprocess.run([bench.program, "disk", "create", uri, "--size", SIZE], check=True, stdout=subprocess.DEVNULL)
        gateway = bench.gateway(at, disks)
        row = {"disks": count, "open_new_seconds": round(gateway.ready_seconds, 3), "opened": gateway.held()}
        crowd = Crowd(gateway.socket, [name for name, _ in disks])
        row["busy"] = watched(gateway, count, bench.args.seconds,
                              lambda: crowd.work(bench.args.seconds, WRITES, READS))
        crowd.close()
        gateway.stop()
    return row


def empty_process(bench):
    """A gateway without a disk in an object store."""
    with folder() as at:
        gateway = Gateway(bench.program, at, bench.store.environment, [("nothing", "mem:1M", {})])
        held = gateway.held()
        gateway.stop()
    return held


def told(what, row):
    print(f"measure: {what}: {json.dumps(row)}", file=sys.stderr, flush=True)
    return row


def main():
    args = parse()
    with ExitStack() as stack:
        bench = Bench(args, stack)
        version = subprocess.run([bench.program, "--version"], check=True, capture_output=True, text=True).stdout.strip()
        found = {
            "about": {
                "command": "python3 benches/placement/measure.py "
                           f"--disks {' '.join(map(str, args.disks))} --seconds {args.seconds} "
                           f"--get-ms {args.get_ms} --put-ms {args.put_ms}",
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "version": version,
                "machine": f"{os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, {platform.machine()}",
                "busy": f"{WRITES} writes of 4 KiB, one FLUSH and {READS} reads of 4 KiB each second on each disk",
                "get_ms": args.get_ms,
                "put_ms": args.put_ms,
            },
            "empty_process": told("empty process", empty_process(bench)),
            "many": [told("many", many(bench, count)) for count in args.disks],
            "takeover": [told("takeover", takeover(bench, count)) for count in (1, 4)],
            "replay": [told("replay", replay(bench, mebibytes)) for mebibytes in (0, 256)],
            "idle_without_lease": told("without lease", without_lease(bench, 20)),
            "busy_with_journal": told("with a journal", journaled(bench, 20)),
            "directory": told("directory", in_a_directory(bench, 100)),
        }
    text = json.dumps(found, indent=1) + "\n"
    if args.write:
        args.write.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    try:
        main()
    except Trouble as trouble:
        sys.exit(f"measure: {trouble}")
