"""What the program measures, as docs/METRICS.md lists it; a test of the program holds that list to the code."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[3]
# Labels that Prometheus gives to what it scrapes.
SCRAPED = {"job", "instance"}
# What the alerts for clusters ask for besides.
KUBE_STATE_METRICS = ("kube_statefulset_replicas", "kube_statefulset_status_replicas_ready")


class Declared:
    """Names with their labels, and the values that some labels have."""

    def __init__(self):
        self.labels = {"up": set(SCRAPED), "ALERTS": {"alertname", "alertstate", "severity", *SCRAPED}}
        self.labels.update({name: {"namespace", "statefulset", *SCRAPED} for name in KUBE_STATE_METRICS})
        self.families = set()
        self.values = {}
        text = (ROOT / "docs/METRICS.md").read_text()
        for line in text.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            words = re.findall(r"`([^`]+)`", cells[0])
            if line.startswith("| `nbdgate_"):
                self._family(words[0], cells[1], set(re.findall(r"`(\w+)`", cells[2])))
            elif line.startswith("| `") and len(cells) == 2:
                self.values[words[0]] = set(re.findall(r"`(\w+)`", cells[1]))
        # Whose values are names from the configuration.
        for label in ("export", "listener", "version"):
            del self.values[label]

    def _family(self, name, kind, labels):
        self.families.add(name)
        labels = labels | SCRAPED
        if kind != "histogram":
            self.labels[name] = labels
            return
        self.labels.update({f"{name}_sum": labels, f"{name}_count": labels, f"{name}_bucket": labels | {"le"}})

    def add_rule(self, record):
        """A recording rule keeps the labels that its level names."""
        level = record.split(":")[0]
        known = {label for labels in self.labels.values() for label in labels}
        labels = {"job"}
        while level:
            label = next((label for label in sorted(known, key=len, reverse=True)
                          if level == label or level.startswith(label + "_")), None)
            if label is None:
                raise ValueError(f"{record}: {level} is no label")
            labels.add(label)
            level = level[len(label) + 1:]
        self.labels[record] = labels

    def family(self, name):
        """The family of a series."""
        for end in ("_bucket", "_sum", "_count"):
            if name.removesuffix(end) in self.families:
                return name.removesuffix(end)
        return name
