"""The comparison's JSON: every number of every run, kept so that rows can be measured in several goes."""

import json
from dataclasses import dataclass, field

import workloads
from processes import Trouble


@dataclass
class Record:
    """What was measured, row by row, and on what."""

    about: dict
    # By target and name of the row, in the order of the document once they are asked for.
    rows: dict = field(default_factory=dict)

    def add(self, row, summary, runs, command):
        """Takes a row, in the place of one that was measured earlier."""
        self.rows[row.target, row.name] = {"target": row.target, "name": row.name, "command": command,
                                           "summary": summary, "runs": runs, "notes": []}

    def note(self, row, notes):
        """What there is to say about a row."""
        if (row.target, row.name) in self.rows:
            self.rows[row.target, row.name]["notes"] += notes

    def ordered(self):
        """Rows as the document has them, with what was found; those that are no row any more are left out."""
        known = ((row, self.rows.get((row.target, row.name))) for row in workloads.rows(workloads.TARGETS))
        return [(row, found) for row, found in known if found is not None]

    def results(self):
        """Rows and their summaries."""
        return [(row, found["summary"]) for row, found in self.ordered()]

    def commands(self):
        """What measured them."""
        return list(dict.fromkeys(found["command"] for _, found in self.ordered()))

    def notes(self):
        """All that there is to say."""
        return [note for _, found in self.ordered() for note in found["notes"]]

    def write(self, path):
        """Saves it; a run that is ended halfway leaves what it measured."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**self.about, "rows": [found for _, found in self.ordered()]}, indent=1)
        path.write_text(text + "\n")


def read(path):
    """What an earlier run saved."""
    try:
        saved = json.loads(path.read_text())
        rows = {(row["target"], row["name"]): row for row in saved.pop("rows")}
        if any("command" not in row or "notes" not in row for row in rows.values()):
            raise Trouble(f"{path} is of another version of this comparison: measure anew, without --merge")
        return Record(saved, rows)
    except FileNotFoundError as missing:
        raise Trouble(f"{path} is not there: there is nothing to add to") from missing
    except (ValueError, KeyError) as wrong:
        raise Trouble(f"{path} is not what a comparison writes: {wrong}") from wrong
