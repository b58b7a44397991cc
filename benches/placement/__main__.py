#!/usr/bin/env python3
"""Simulates 10,000 disks on 100 gateways, with what a disk costs by measured.json.

    python3 benches/placement                       print the tables
    python3 benches/placement --write               put them into docs/SCALE.md
    python3 benches/placement --check               fail if docs/SCALE.md has others

Takes some seconds, and gives the same on every machine. `measure.py` beside it measures anew.
"""

import argparse
import re
import sys
from pathlib import Path

from tables import TABLES, World

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "SCALE.md"


def filled(text, tables):
    """The document with each table between its marks; a mark without a table, or one that is missing, is an error."""
    for name, lines in tables.items():
        marks = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.S)
        text, count = marks.subn(lambda found: found[1] + lines + "\n" + found[2], text)
        if count != 1:
            sys.exit(f"placement: {DOCUMENT.name} has {count} places for the table {name}")
    unknown = set(re.findall(r"<!-- table: (.*?) -->", text)) - tables.keys()
    if unknown:
        sys.exit(f"placement: {DOCUMENT.name} wants tables that there are not: {', '.join(sorted(unknown))}")
    return text


def main():
    parser = argparse.ArgumentParser(description="simulate 10,000 disks on 100 gateways")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--write", action="store_true", help=f"put the tables into {DOCUMENT.name}")
    way.add_argument("--check", action="store_true", help=f"fail if {DOCUMENT.name} has others")
    args = parser.parse_args()
    world = World()
    tables = {name: make(world) for name, make in TABLES.items()}
    if not args.write and not args.check:
        print("\n\n".join(f"{name}\n\n{lines}" for name, lines in tables.items()))
        return
    before = DOCUMENT.read_text()
    after = filled(before, tables)
    if args.write:
        DOCUMENT.write_text(after)
    elif before != after:
        sys.exit(f"placement: {DOCUMENT.name} has other tables: python3 benches/placement --write")


if __name__ == "__main__":
    main()
