"""Measures the object log against the raw store and the raw file, in the same run: `python3 benches/object`.

Needs release builds of nbdgate, nbdgate-load, nbdgate-s3-server and nbdgate-object-tool (make bench-object)."""

import argparse
import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(1, str(Path(__file__).parents[1] / "compare"))

from document import machine, write_section  # noqa: E402
from found import table, told  # noqa: E402
from rows import ROWS  # noqa: E402
from world import Programs, World  # noqa: E402

TOP = Path(__file__).resolve().parents[2]
DOCUMENT = TOP / "docs/BENCHMARKS.md"


@dataclass(frozen=True)
class Plan:
    """How long and how large. Sizes are MiB unless they say GiB."""

    rounds: int
    seconds: float
    bulk: int
    overwrite: int
    map_gib: int
    extents: int


FULL = Plan(rounds=5, seconds=2.0, bulk=1024, overwrite=512, map_gib=128, extents=10_000_000)
QUICK = Plan(rounds=1, seconds=0.5, bulk=64, overwrite=64, map_gib=8, extents=100_000)


def markdown(results, args, command):
    host = machine()
    lines = [
        f"{host['cpu']}, {host['cores']} cores, {host['memory_gib']} GiB, {host['system']}, Linux {host['kernel']}.",
        "",
        f"`{command}`",
        "",
        f"The store is the project's own S3 server on the same machine: GET {args.get_ms} ms, PUT {args.put_ms} ms, "
        + (f"{args.mib_per_second} MiB/s in each direction" if args.mib_per_second else "no limit of bandwidth")
        + "; none of these for the rows with garbage collection. Gateway, store and load share the cores. Gateway and "
        "reference are measured alternately; ratios are taken round by round, and medians are shown. Round trips are "
        "counted in virtual time with a store of one second.",
        "",
    ]
    return "\n".join(lines + table(results))


def arguments():
    target = Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
    parser = argparse.ArgumentParser(prog="benches/object", description=__doc__.partition("\n")[0])
    parser.add_argument("--programs", type=Path, default=target / "release", help="folder of the programs")
    parser.add_argument("--only", choices=ROWS, nargs="+", default=list(ROWS), help="rows")
    parser.add_argument("--quick", action="store_true", help="small and short; does not touch docs/BENCHMARKS.md")
    parser.add_argument("--rounds", type=int, help="rounds of each row")
    parser.add_argument("--get-ms", type=int, default=15)
    parser.add_argument("--put-ms", type=int, default=30)
    parser.add_argument("--mib-per-second", type=int, default=200, help="the line to the store; 0 for no limit")
    return parser.parse_args()


def row(name, args, plan):
    """A row in a world of its own."""
    with contextlib.ExitStack() as stack:
        world = World(Programs(args.programs), stack, args.get_ms, args.put_ms, args.mib_per_second)
        yield from ROWS[name](world, plan)


def main():
    args = arguments()
    plan = QUICK if args.quick else FULL
    if args.rounds:
        plan = Plan(**(vars(plan) | {"rounds": args.rounds}))
    results = []
    for name in args.only:
        results += told(name, row(name, args, plan))
    if not args.quick and args.only == list(ROWS):
        command = "python3 benches/object " + " ".join(sys.argv[1:])
        write_section(DOCUMENT, "object log", "Object log", markdown(results, args, command))
        print(f"written to {DOCUMENT}")
    return 0 if all(found.met is not False for found in results) else 1


if __name__ == "__main__":
    sys.exit(main())
