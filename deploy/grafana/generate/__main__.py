"""Writes the dashboards of Grafana from the descriptions in this directory.

    python3 deploy/grafana/generate            # writes deploy/grafana/dashboards
    python3 deploy/grafana/generate --check    # only tells whether they are as they would be written
"""

import pathlib
import sys

import dashboard
import export
import fleet
import latency
import object_store
import rocksdb

FOLDER = pathlib.Path(__file__).parents[1] / "dashboards"


def main():
    files = {}
    for description in (fleet, export, object_store, rocksdb, latency):
        made = description.made()
        files[made["uid"].removeprefix("nbdgate-") + ".json"] = dashboard.written(made) + "\n"
    if sys.argv[1:] == ["--check"]:
        there = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
        wrong = sorted(name for name in there.keys() | files.keys() if there.get(name) != files.get(name))
        sys.exit(f"not as they are described: {', '.join(wrong)}; run {sys.argv[0]}" if wrong else 0)
    if sys.argv[1:]:
        sys.exit(__doc__)
    for path in FOLDER.glob("*.json"):
        path.unlink()
    for name, text in files.items():
        (FOLDER / name).write_text(text)


main()
