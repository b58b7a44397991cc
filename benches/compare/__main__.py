"""Runs nbdgate, nbdkit, qemu-nbd and nbd-server side by side under the same load; see benches/README.md."""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

import chart
import document
import images
import kinds
import record
import report
import rounds
import workloads
from processes import Trouble

ROOT = Path(__file__).resolve().parents[2]
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
# What is not said is chosen by --quick or not. Many short rounds tell more than few long ones on a shared machine.
SLOW = {"rounds": 7, "seconds": 0.7, "warm_up": 0.05, "size": 1 << 30}
QUICK = {"rounds": 3, "seconds": 0.2, "warm_up": 0.05, "size": 128 << 20}


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
    parser.add_argument("--targets", type=words(workloads.TARGETS), default=list(workloads.TARGETS))
    parser.add_argument("--servers", type=words(kinds.KINDS), default=list(kinds.KINDS))
    parser.add_argument("--only", metavar="TEXT", help="only rows whose name contains it, as in 'depth 32'")
    parser.add_argument("--merge", action="store_true", help="keep the rows of earlier runs that this one has not")
    parser.add_argument("--render", action="store_true", help="measure nothing: write the documents from the JSON")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of one run")
    parser.add_argument("--warm-up", type=float, metavar="SECONDS", help="before each run")
    parser.add_argument("--size", type=mebibytes, metavar="MIB", help="of each disk")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="for images and sockets")
    parser.add_argument("--nbdgate", default=str(RELEASE / "nbdgate"))
    parser.add_argument("--limit", default=str(RELEASE / "nbdgate-limit"))
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
               f"--warm-up {settings.warm_up:g}", f"--size {settings.size >> 20}"]
    if settings.targets != list(workloads.TARGETS):
        command.append(f"--targets {','.join(settings.targets)}")
    if settings.servers != list(kinds.KINDS):
        command.append(f"--servers {','.join(settings.servers)}")
    command += [f"--only '{settings.only}'"] if settings.only else []
    return " ".join(command)


def programs_of(settings):
    """The program of each kind of server. Without the measuring stick, the rest is still worth measuring."""
    places = {"nbdgate": settings.nbdgate, "nbdgate-limit": settings.limit}
    found = {}
    for name in settings.servers:
        try:
            found[name] = kinds.program_of(name, places)
        except Trouble as trouble:
            if name != "limit":
                raise
            rounds.progress(f"limit is left out: {trouble}")
    return found


def compare(settings, known):
    """Runs the rows and adds them to what is known, which is saved after each."""
    if not settings.load.exists():
        raise Trouble(f"{settings.load} is not there; build it: cargo build --release -p nbdgate-load")
    programs = programs_of(settings)
    images.require_room(settings.dir, settings.size * len(programs))
    shown = {name: program for name, program in programs.items() if name != "limit"}
    known.about = {"machine": document.machine(),
                   "versions": {Path(program).name: kinds.version_of(program) for program in shown.values()}}
    runner = rounds.Runner(settings.load, programs, settings)
    for target in settings.targets:
        rows = [row for row in workloads.rows([target]) if (settings.only or "") in row.name]
        if not rows:
            continue
        rounds.progress(f"{target}: {len(rows)} rows")
        for row, runs in runner.target(target, rows):
            rounds.progress(f"  {row.name}")
            summary = rounds.summary(runs, workloads.TARGETS[target].baseline)
            known.add(row, summary, runs, command_of(settings))
            known.note(row, runner.take_notes())
            known.write(settings.json)


def write_documents(known, path):
    """The table and the chart beside it."""
    picture = path.with_name("benchmarks.svg")
    results = known.results()
    text = report.markdown(results, known.about, known.commands(), known.notes(), picture.name)
    document.write_section(path, "comparison", "Side by side", text)
    picture.write_text(chart.svg(results))


def main():
    # A terminated comparison ends its servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    settings = parse_arguments()
    try:
        kept = settings.render or (settings.merge and settings.json.exists())
        known = record.read(settings.json) if kept else record.Record({})
        if not settings.render:
            compare(settings, known)
    except Trouble as trouble:
        sys.exit(f"compare: {trouble}")
    if not known.rows:
        sys.exit("compare: no row has that name and a server that can run it")
    if settings.markdown:
        write_documents(known, settings.markdown)
    print(report.plain(known.results()))


main()
