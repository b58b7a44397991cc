"""What a gateway tells of the one RocksDB disk that it serves, read from its metrics."""

import http.client
import re

from processes import START_SECONDS, Trouble

LINE = re.compile(r"^nbdgate_rocksdb_(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')
# What each byte of a client becomes. RocksDB counts blob files in what flush and compaction wrote, so they are not added.
STAGES = ("wal", "flush", "compaction")


def scrape(port):
    """Name and value; other labels than the export's follow the name: `written_bytes_total/wal`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    found = {}
    for name, labels, value in LINE.findall(text):
        told = [text for label, text in LABEL.findall(labels) if label != "export"]
        found["/".join([name, *told])] = float(value)
    if not found:
        raise Trouble("the gateway tells nothing of RocksDB: was it built with the feature rocksdb?")
    return found


def since(before, after):
    """What was counted in between; other values are as they are now."""
    total = lambda name: name.partition("/")[0].endswith("_total")
    return {name: value - before.get(name, 0) if total(name) else value for name, value in after.items()}


def written(counted, stage):
    """Bytes of a stage."""
    return counted[f"written_bytes_total/{stage}"]


def amplification(counted):
    """Bytes written to the device for each byte of the clients, and the same by stage, as a text."""
    of_clients = max(written(counted, "client"), 1)
    parts = {stage: written(counted, stage) / of_clients for stage in STAGES}
    return sum(parts.values()), ", ".join(f"{stage} {part:.2f}" for stage, part in parts.items())


def inline_share(counted):
    """The share of reads that the I/O thread answered from memory."""
    inline, pooled = counted["inline_reads_total"], counted["pooled_reads_total"]
    return inline / max(inline + pooled, 1)
