"""What a disk costs, from the numbers that measure.py found, and what object stores allow."""

import json
from dataclasses import dataclass
from pathlib import Path

MEASURED = Path(__file__).resolve().parent / "measured.json"
# Requests that S3 counts with PUT; all others count with GET.
WRITING = ("put", "delete")
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Limit:
    """Requests a second that a store takes; where one limit holds for both kinds, `together` is set."""

    name: str
    puts: int
    gets: int
    together: bool
    per: str


# docs/SCALE.md has the sources.
LIMITS = (
    Limit("S3", 3500, 5500, False, "partitioned prefix"),
    Limit("GCS", 1000, 5000, False, "bucket, before it has grown"),
    Limit("Azure", 20_000, 20_000, True, "storage account"),
)


@dataclass(frozen=True)
class Costs:
    """Of one disk, unless it says otherwise. Seconds, bytes, requests."""

    process_bytes: float
    idle_bytes: float
    busy_bytes: float
    open_seconds: float
    open_unclean_seconds: float
    lease_wait_seconds: float
    stop_first_seconds: float
    stop_seconds: float
    open_puts: float
    open_gets: float
    idle_gets: float
    busy_puts: float
    busy_reads: float
    busy_leases: float
    journal_puts: float
    journal_reads: float
    journal_leases: float
    idle_cores: float
    busy_cores: float
    process_files: float
    files_opening: float
    files_idle: float
    replay_bytes_per_second: float

    @property
    def busy_gets(self):
        return self.busy_reads + self.busy_leases


def slope(small, large, value):
    """What each further disk adds, between two measurements."""
    return (value(large) - value(small)) / (large["disks"] - small["disks"])


def kinds(requests, lease=True):
    """Requests by what S3 counts them as: (puts, gets, and apart from these the gets that prove the lease, if there is one)."""
    leases = sum(count for key, count in requests.items() if key.endswith(" lease"))
    puts = sum(count for key, count in requests.items() if key.split()[0] in WRITING)
    return puts, sum(requests.values()) - puts - leases, leases if lease else 0


def costs(lease=True, path=MEASURED):
    """What was measured; without a lease, less what its proofs take."""
    found = json.loads(path.read_text())
    small, large = found["many"][0], found["many"][-1]
    # The disks that are open already prove their leases while the others open.
    open_puts, open_gets, _ = kinds(large["requests_to_open"])
    busy_puts, busy_reads, busy_leases = kinds(large["busy"]["requests_per_disk_hour"], lease)
    journal_puts, journal_reads, journal_leases = kinds(found["busy_with_journal"]["requests_per_disk_hour"], lease)
    idle = large["idle_after"] if lease else found["idle_without_lease"]
    _, idle_reads, idle_leases = kinds(idle["requests_per_disk_hour"])
    unclean = slope(small, large, lambda row: row["open_after_kill_seconds"])
    one, more = found["takeover"]
    empty, full = found["replay"]
    return Costs(
        process_bytes=small["idle"]["anonymous_bytes"],
        idle_bytes=slope(small, large, lambda row: row["idle"]["anonymous_bytes"]),
        busy_bytes=slope(small, large, lambda row: row["busy"]["anonymous_bytes"]),
        open_seconds=slope(small, large, lambda row: row["open_clean_seconds"]),
        open_unclean_seconds=unclean,
        lease_wait_seconds=slope(one, more, lambda row: row["seconds"]) - unclean,
        stop_first_seconds=small["stop_seconds"],
        stop_seconds=slope(small, large, lambda row: row["stop_seconds"]),
        open_puts=open_puts / large["disks"],
        open_gets=open_gets / large["disks"],
        idle_gets=(idle_reads + idle_leases) / 3600,
        busy_puts=busy_puts / 3600,
        busy_reads=busy_reads / 3600,
        busy_leases=busy_leases / 3600,
        journal_puts=journal_puts / 3600,
        journal_reads=journal_reads / 3600,
        journal_leases=journal_leases / 3600,
        idle_cores=large["idle"]["cpu_seconds"] / large["idle"]["seconds"] / large["disks"],
        busy_cores=large["busy"]["cpu_seconds"] / large["busy"]["seconds"] / large["disks"],
        process_files=found["empty_process"]["open_files"],
        files_opening=max(row["opened"]["open_files"] / row["disks"] for row in found["many"][1:]),
        files_idle=slope(small, large, lambda row: row["idle_after"]["open_files"]),
        replay_bytes_per_second=(full["lag_bytes"] - empty["lag_bytes"]) / (full["seconds"] - empty["seconds"]),
    )
