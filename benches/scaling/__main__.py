"""Measures how nbdgate scales, and large transfers: `python3 benches/scaling`.

Needs release builds of nbdgate and nbdgate-load, and nbdkit, qemu-nbd and nbdcopy for the copies."""

import argparse
import json
import os
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path[1:1] = [str(Path(__file__).parents[1] / "compare"), str(Path(__file__).parents[1])]

import copies  # noqa: E402
import exports  # noqa: E402
import idle  # noqa: E402
import open as opening  # noqa: E402
import threads  # noqa: E402
from document import columns, describe, machine, table, write_section  # noqa: E402
from kinds import program_of, version_of  # noqa: E402
from processes import Trouble  # noqa: E402
from scene import Part, Settings  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
PARTS = {"threads": threads, "idle": idle, "exports": exports, "copies": copies}
SLOW = {"rounds": 7, "seconds": 0.5, "warm_up": 0.1, "copy_gib": 10, "copy_rounds": 5}
QUICK = {"rounds": 3, "seconds": 0.2, "warm_up": 0.05, "copy_gib": 1, "copy_rounds": 3}


def parse_arguments():
    parser = argparse.ArgumentParser(prog="python3 benches/scaling", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short rounds and a small image, to see that it works")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts; others stay")
    parser.add_argument("--size", type=int, metavar="GIB", help="of the image to copy")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="for images and sockets")
    parser.add_argument("--nbdgate", default=str(RELEASE / "nbdgate"))
    parser.add_argument("--load", type=Path, default=RELEASE / "nbdgate-load")
    parser.add_argument("--json", type=Path, default=RELEASE.parent / "scaling.json")
    parser.add_argument("--markdown", type=Path, help="docs/BENCHMARKS.md by default; none by default with --quick")
    args = parser.parse_args()
    if args.size is not None and args.size < 1:
        parser.error("1 GiB is the least")
    if args.markdown is None and not args.quick:
        args.markdown = ROOT / "docs" / "BENCHMARKS.md"
    return args


def settings_of(args):
    """The settings, with programs that are there."""
    plan = QUICK if args.quick else SLOW
    plan |= {"copy_gib": args.size} if args.size else {}
    if not args.load.exists():
        raise Trouble(f"{args.load} is not there; build it: cargo build --release -p nbdgate-load")
    return Settings(nbdgate=program_of("nbdgate", {"nbdgate": args.nbdgate}), load=args.load, folder=args.dir, **plan)


def markdown(parts, settings):
    """The section of docs/BENCHMARKS.md."""
    lines = [describe(machine(), [version_of(settings.nbdgate)]), "", "`python3 benches/scaling`"]
    for part in parts:
        lines += ["", f"### {part.title}", "", part.text, "", *table(part.head, part.lines)]
    return "\n".join(lines)


def known_parts(path):
    """What earlier runs found."""
    if not path.exists():
        return {}
    return {name: Part(**part) for name, part in json.loads(path.read_text()).items() if name in PARTS}


def main():
    # A terminated run ends its servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    args = parse_arguments()
    try:
        settings = settings_of(args)
        found = known_parts(args.json)
        for name in args.only:
            print(f"{name} ...", file=sys.stderr, flush=True)
            found[name] = PARTS[name].measure(settings)
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps({name: asdict(part) for name, part in found.items()}, indent=1) + "\n")
    except (Trouble, opening.Trouble, TimeoutError) as trouble:
        sys.exit(f"scaling: {trouble}")
    if args.markdown:
        parts = [found[name] for name in PARTS if name in found]
        write_section(args.markdown, "scaling", "Scaling and large transfers", markdown(parts, settings))
    for part in (found[name] for name in args.only):
        print(f"\n{part.title}\n\n{part.text}\n\n{columns([part.head, *part.lines])}".replace("**", ""))


main()
