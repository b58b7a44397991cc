"""Panels of Grafana, told by what they show: each function makes one, and leaves its place to the dashboard.

In queries `{of}` is short for the export that was chosen, `{at}` for the gateway, each with more matchers behind a comma;
`[rate]` is the window of rates.
"""

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_AT = 'job=~"$job", instance=~"$instance"'
_OF = _AT + ', export=~"$export"'
GREEN, YELLOW, RED = "green", "yellow", "red"


def query(expression, legend="", kind="time_series"):
    """A query: of a range for graphs, of an instant for tables."""
    short = (("{of", "{" + _OF), ("{at", "{" + _AT), ("[rate]", "[$__rate_interval]"))
    for word, meaning in short:
        expression = expression.replace(word, meaning)
    instant = kind == "table"
    return {"datasource": SOURCE, "editorMode": "code", "expr": expression, "format": kind, "instant": instant,
            "legendFormat": legend or "__auto", "range": not instant}


def _panel(kind, title, bad, queries, unit, width, height, options, defaults=None, overrides=()):
    for index, one in enumerate(queries):
        one["refId"] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[index]
    assert bad.endswith("."), f"{title} does not tell what bad looks like"
    return {
        "type": kind, "title": title, "description": bad, "datasource": SOURCE, "targets": list(queries),
        "gridPos": {"w": width, "h": height, "x": 0, "y": 0},
        "fieldConfig": {"defaults": {"unit": unit, **(defaults or {})}, "overrides": list(overrides)},
        "options": options,
    }


def _steps(*above):
    """Colours from bounds on: ("green", None), ("red", 1)."""
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for color, value in above]}


def graph(title, unit, bad, *queries, width=8, height=8, stack=False, bound=None, most=None):
    """Lines over time. `bound` draws a red line where an alert begins."""
    custom = {
        "drawStyle": "line", "lineWidth": 1, "fillOpacity": 30 if stack else 8, "showPoints": "never",
        "spanNulls": False, "stacking": {"group": "A", "mode": "normal" if stack else "none"},
        "thresholdsStyle": {"mode": "off" if bound is None else "dashed"},
    }
    defaults = {"color": {"mode": "palette-classic"}, "custom": custom, "min": 0}
    if bound is not None:
        defaults["thresholds"] = _steps((GREEN, None), (RED, bound))
    if most is not None:
        defaults["max"] = most
    options = {
        "legend": {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return _panel("timeseries", title, bad, queries, unit, width, height, options, defaults)


def number(title, unit, bad, one, width=4, height=4, red=None, yellow=None, decimals=None):
    """The last value, large; its colour says whether it is well."""
    steps = [(GREEN, None)]
    steps += [(YELLOW, yellow)] if yellow is not None else []
    steps += [(RED, red)] if red is not None else []
    judged = len(steps) > 1
    options = {
        "colorMode": "background" if judged else "value", "graphMode": "none" if judged else "area",
        "justifyMode": "auto", "orientation": "auto", "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "showPercentChange": False,
        "textMode": "auto", "wideLayout": True,
    }
    defaults = {"color": {"mode": "thresholds"}, "thresholds": _steps(*steps)}
    if decimals is not None:
        defaults["decimals"] = decimals
    return _panel("stat", title, bad, [one], unit, width, height, options, defaults)


def states(title, bad, names, one, width=24, height=6):
    """A bar for each series over time. `names` gives the values words and colours."""
    mapped = {str(value): {"color": color, "index": value, "text": text} for value, (text, color) in names.items()}
    options = {
        "alignValue": "left", "mergeValues": True, "rowHeight": 0.8, "showValue": "auto",
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": False},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    defaults = {
        "color": {"mode": "thresholds"}, "custom": {"fillOpacity": 70, "lineWidth": 0},
        "mappings": [{"type": "value", "options": mapped}], "thresholds": _steps((GREEN, None)),
    }
    return _panel("state-timeline", title, bad, [one], "none", width, height, options, defaults)


def heat(title, bad, expression, width=12, height=9):
    """How durations are spread over time, from the buckets of a histogram: `expression` keeps the label le."""
    options = {
        "calculate": False, "cellGap": 1, "cellValues": {"unit": "short"},
        "color": {"exponent": 0.5, "fill": "dark-orange", "mode": "scheme", "reverse": False, "scale": "exponential",
                  "scheme": "Spectral", "steps": 64},
        "exemplars": {"color": "rgba(255,0,255,0.7)"}, "filterValues": {"le": 1e-9}, "legend": {"show": True},
        "rowsFrame": {"layout": "auto"}, "showValue": "never",
        "tooltip": {"mode": "single", "showColorScale": True, "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": "s"},
    }
    defaults = {"custom": {"scaleDistribution": {"type": "linear"}}}
    return _panel("heatmap", title, bad, [query(expression, "{{le}}", "heatmap")], "s", width, height, options, defaults)


def table(title, bad, queries, columns, width=12, height=8, units=None, links=None):
    """The values of now, a row for each set of labels. `columns` orders and names the fields; others are left out.

    The value of the first query is the field `Value #A` if there are several, else `Value`.
    """
    overrides = []
    for column, unit in (units or {}).items():
        overrides.append({"matcher": {"id": "byName", "options": column},
                          "properties": [{"id": "unit", "value": unit}]})
    for column, (text, url) in (links or {}).items():
        link = {"title": text, "url": url, "targetBlank": False}
        overrides.append({"matcher": {"id": "byName", "options": column},
                          "properties": [{"id": "links", "value": [link]}]})
    names = list(columns)
    hidden = {"Time": True, "__name__": True, "job": "job" not in names}
    organize = {"excludeByName": hidden, "includeByName": {name: True for name in names},
                "indexByName": {name: index for index, name in enumerate(names)}, "renameByName": columns}
    made = _panel("table", title, bad, queries, "none", width, height,
                  {"cellHeight": "sm", "frameIndex": 0, "showHeader": True,
                   "footer": {"countRows": False, "reducer": ["sum"], "show": False}},
                  {"custom": {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}}, overrides)
    joined = [{"id": "merge", "options": {}}] if len(queries) > 1 else []
    made["transformations"] = [*joined, {"id": "organize", "options": organize}]
    return made


def text(title, markdown, width=24, height=4):
    """Words that belong beside the graphs."""
    made = _panel("text", title, "What the panels of this row mean.", [], "none", width, height,
                  {"code": {"language": "plaintext", "showLineNumbers": False, "showMiniMap": False},
                   "content": markdown, "mode": "markdown"})
    del made["targets"]
    return made


def quantiles(histogram, of, by=""):
    """The median, the 99th and the 99.9th percentile of a histogram; `by` is a label that is kept."""
    label, legend = (f"{by}, ", "{{" + by + "}} ") if by else ("", "")
    window = f"sum by ({label}le) (rate({histogram}_bucket{of}[rate]))"
    named = ((0.5, "median"), (0.99, "99 %"), (0.999, "99.9 %"))
    return [query(f"histogram_quantile({part}, {window})", legend + name) for part, name in named]
