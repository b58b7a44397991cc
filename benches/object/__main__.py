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

from document import machine  # noqa: E402
from rows import ROWS, Found  # noqa: E402
from world import Programs, Trouble, World  # noqa: E402

TOP = Path(__file__).resolve().parents[2]
DOCUMENT = TOP / "docs/BENCHMARKS.md"
BEGIN, END = "<!-- object log: begin -->", "<!-- object log: end -->"
COLUMNS = ("what", "found", "beside it", "ratio", "bar", "met")


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


def cells(found):
    ratio = "" if found.ratio is None else f"{found.ratio:.2f}" if found.ratio < 1000 else f"{found.ratio:,.0f}"
    met = {True: "yes", False: "**no**", None: "–"}[found.met]
    # The ratio repeats the value where there is nothing beside it to be compared with.
    shown = ratio if "×" in found.bar else ""
    return (found.what, found.value, found.reference, shown, found.bar, met)


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
        "| " + " | ".join(COLUMNS) + " |",
        "|---|---:|---:|---:|---|---|",
    ]
    return "\n".join(lines + ["| " + " | ".join(cells(found)) + " |" for found in results])


def write_markdown(text):
    """Replaces this tool's part of the document; the rest stays."""
    part = f"{BEGIN}\n{text}\n{END}\n"
    before, found, rest = DOCUMENT.read_text().partition(BEGIN)
    if found:
        rest = rest.partition(f"{END}\n")[2]
    else:
        before = before.rstrip("\n") + "\n\n## Object log\n\n"
    DOCUMENT.write_text(before + part + rest)


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


def main():
    args = arguments()
    plan = QUICK if args.quick else FULL
    if args.rounds:
        plan = Plan(**(vars(plan) | {"rounds": args.rounds}))
    results = []
    for name in args.only:
        with contextlib.ExitStack() as stack:
            try:
                world = World(Programs(args.programs), stack, args.get_ms, args.put_ms, args.mib_per_second)
                for found in ROWS[name](world, plan):
                    results.append(found)
                    print("  ".join(cell for cell in cells(found) if cell), flush=True)
            except Trouble as trouble:
                results.append(Found(name, "not measured", str(trouble), None, "", None))
                print(f"{name}: not measured: {trouble}", flush=True)
    if not args.quick and args.only == list(ROWS):
        write_markdown(markdown(results, args, "python3 benches/object " + " ".join(sys.argv[1:])))
        print(f"written to {DOCUMENT}")
    return 0 if all(found.met is not False for found in results) else 1


if __name__ == "__main__":
    sys.exit(main())
