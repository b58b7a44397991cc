"""The rules and dashboards of deploy/, and every expression in them."""

import json
import re

from declared import ROOT

DASHBOARDS = ROOT / "deploy/grafana/dashboards"
PROMETHEUS = ROOT / "deploy/prometheus"


def rules(folder="rules"):
    """Every rule as a dictionary of what stands below it; texts over several lines are joined."""
    found = []
    for path in sorted((PROMETHEUS / folder).glob("*.yml")):
        key = None
        for line in path.read_text().splitlines():
            indent = len(line) - len(line.lstrip())
            begins = re.match(r"      - (alert|record): (\S+)$", line)
            entry = re.match(r'        (?:  )?(\w+): "?(.*?)"?$', line)
            if begins:
                found.append({"file": path.name, begins[1]: begins[2]})
                key = None
            elif key and indent > 8 and not (entry and indent == 8):
                found[-1][key] = f"{found[-1][key]} {line.strip()}".strip()
            elif entry and found and indent >= 8:
                block = entry[2] == "|"
                key = entry[1] if block else None
                found[-1][entry[1]] = "" if block else entry[2]
            else:
                key = None
    return found


def dashboards():
    """Every dashboard by the name of its file."""
    return {path.name: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def expressions(dashboard):
    """(where, expression, legend) of every query: panels, variables and annotations."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"], target["legendFormat"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
            yield f"variable {variable['name']}", match[1], "{{" + match[2] + "}}"
    for annotation in dashboard["annotations"]["list"]:
        yield f"annotation {annotation['name']}", annotation["expr"], annotation["titleFormat"]


def legend_labels(legend):
    """The labels that a legend shows."""
    return re.findall(r"\{\{\s*(\w+)\s*\}\}", legend)
