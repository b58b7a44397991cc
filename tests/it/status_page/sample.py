"""States that no gateway can be brought into at will, as the gateway would tell them."""

import time

# The gateway's clock in these states goes faster, so that what takes long is soon told.
FASTER = 6
BEGIN = time.time()

BOUNDS = [0.0001, 0.001, 0.01, 0.1, 1.0, None]
COMMANDS = ["block_status", "cache", "flush", "read", "trim", "write", "write_zeroes"]


def now():
    return BEGIN + FASTER * (time.time() - BEGIN)


def command(counts=(0, 0, 0, 0, 0, 0), errors=0, moved=None):
    """A command of which so many requests took up to each bound."""
    buckets, below = [], 0
    for bound, number in zip(BOUNDS, counts):
        below += number
        buckets.append({"le": bound, "count": below})
    # None before the first request, as the gateway tells it.
    return {"requests": below, "errors": errors, "bytes": moved, "seconds_sum": 0.0, "buckets": buckets if below else []}


def export(name, **other):
    commands = {each: command(moved=0 if each in ("read", "write") else None) for each in COMMANDS}
    commands |= other.pop("commands", {})
    told = {
        "name": name,
        "storage": "memory",
        "size_bytes": 1 << 30,
        "read_only": False,
        "description": None,
        "connections": 0,
        "in_flight": 0,
        "flush_latched": False,
        "commands": commands,
        "object": None,
        "rocksdb": None,
    }
    return told | other


def object_log(**other):
    gc = {"live_blocks": 90, "stored_blocks": 100, "behind_bytes": 0, "waiting_bytes": 0, "pinned_bytes": None}
    told = {"phase": "open", "lease_held": True, "commit_lag_seconds": 0.0, "dirty_bytes": 0, "journal": None, "gc": gc}
    return told | other


def status(exports, started=1.7e9, clients=()):
    gateway = {
        "version": "9.9.9",
        "state": "serving",
        "started_unix_seconds": started,
        "now_unix_seconds": now(),
        "io_engine": "epoll",
        "io_threads": 2,
        "connections": len(clients),
        "resident_bytes": None,
        "cpu_seconds": None,
    }
    return {"gateway": gateway, "exports": exports, "clients": list(clients)}


def looked_into(name):
    """Allocation, segments and snapshots of an export, and its price."""
    segments = [{"id": f"seg/{at + 1:08}", "bytes": 8 << 20, "live": at / 299, "pinned": at % 7 == 0} for at in range(300)]
    snapshot = {"name": "<b>monday</b>", "created_unix_seconds": 1.7e9, "pinned_bytes": 3 << 30, "served": True}
    parts = [{"name": "storage", "amount": 1.5}, {"name": "requests", "amount": 0.5}]
    cost = {"currency": "USD", "provider": "aws", "per_month": 2.0, "parts": parts, "over_seconds": 3600, "note": None}
    return {
        "name": name,
        "taken_unix_seconds": now(),
        "allocation": {"cell_bytes": 1 << 20, "cells": [at / 1023 for at in range(1024)], "allocated_bytes": 512 << 20},
        "segments": {"total": 300, "shown": segments},
        "snapshots": [snapshot | {"pinned_alone_bytes": None}],
        "cost": cost,
    }
