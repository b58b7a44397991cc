"""Measures disks in RocksDB beside a file on the same file system and beside memory: `python3 benches/rocksdb`.

Needs release builds of nbdgate, with the feature rocksdb, and of nbdgate-load (make bench-rocksdb)."""

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path[1:1] = [str(Path(__file__).parents[1] / "compare"), str(Path(__file__).parents[1])]

from disks import Shelf  # noqa: E402
from document import describe, machine, write_section  # noqa: E402
from found import NOT_MEASURED, table, told  # noqa: E402
from images import file_system, require_room  # noqa: E402
from kinds import program_of, version_of  # noqa: E402
from processes import Trouble  # noqa: E402
from rows import MIB, ROWS  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
EXTENTS = ("16K", "4K")
# Three disks of a row, one of them twice as large as its data while it is overwritten.
ROOM = 5


@dataclass(frozen=True)
class Plan:
    """How long and how large; sizes are MiB, times are of one run."""

    rounds: int
    seconds: float
    sustained: float
    size: int
    # Of the disks in RocksDB; the first is the default of nbdgate.
    extents: tuple = EXTENTS


FULL = Plan(rounds=5, seconds=2.0, sustained=60.0, size=1024)
QUICK = Plan(rounds=3, seconds=0.5, sustained=8.0, size=256)


@dataclass(frozen=True)
class Programs:
    """Where they are."""

    nbdgate: str
    load: Path


def arguments():
    parser = argparse.ArgumentParser(prog="python3 benches/rocksdb", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small and short, to see that it works")
    parser.add_argument("--only", choices=ROWS, nargs="+", default=list(ROWS), help="rows")
    parser.add_argument("--rounds", type=int, help="of the rows with ratios")
    parser.add_argument("--seconds", type=float, help="of one run of them")
    parser.add_argument("--sustained", type=float, metavar="SECONDS", help="of overwriting")
    parser.add_argument("--size", type=int, metavar="MIB", help="of each disk")
    parser.add_argument("--extents", choices=("4K", "8K", "16K", "32K", "64K"), nargs="+", help="of the disks in RocksDB")
    parser.add_argument("--dir", type=Path, default=TARGET, help="for disks and sockets: on a file system of a device")
    parser.add_argument("--programs", type=Path, default=TARGET / "release", help="folder of the programs")
    parser.add_argument("--json", type=Path, default=TARGET / "rocksdb.json", help="every number of every run")
    parser.add_argument("--markdown", type=Path, help="docs/ROCKSDB.md by default; none for a part")
    args = parser.parse_args()
    if args.markdown is None and not args.quick and not args.extents and args.only == list(ROWS):
        args.markdown = ROOT / "docs/ROCKSDB.md"
    return args


def plan_of(args):
    plan = asdict(QUICK if args.quick else FULL)
    plan |= {name: getattr(args, name) for name in plan if getattr(args, name) is not None}
    if plan["rounds"] < 1 or plan["seconds"] <= 0 or plan["sustained"] <= 0 or plan["size"] < 64:
        raise Trouble("at least a round, some time and 64 MiB are needed")
    return Plan(**plan)


def programs_of(args):
    load = args.programs / "nbdgate-load"
    if not load.exists():
        raise Trouble(f"{load} is not there; build it: cargo build --release -p nbdgate-load")
    return Programs(program_of("nbdgate", {"nbdgate": str(args.programs / "nbdgate")}), load)


def command_of(args, plan):
    """How to run this again, without the places of this machine."""
    command = ["python3 benches/rocksdb", f"--rounds {plan.rounds}", f"--seconds {plan.seconds:g}",
               f"--sustained {plan.sustained:g}", f"--size {plan.size}"]
    command += [f"--extents {' '.join(plan.extents)}"] if args.extents else []
    command += [f"--only {' '.join(args.only)}"] if args.only != list(ROWS) else []
    return " ".join(command)


def row(name, args, plan, programs):
    """A row on disks of its own."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nbdgate-rocksdb-", dir=args.dir)))
        require_room(folder, ROOM * plan.size * MIB // 2)
        yield from ROWS[name](Shelf(stack, folder, programs, plan.size * MIB), plan)


def main():
    # A terminated run ends its servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    args = arguments()
    try:
        plan, programs, kind = plan_of(args), programs_of(args), file_system(args.dir)
        if kind == "tmpfs":
            raise Trouble(f"{args.dir} is in memory, where a FLUSH costs nothing: give another --dir")
    except Trouble as trouble:
        sys.exit(f"rocksdb: {trouble}")
    about = f"{describe(machine(), [version_of(programs.nbdgate), kind])}\n\n`{command_of(args, plan)}`"
    results = []
    for name in args.only:
        results += told(name, row(name, args, plan, programs))
        args.json.write_text(json.dumps({"about": about, "found": [asdict(found) for found in results]}, indent=1) + "\n")
    if args.markdown:
        write_section(args.markdown, "measurements", "Measurements", "\n".join([about, "", *table(results)]))
    if any(found.value == NOT_MEASURED for found in results):
        return 2
    return 0 if all(found.met is not False for found in results) else 1


if __name__ == "__main__":
    sys.exit(main())
