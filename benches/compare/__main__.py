"""Runs nbdgate, nbdkit and qemu-nbd side by side under the same load; see benches/README.md."""

import argparse
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import report
import rounds
import servers
import workloads

ROOT = Path(__file__).resolve().parents[2]
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
BASELINES = {"memory": "nbdkit", "file": "nbdkit", "direct": "qemu-nbd-uring"}
# What is not said is chosen by --quick or not.
SLOW = {"rounds": 5, "seconds": 2.0, "warm_up": 0.5, "size": 1 << 30}
QUICK = {"rounds": 3, "seconds": 0.4, "warm_up": 0.1, "size": 256 << 20}


def words(known):
    """A comma-separated choice."""
    def parse(text):
        chosen = text.split(",")
        unknown = [word for word in chosen if word not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(known)}")
        return chosen
    return parse


def mebibytes(text):
    size = int(text) << 20
    if size < 64 << 20:
        raise argparse.ArgumentTypeError("64 MiB is the least")
    return size


def parse_arguments():
    parser = argparse.ArgumentParser(prog="python3 benches/compare", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short rounds on small disks, to see that it works")
    parser.add_argument("--full", action="store_true", help="rows with several connections, too")
    parser.add_argument("--targets", type=words(workloads.TARGETS), default=list(workloads.TARGETS))
    parser.add_argument("--servers", type=words(servers.KINDS), default=list(servers.KINDS))
    parser.add_argument("--only", metavar="TEXT", help="only rows whose name contains it, as in 'depth 32'")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of one run")
    parser.add_argument("--warm-up", type=float, metavar="SECONDS", help="before each run")
    parser.add_argument("--size", type=mebibytes, metavar="MIB", help="of each disk")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="for images and sockets")
    parser.add_argument("--nbdgate", default=str(RELEASE / "nbdgate"))
    parser.add_argument("--load", type=Path, default=RELEASE / "nbdgate-load")
    parser.add_argument("--json", type=Path, default=RELEASE.parent / "comparison.json")
    parser.add_argument("--markdown", type=Path, help="docs/BENCHMARKS.md by default; none by default with --quick")
    settings = parser.parse_args()
    for name, value in (QUICK if settings.quick else SLOW).items():
        if getattr(settings, name) is None:
            setattr(settings, name, value)
    if settings.rounds < 1 or settings.seconds <= 0:
        parser.error("at least one round of some time is needed")
    if settings.markdown is None and not settings.quick:
        settings.markdown = ROOT / "docs" / "BENCHMARKS.md"
    return settings


def command_of(settings):
    """How to run this again, without the places of this machine."""
    command = ["python3 benches/compare", f"--rounds {settings.rounds}", f"--seconds {settings.seconds:g}",
               f"--warm-up {settings.warm_up:g}", f"--size {settings.size >> 20}",
               f"--targets {','.join(settings.targets)}", f"--servers {','.join(settings.servers)}"]
    command += ["--full"] if settings.full else []
    command += [f"--only '{settings.only}'"] if settings.only else []
    return " ".join(command)


def compare(settings):
    """Runs all rows; yields each with its summary and its runs."""
    if not settings.load.exists():
        raise servers.Trouble(f"{settings.load} is not there; build it: cargo build --release -p nbdgate-load")
    programs = {name: servers.program_of(name, settings.nbdgate) for name in settings.servers}
    rounds.require_room(settings.dir, settings.size * len(programs))
    runner = rounds.Runner(settings.load, programs, settings)
    for target in settings.targets:
        rows = [row for row in workloads.rows([target], settings.full) if (settings.only or "") in row.name]
        if not rows:
            continue
        rounds.progress(f"{target}: {len(rows)} rows")
        for row, runs in runner.target(target, rows):
            rounds.progress(f"  {row.name}")
            yield row, rounds.summary(runs, BASELINES[target]), runs


def main():
    # A terminated comparison ends its servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    settings = parse_arguments()
    try:
        found = list(compare(settings))
        programs = {servers.program_of(name, settings.nbdgate) for name in settings.servers}
        about = {"machine": report.machine(),
                 "versions": {Path(program).name: servers.version_of(program) for program in sorted(programs)}}
    except servers.Trouble as trouble:
        sys.exit(f"compare: {trouble}")
    if not found:
        sys.exit("compare: no row has that name and a server that can run it")
    results = [(row, summary) for row, summary, _ in found]
    command = command_of(settings)
    rows = [{"target": row.target, "name": row.name, "summary": summary, "runs": runs} for row, summary, runs in found]
    settings.json.parent.mkdir(parents=True, exist_ok=True)
    settings.json.write_text(json.dumps({**about, "command": command, "rows": rows}, indent=1) + "\n")
    if settings.markdown:
        text = report.markdown(results, BASELINES, about, command)
        report.write_markdown(settings.markdown, text)
    for target in dict.fromkeys(row.target for row, _ in results):
        print(f"\n{report.TITLES[target]}, ratios to {BASELINES[target]}\n")
        print(report.plain([(row, summary) for row, summary in results if row.target == target]))


main()
