"""Rules and dashboards name only what the program measures, and hang together. Needs neither Prometheus nor a gateway."""

import re

from declared import KUBE_STATE_METRICS, ROOT, Declared
from files import PROMETHEUS, dashboards, expressions, legend_labels, rules
from promql import named

# Of Grafana itself: nothing is to be installed.
PANELS = {"row", "timeseries", "stat", "state-timeline", "heatmap", "table", "text"}
UNITS = {"none", "short", "s", "bytes", "Bps", "ops", "reqps", "percentunit", "bool", "currencyUSD"}
# What no dashboard or rule shows, and why.
UNUSED = set()

wrong = []


def complain(where, what):
    wrong.append(f"{where}: {what}")


def check_names(where, expression, declared):
    """Every series, label and word in an expression is one that there is; gives the series and their labels."""
    selectors, listed = named(expression)
    had = set()
    for name, matchers in selectors:
        if name not in declared.labels:
            complain(where, f"{name} is not measured")
            continue
        had |= declared.labels[name]
        for label, _, value in matchers:
            if label not in declared.labels[name]:
                complain(where, f"{name} has no label {label}")
            for word in value.split("|"):
                if "$" not in word and word not in declared.values.get(label, {word}):
                    complain(where, f"{label} is never {word!r}")
    for label in listed - had:
        complain(where, f"no series in it has the label {label}")
    return {name for name, _ in selectors}, had


def check_rules(declared):
    used = set()
    for rule in [*rules(), *rules("kubernetes")]:
        where = f"{rule['file']}: {rule.get('alert') or rule.get('record')}"
        names, had = check_names(where, rule["expr"], declared)
        used |= names
        if "alert" in rule:
            check_alert(where, rule, had)
        elif rule["record"].count(":") != 2:
            complain(where, "is not named level:metric:operations")
    return used


def check_alert(where, rule, had):
    for label in re.findall(r"\$labels\.(\w+)", rule["summary"] + rule["description"]):
        if label not in had:
            complain(where, f"tells of the label {label}, which it has not")
    if not re.search(r"severity: (critical|warning)\b", rule["labels"]):
        complain(where, "has no severity that is known")
    if rule["runbook_url"] != f"docs/OPERATING.md#{rule['alert'].lower()}":
        complain(where, "has another runbook")


def check_runbook(alerts):
    """Every alert has a paragraph, and every paragraph an alert."""
    told = re.findall(r'^- <a id="(\w+)"></a>\*\*(\w+)\*\*', (ROOT / "docs/OPERATING.md").read_text(), re.MULTILINE)
    if [name.lower() for _, name in told] != [anchor for anchor, _ in told]:
        complain("docs/OPERATING.md", "an anchor is not the name of its alert")
    for name in set(alerts) ^ {name for _, name in told}:
        complain("docs/OPERATING.md", f"{name} is an alert without a paragraph, or a paragraph without an alert")


def check_tests(alerts):
    """Every alert is seen not to fire and to fire, with all labels that its texts show."""
    text = "".join(path.read_text() for path in sorted((PROMETHEUS / "tests").glob("*.yml")))
    for rule in alerts:
        test = re.search(rf"  - name: {rule['alert']}\n(.*?)(?=\n  - name: |\Z)", text, re.DOTALL)
        body = test[1] if test else ""
        fired = re.search(rf'labels: \'ALERTS{{alertname="{rule["alert"]}", alertstate="firing", (.*)}}\'', body)
        if not fired or "exp_samples: []" not in body or 'instance="near"' not in body:
            complain(rule["alert"], "has no test of firing and of not firing")
            continue
        for label in re.findall(r"\$labels\.(\w+)", rule["summary"] + rule["description"]):
            if f'{label}="' not in fired[1]:
                complain(rule["alert"], f"fires without the label {label} that it tells of")


def check_structure(name, dashboard):
    """What Grafana takes for granted of a file that it loads."""
    panels = dashboard["panels"]
    for key in ("id", "title"):
        seen = [panel[key] for panel in panels if panel["type"] != "row" or key == "id"]
        for value in {value for value in seen if seen.count(value) > 1}:
            complain(name, f"two panels have the {key} {value!r}")
    taken = {}
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        if any(x < 0 or x >= 24 for x, _ in cells) or not cells:
            complain(name, f"{panel['title']} is beside the grid")
        for cell in cells & taken.keys():
            complain(name, f"{panel['title']} lies on {taken[cell]} at {cell}")
        taken.update(dict.fromkeys(cells, panel["title"]))
        check_panel(f"{name}: {panel['title']}", panel)
    declared = {variable["name"] for variable in dashboard["templating"]["list"]}
    for where, expression, _ in expressions(dashboard):
        for variable in re.findall(r"\$\{?(\w+)", expression):
            if variable not in declared and not variable.startswith("__"):
                complain(f"{name}: {where}", f"${variable} is no variable")


def check_panel(where, panel):
    if panel["type"] not in PANELS:
        complain(where, f"{panel['type']} is no panel of Grafana's own")
    if panel["type"] == "row":
        return
    if not panel["description"].strip():
        complain(where, "does not tell what bad looks like")
    if panel["fieldConfig"]["defaults"]["unit"] not in UNITS:
        complain(where, f"has the unit {panel['fieldConfig']['defaults']['unit']}")
    targets = panel.get("targets", [])
    letters = [target["refId"] for target in targets]
    if len(set(letters)) != len(letters):
        complain(where, "has two queries of one name")
    for holder in [panel, *targets]:
        if holder.get("datasource") != {"type": "prometheus", "uid": "${datasource}"}:
            complain(where, "asks something else than the chosen Prometheus")


def main():
    declared = Declared()
    for rule in rules():
        if "record" in rule:
            declared.add_rule(rule["record"])
    used = check_rules(declared)
    alerts = [rule for rule in [*rules(), *rules("kubernetes")] if "alert" in rule]
    check_runbook([rule["alert"] for rule in alerts])
    check_tests(alerts)
    found = dashboards()
    for name, dashboard in found.items():
        check_structure(name, dashboard)
        for where, expression, legend in expressions(dashboard):
            names, had = check_names(f"{name}: {where}", expression, declared)
            used |= names
            for label in set(legend_labels(legend)) - had:
                complain(f"{name}: {where}", f"shows the label {label}, which nothing in it has")
    if len({dashboard["uid"] for dashboard in found.values()}) != len(found):
        complain("dashboards", "two have one uid")
    families = {declared.family(name) for name in used - set(KUBE_STATE_METRICS)}
    for family in sorted((declared.families - families) ^ UNUSED):
        complain("docs/METRICS.md", f"{family} is shown by no dashboard and no rule, or is exempt and shown")
    count = sum(1 for dashboard in found.values() for _ in expressions(dashboard))
    assert len(alerts) > 30 and len(found) == 5 and count > 100, "hardly anything was looked at"
    if wrong:
        raise SystemExit("\n".join(wrong))


main()
