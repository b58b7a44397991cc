"""Every expression of every rule and dashboard has data in a real Prometheus that scrapes a gateway under load.

    live.py PROGRAM BUCKET-URI FOLDER       with the object store's address and keys in the environment
"""

import math
import re
import sys

from files import dashboards, expressions, legend_labels, rules
from promql import operands
from scene import Gateway, Load, Prometheus, folder_below, wait_for

# What cannot come to pass here, what is asked instead, and why.
INSTEAD = [
    ('outcome="denied"', 'outcome="ok"', "the store of the tests knows one pair of keys, and the gateway has it"),
    ("absent(", "group(", "there is a gateway"),
]
# What the load is meant to set off; anything else is a false alarm.
EXPECTED_ALERTS = {"NbdgateErrorRate", "NbdgateIoErrors", "NbdgateStoreErrors", "NbdgateStoreThrottles"}


def plain(expression, variables):
    """The expression with what Grafana would put in place of its variables."""
    values = {"__rate_interval": "1m", "__range": "1m", **variables}
    for instead_of, instead, _ in INSTEAD:
        expression = expression.replace(instead_of, instead)
    return re.sub(r"\$\{?(\w+)\}?", lambda match: values[match[1]], expression)


def all_of(prometheus, variable, before):
    """What Grafana puts in the place of a variable when all of it is chosen: without an `allValue`, what was found."""
    if variable["type"] == "textbox":
        return variable["query"]
    if variable["type"] != "query" or "allValue" in variable:
        return variable.get("allValue", "")
    series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
    found = wait_for(f"values of {label}", lambda: prometheus.query(plain(series, before)))
    return "|".join(sorted({labels[label].replace(".", "\\\\.") for labels, _ in found}))


def variables_of(prometheus, dashboard):
    """The variables with all chosen; one may be asked for within those before."""
    variables = {}
    for variable in dashboard["templating"]["list"]:
        variables[variable["name"]] = all_of(prometheus, variable, variables)
    return variables


def wanted(prometheus):
    """Every expression that must have data, as where, expression and the labels that are shown."""
    for name, dashboard in dashboards().items():
        variables = variables_of(prometheus, dashboard)
        for where, expression, legend in expressions(dashboard):
            for operand in operands(plain(expression, variables)):
                yield f"{name}: {where}", operand, legend_labels(legend)
    for rule in rules():
        for operand in operands(plain(rule["expr"], {})):
            yield rule.get("alert") or rule["record"], operand, []
        if "record" in rule:
            yield rule["record"], rule["record"], []


def lacks(prometheus, expression, shown):
    """What the answer to an expression lacks, if it lacks anything."""
    samples = prometheus.query(expression)
    if not any(math.isfinite(value) for _, value in samples):
        return "no data" if not samples else "no number"
    hidden = [label for label in shown if not any(label in labels for labels, _ in samples)]
    return f"no label {', '.join(hidden)}" if hidden else None


def look(prometheus, load):
    """Asks for everything until all of it has data, and tells how much that was."""
    everything = list(wanted(prometheus))
    missing = [(one, "not asked for") for one in everything]

    def all_there():
        nonlocal missing
        load.check()
        answers = ((one, lacks(prometheus, *one[1:])) for one, _ in missing)
        missing = [(one, what) for one, what in answers if what]
        return not missing
    try:
        wait_for("data", all_there)
    except TimeoutError:
        told = (f"{where}: {what} for {expression}" for (where, expression, _), what in missing)
        raise SystemExit("\n".join(told)) from None
    return len(everything)


def check_rules(prometheus):
    """Prometheus finds nothing wrong with the rules."""
    known = prometheus.rules()
    assert len(known) == len(rules()), f"{len(known)} rules are loaded of {len(rules())}"
    bad = [rule for rule in known if rule["health"] != "ok" or rule.get("lastError")]
    assert not bad, bad


def check_alerts(prometheus, load):
    """What is meant to be noticed is; what is not never fires, and is not even pending any more in the end: what a gateway
    does at its start is forgotten by then."""
    unexpected = {}

    def only_what_is_expected():
        nonlocal unexpected
        load.check()
        active = {rule["name"]: {alert["state"] for alert in rule["alerts"]} for rule in prometheus.rules() if rule.get("alerts")}
        unexpected = {name: states for name, states in active.items() if name not in EXPECTED_ALERTS}
        firing = [name for name, states in unexpected.items() if "firing" in states]
        assert not firing, f"false alarms: {firing}"
        return not unexpected and "NbdgateErrorRate" in active
    try:
        wait_for("expected alerts alone", only_what_is_expected)
    except TimeoutError:
        raise SystemExit(f"false alarms are pending: {unexpected}" if unexpected
                         else "reads fail, and no alert is even pending") from None


def check_that_others_are_left_alone(prometheus):
    """A target of another job that is down is not a gateway that is down."""
    assert any(not value for _, value in prometheus.query('up{job!="nbdgate"}')), "the other target is not down"
    fleet = dashboards()["fleet.json"]
    [down] = [expression for where, expression, _ in expressions(fleet) if where == "Gateways down"]
    [(_, value)] = prometheus.query(plain(down, variables_of(prometheus, fleet)))
    assert value == 0, f"{value} gateways are said to be down"


def main():
    program, bucket, folder = sys.argv[1], sys.argv[2], folder_below(sys.argv[3])
    gateway = Gateway(program, bucket, folder)
    running = [gateway]
    try:
        load = Load(gateway)
        try:
            prometheus = Prometheus(folder, gateway.metrics)
            running.append(prometheus)
            count = look(prometheus, load)
            check_rules(prometheus)
            check_that_others_are_left_alone(prometheus)
            check_alerts(prometheus, load)
        finally:
            load.stop()
        for process in reversed(running):
            process.stop()
        print(f"{count} expressions have data")
    finally:
        for process in running:
            process.child.kill()
            process.child.wait()


main()
