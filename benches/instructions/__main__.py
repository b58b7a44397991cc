"""Counts the instructions of the codec and of the path of a request under callgrind; see benches/README.md."""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import callgrind
from places import Places

ROOT = Path(__file__).resolve().parents[2]
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
PROGRAM = RELEASE / "nbdgate-instructions"
BEGIN, END = "<!-- instructions: begin -->", "<!-- instructions: end -->"
# Requests of the two runs whose difference is counted.
FEW, MANY = 2560, 12800
METRICS = ("src/metrics/", "transmission/accounting.rs", "/metrics-0.")
BUDGETS = ("scheduler/permits.rs",)
# What stands for the socket is no part of the path.
SCRIPT = ("instructions/src/script.rs",)
ALLOCATOR = ("malloc", "free", "cfree", "calloc", "realloc", "posix_memalign", "aligned_alloc")
COLUMNS = ["case", "instructions", "metrics", "without recorder", "budgets", "allocator", "copies", "allocations",
           "locks", "atomics", "clock reads"]


def is_allocator(name):
    name = name.partition("@")[0]
    return name in ALLOCATOR or name.startswith(("_int_", "tcache_", "unlink_chunk", "_mid_memalign", "malloc_"))


def is_allocation(name):
    return name.partition("@")[0] in ("malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc")


def is_copy(name):
    return name.startswith(("__memcpy", "__memmove", "__memset", "memcpy", "memmove", "memset"))


def is_clock(name):
    return name.partition("@")[0] in ("clock_gettime", "__clock_gettime")


def profile(case, directory, bare=False):
    """What one more request of a case executes."""
    runs = []
    for count in (FEW, MANY):
        command = [str(PROGRAM), "run", case, str(count)] + (["--bare"] if bare else [])
        runs.append(callgrind.run(command, directory / "callgrind.out"))
    return runs[1].per_request(runs[0], MANY - FEW)


def ours(found):
    """The instructions of the program itself, without its libraries."""
    return {address: count for (binary, address), count in found.ran.items() if binary == str(PROGRAM)}


def share(found, places, files):
    """Instructions that come from some files, with those of the library functions that they call."""
    own = sum(count for address, count in ours(found).items() if places.comes_from(address, *files))
    return own + called(found, places, files, lambda name: "nbdgate" not in name and "metrics::" not in name)


def called(found, places, files, chosen):
    """Instructions of functions with chosen names, as some files call them."""
    return sum(cost for call, cost in found.inclusive.items()
               if call.place[0] == str(PROGRAM) and places.comes_from(call.place[1], *files) and chosen(call.callee))


def measure(case, places, directory):
    """A row of the table, and where its locks are."""
    found = profile(case, directory)
    bare = None if case.startswith("codec") else profile(case, directory, bare=True)
    places.learn(ours(found))
    if bare:
        places.learn(ours(bare))
    locks, atomics = defaultdict(float), 0
    for address, count in ours(found).items():
        if places.takes_a_lock(address):
            locks[places.owner(address)] += count
        atomics += count if places.is_atomic(address) else 0
    path = found.total() - share(found, places, SCRIPT)
    without = bare.total() - share(bare, places, SCRIPT) if bare else None
    copies = found.of_functions(is_copy) - called(found, places, SCRIPT, is_copy)
    numbers = [path, share(found, places, METRICS), without, share(found, places, BUDGETS),
               found.of_functions(is_allocator), copies, found.calls_of(is_allocation), sum(locks.values()), atomics,
               found.calls_of(is_clock)]
    return [case, *numbers], dict(locks)


