"""A dashboard made of rows of panels: places, numbers, variables, and the file it becomes."""

import json

from panels import SOURCE

# Of Grafana 11.6 and 12.0; later ones migrate it as they load it.
SCHEMA_VERSION = 41
WIDTH = 24
# What fits so many columns is written on one line.
COLUMNS = 160
# How far the lines of a file are indented within a panel.
INSIDE_PANELS = 6


def row(title, *panels):
    """A titled row; panels flow from left to right, as text does."""
    return title, panels


def _variable(name, label, **more):
    return {"name": name, "label": label, "hide": 0, "skipUrlSync": False, **more}


def source():
    """Which Prometheus is asked, so that a dashboard is importable as it is."""
    return _variable("datasource", "Prometheus", type="datasource", query="prometheus", refresh=1, regex="",
                     includeAll=False, multi=False, options=[])


def chosen(name, label, family, within="", many=True, all_value=None):
    """The values of a label. "All" is any of those found, or `all_value`, which may mean what has no such label, too."""
    wanted = f"label_values({family}{{{within}}}, {name})" if within else f"label_values({family}, {name})"
    return _variable(name, label, type="query", datasource=SOURCE, definition=wanted,
                     query={"qryType": 1, "query": wanted, "refId": name}, refresh=2, regex="", sort=1,
                     includeAll=True, multi=many, options=[], current={"text": "All", "value": "$__all"},
                     **({"allValue": all_value} if all_value else {}))


def words(name, label, values, start="All"):
    """One of a few words; "All" is any of them."""
    options = [{"selected": start == "All", "text": "All", "value": "$__all"}]
    options += [{"selected": value == start, "text": value, "value": value} for value in values]
    current = next(option for option in options if option["selected"])
    return _variable(name, label, type="custom", query=",".join(values), includeAll=True, multi=False, allValue=".*",
                     options=options, current={"text": current["text"], "value": current["value"]})


def typed(name, label, value):
    """A number that the viewer may change."""
    value = str(value)
    return _variable(name, label, type="textbox", query=value, current={"text": value, "value": value},
                     options=[{"selected": True, "text": value, "value": value}])


def gateways():
    """The variables that every dashboard has. All jobs are those with gateways: others' targets are no matter of ours."""
    return [source(), chosen("job", "Job", "nbdgate_build_info"),
            chosen("instance", "Gateway", "nbdgate_build_info", 'job=~"$job"')]


def exports(family="nbdgate_export_flush_latched", many=True):
    """The export, or those of a kind of storage; to Prometheus the default export has no name, and All is with it."""
    return chosen("export", "Export", family, 'job=~"$job", instance=~"$instance"', many, all_value=".*")


def _restarts():
    return {"name": "Restarts", "datasource": SOURCE, "enable": True, "hide": False, "iconColor": "red",
            "expr": 'changes(nbdgate_process_start_time_seconds{job=~"$job", instance=~"$instance"}[1m]) > 0',
            "titleFormat": "{{instance}} started", "useValueForTime": False}


def dashboard(uid, title, about, variables, *rows, since="now-6h"):
    """The whole; panels get their places and numbers here."""
    placed, top = [], 0
    for name, panels in rows:
        placed.append({"type": "row", "title": name, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1}})
        top = _flow(panels, top + 1)
        placed.extend(panels)
    for number, panel in enumerate(placed, 1):
        panel["id"] = number
    link = {"title": "nbdgate", "type": "dashboards", "tags": ["nbdgate"], "asDropdown": True, "icon": "external link",
            "includeVars": True, "keepTime": True, "targetBlank": False, "tooltip": "", "url": ""}
    return {
        "uid": uid, "title": f"nbdgate: {title}", "description": about, "tags": ["nbdgate"],
        "schemaVersion": SCHEMA_VERSION, "version": 1, "editable": True, "graphTooltip": 1, "refresh": "30s",
        "time": {"from": since, "to": "now"}, "timezone": "browser", "timepicker": {}, "fiscalYearStartMonth": 0,
        "weekStart": "", "preload": False, "links": [link], "annotations": {"list": [_restarts()]},
        "templating": {"list": variables}, "panels": placed,
    }


def _flow(panels, top):
    """Gives panels their places from `top` on, and tells where the next row begins."""
    left = height = 0
    for panel in panels:
        place = panel["gridPos"]
        if left + place["w"] > WIDTH:
            left, top, height = 0, top + height, 0
        place.update(x=left, y=top)
        left, height = left + place["w"], max(height, place["h"])
    return top + height


def written(value, indent=0):
    """JSON in as few lines as can be read and compared, in the same order each time: a line is a query, or the options of a
    panel, or as much as fits."""
    line = json.dumps(value, ensure_ascii=False)
    is_short = indent + len(line) <= COLUMNS or (isinstance(value, dict) and indent >= INSIDE_PANELS)
    if not isinstance(value, (dict, list)) or not value or is_short:
        return line
    if isinstance(value, list):
        return _broken("[]", [written(part, indent + 2) for part in value], indent)
    lines = []
    for key, part in value.items():
        text = f"{json.dumps(key)}: {written(part, indent + 2)}"
        fits = lines and indent + len(lines[-1]) + len(text) + 4 <= COLUMNS
        if fits and "\n" not in lines[-1] + text:
            lines[-1] += f", {text}"
        else:
            lines.append(text)
    return _broken("{}", lines, indent)


def _broken(brackets, lines, indent):
    inner = "\n" + " " * (indent + 2)
    return brackets[0] + inner + f",{inner}".join(lines) + f"\n{' ' * indent}{brackets[1]}"