def number(value, column):
    if value is None:
        return ""
    return f"{value:,.2f}".rstrip("0").rstrip(".") if column >= COLUMNS.index("allocations") else f"{value:,.0f}"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def times(rounds):
    """Rows of nanoseconds, and of ratios within rounds."""
    text = subprocess.run([PROGRAM, "time", "--rounds", str(rounds)], capture_output=True, text=True, check=True).stdout
    found = defaultdict(list)
    for row in csv.DictReader(text.splitlines()):
        found[row["case"]].append([float(row[name]) for name in ("bare", "metrics", "limits")])
    for case, runs in found.items():
        nanoseconds = [statistics.median(column) for column in zip(*runs)]
        added = statistics.median(metrics - bare for bare, metrics, _ in runs)
        limits = statistics.median(limits / metrics for _, metrics, limits in runs)
        yield [case, *(f"{value:,.0f}" for value in nanoseconds[:2]), f"{added:+,.0f}", f"{limits:.2f}"]


def markdown(rows, locks, timed):
    valgrind = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    compiler = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    lines = [
        f"`python3 benches/instructions`, {valgrind}, rustc {compiler}, the release profile. Instructions in user space of "
        "one request of 4 KiB, from received bytes to sent bytes. A script in place of the socket hands out 32 requests at "
        "a time where no depth is told, and is itself not counted; nor is what the kernel does for a file or a socket. "
        "Copies of payloads are. *metrics* and *budgets* are their part of the instructions, by the source that each comes "
        "from; *without recorder* is the whole path with metrics that go nowhere. *locks*, *atomics* (locks taken and "
        "given back, reference counts and metrics) and *clock reads* are how many a request takes.",
        "",
        *table(COLUMNS, [[row[0], *(number(value, at + 1) for at, value in enumerate(row[1:]))] for row in rows]),
        "",
        "Where the locks are, by the file that takes them:",
        "",
    ]
    for case, found in locks.items():
        told = ", ".join(f"`{owner}` {count:.2f}" for owner, count in sorted(found.items(), key=lambda pair: -pair[1]))
        lines.append(f"- {case}: {told or 'none'}")
    if timed:
        lines += [
            "",
            "The same path against the clock, in nanoseconds per request, medians of interleaved rounds; a socket adds its "
            "system calls to each. *limits* is the ratio of a connection with the least budget to one with plenty.",
            "",
            *table(["case", "without recorder", "with metrics", "metrics add", "limits"], timed),
        ]
    return "\n".join(lines)


def write(path, text):
    """Replaces this bench's part of the document; the rest stays."""
    before, found, rest = path.read_text().partition(BEGIN)
    if not found:
        before, rest = before.rstrip("\n") + "\n\n## Instructions\n\n", f"{END}\n"
    rest = rest.partition(f"{END}\n")[2]
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}\n{rest}")


def main():
    parser = argparse.ArgumentParser(prog="python3 benches/instructions", description=__doc__)
    parser.add_argument("--only", metavar="TEXT", default="", help="only cases whose name contains it; prints, writes nothing")
    parser.add_argument("--rounds", type=int, default=9, help="of the part that takes time; 0 leaves it out")
    parser.add_argument("--no-build", action="store_true", help="the program is there")
    settings = parser.parse_args()
    if not settings.no_build:
        subprocess.run(["cargo", "build", "--release", "-p", "nbdgate-instructions"], cwd=ROOT, check=True)
    cases = subprocess.run([PROGRAM, "list"], capture_output=True, text=True, check=True).stdout.splitlines()
    chosen = [case for case in cases if settings.only in case]
    if not chosen:
        sys.exit(f"instructions: no case contains {settings.only!r}")
    places, rows, locks = Places(PROGRAM), [], {}
    with tempfile.TemporaryDirectory() as directory:
        for case in chosen:
            print(f"  {case}", file=sys.stderr)
            row, found = measure(case, places, Path(directory))
            rows.append(row)
            if not case.startswith("codec"):
                locks[case] = found
    timed = list(times(settings.rounds)) if settings.rounds and not settings.only else []
    text = markdown(rows, locks, timed)
    if not settings.only:
        write(ROOT / "docs" / "BENCHMARKS.md", text)
    print(text)


main()
