"""What the page shows of real disks, under load and after it, against /metrics and the page's own data."""

import json
import time
import urllib.parse

from dialogue import ask
from looks import SCREENS, from_all_sides, nothing_else_asked
from told import buckets, bytes_text, count, duration, parse, quantile, total, value

PATIENCE = 30

ROWS = """
return [...document.querySelectorAll(".exports tbody tr")].map((row) => {
    const cell = (title) => {
        const shown = row.querySelector(`[data-title="${title}"] data`);
        return [shown.hasAttribute("value") ? Number(shown.getAttribute("value")) : null, shown.textContent];
    };
    const titles = ["Read", "Write", "Requests/s", "In flight", "Clients", "Lag"];
    return { name: row.querySelector("th a").textContent, cells: Object.fromEntries(titles.map((title) => [title, cell(title)])) };
});
"""

FACTS = """
return Object.fromEntries([...document.querySelectorAll(arguments[0] + " [data-fact]")].map((fact) => {
    const shown = fact.querySelector("data");
    return [fact.dataset.fact, [shown.hasAttribute("value") ? Number(shown.getAttribute("value")) : null, shown.textContent]];
}));
"""

COMMANDS = """
return Object.fromEntries([...document.querySelectorAll(".commands tbody tr")].map((row) => [row.dataset.command,
    Object.fromEntries([...row.querySelectorAll("td")].map((cell) => {
        const shown = cell.firstElementChild;
        return [cell.dataset.title, [shown.hasAttribute("value") ? Number(shown.getAttribute("value")) : null, shown.textContent]];
    }))]));
"""

SPELLED = {"\u202e": "⟨U+202E⟩", "\t": "⟨U+0009⟩"}


def shown_name(name):
    return "".join(SPELLED.get(character, character) for character in name) or "(default)"


def place_of(name):
    return "#export=" + urllib.parse.quote(name, safe="")


def read_metrics(forwarder):
    status, _, body = forwarder.fetch("/metrics")
    assert status == 200, status
    return parse(body.decode())


def until_equal(claim, shown, wanted):
    """Compares what is shown with what it should be until they are equal: the page shows the past two seconds late."""
    deadline = time.monotonic() + PATIENCE
    while True:
        is_shown, should_be = shown(), wanted()
        differing = {key: (is_shown.get(key), expected) for key, expected in should_be.items() if is_shown.get(key) != expected}
        if not differing:
            return
        assert time.monotonic() < deadline, f"{claim}: shown and expected are {differing}"
        time.sleep(0.1)


def commands_expected(series, name):
    """Each command of an export whose requests were all made in the last minute, while the page was open."""
    expected = {}
    for command in ("read", "write", "flush", "trim", "write_zeroes", "cache", "block_status"):
        of = {"export": name, "command": command}
        requests = value(series, "nbdgate_export_requests_total", **of)
        moved = value(series, "nbdgate_export_bytes_total", export=name, direction=command)
        errors = total(series, "nbdgate_export_errors_total", **of)
        p50, p99 = (quantile(share, buckets(series, **of)) for share in (0.5, 0.99))
        expected[command] = {
            "Requests": (requests, count(requests)),
            "Bytes": (moved, bytes_text(moved)),
            "Errors": (errors, count(errors)),
            "p50": (None if p50 is None else round(p50, 9), duration(p50)),
            "p99": (None if p99 is None else round(p99, 9), duration(p99)),
        }
    return expected


def commands_shown(browser):
    told = browser.run(COMMANDS)
    columns = ("Requests", "Bytes", "Errors", "p50", "p99")
    tidy = lambda number: None if number is None else round(number, 9)
    return {name: {key: (tidy(row[key][0]), row[key][1]) for key in columns} for name, row in told.items()}


def of_object_log(series, name):
    fact = lambda family: value(series, f"nbdgate_object_{family}", export=name)
    return {
        "dirty": (fact("dirty_bytes"), bytes_text(fact("dirty_bytes"))),
        "gc is behind by": (fact("gc_behind_bytes"), bytes_text(fact("gc_behind_bytes"))),
        "pinned by snapshots": (fact("gc_pinned_bytes"), bytes_text(fact("gc_pinned_bytes"))),
        "phase": (None, "open"),
        "lease held": (None, "yes"),
    }


def of_rocksdb(series, name):
    fact = lambda family: value(series, f"nbdgate_rocksdb_{family}", export=name)
    kept = {"allocated": "allocated_bytes", "memtable": "memtable_bytes", "live sst": "live_sst_bytes"}
    shown = {term: (fact(family), bytes_text(fact(family))) for term, family in kept.items()}
    return shown | {"latched": (None, "no"), "writes stopped": (None, "no")}


def facts(browser, place):
    return {term: tuple(shown) for term, shown in browser.run(FACTS, place).items()}


def rows_of(browser):
    return {row["name"]: row["cells"] for row in browser.run(ROWS)}


def loaded(browser, exports):
    """The load has just ended: what it did is in the rates of the last ten seconds."""
    # Not all at once: on a slow machine the rates of one export are over before those of another begin.
    missing = {(shown_name(name), column) for name in exports for column in ("Read", "Write", "Requests/s")}
    deadline = time.monotonic() + PATIENCE
    while missing := {(name, column) for name, column in missing if not rows_of(browser)[name][column][0]}:
        assert time.monotonic() < deadline, f"the load is not seen in {missing} of {rows_of(browser)}"
        time.sleep(0.1)
    browser.wait_for("the load makes a curve", "return / [0-4]?\\d\\.\\d/.test(document.querySelector('.chart path.read').getAttribute('d'))")


def overview(browser, forwarder, exports):
    """After the load, nothing moves any more."""
    nothing = [0, "0\u00a0B/s"]
    quiet = {"Read": nothing, "Write": nothing, "Requests/s": [0, "0"], "In flight": [0, "0"], "Clients": [1, "1"]}
    tidy = lambda cells: {title: cells[title] for title in quiet}
    shown = lambda: {name: tidy(cells) for name, cells in rows_of(browser).items()}
    wanted = {shown_name(name): quiet for name in exports}
    until_equal("the overview of a quiet gateway", shown, lambda: wanted)
    series = read_metrics(forwarder)
    head, totals = facts(browser, "#facts"), facts(browser, ".totals")
    version = next(dict(labels)["version"] for name, labels in series if name == "nbdgate_build_info")
    assert head["version"] == (None, version), head
    assert head["I/O"][0] == total(series, "nbdgate_server_io_threads"), head
    assert head["up"][0] == value(series, "nbdgate_process_start_time_seconds"), head
    assert totals["clients"][0] == total(series, "nbdgate_server_connections") == len(exports), totals
    assert totals["exports"] == (len(exports), count(len(exports))), totals


def clients(browser, forwarder):
    told = json.loads(forwarder.fetch("/status.json")[2])["clients"]
    rows = browser.run(CLIENTS)
    assert sorted(rows) == sorted([client["peer"], shown_name(client["export"]), client["style"]] for client in told), rows


CLIENTS = """
return [...document.querySelectorAll(".clients tbody tr")]
    .map((row) => [...row.children].slice(0, 3).map((cell) => cell.textContent));
"""


def space(browser, forwarder, name):
    """The map shows the gateway's cells in their shades, and tells each."""
    answer = json.loads(forwarder.fetch("/status/export.json?name=" + urllib.parse.quote(name, safe=""))[2])
    allocation = answer["allocation"]
    assert allocation["allocated_bytes"] > 0 and 0 in allocation["cells"] and max(allocation["cells"]) > 0, allocation
    summary = browser.run("return document.querySelector('.map .note').textContent")
    assert summary.startswith(f"{bytes_text(allocation['allocated_bytes'])} allocated"), summary
    empty = allocation["cells"].index(0)
    full = allocation["cells"].index(max(allocation["cells"]))
    colours = browser.run(PIXELS, empty, full)
    assert colours[0] != colours[1] and colours[0][3] == colours[1][3] == 255, f"cells {empty} and {full} are {colours}"
    browser.press(".cells", "\ue011", "\ue014")
    told = browser.run("return document.querySelector('.told').textContent")
    assert "allocated" in told and " to " in told, told


DRAWN = """
return document.querySelector("#detail-title").textContent === "vm1" && document.querySelector(".cells").width > 100
    && document.querySelector(".taken").textContent.startsWith("Space");
"""

PIXELS = """
const canvas = document.querySelector(".cells");
const size = Math.min(22, Math.floor(canvas.parentElement.clientWidth / Math.min(64, canvas.parentElement.clientWidth >= 560 ? 64 : 32)));
const columns = Math.round(canvas.width / size);
const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
return [...arguments].map((at) => {
    const first = 4 * ((Math.floor(at / columns) * size + 1) * canvas.width + (at % columns) * size + 1);
    return [...data.slice(first, first + 4)];
});
"""


def figures(browser, forwarder, folder, exports):
    browser.open(forwarder.url + "/status")
    browser.wait_for("every export is shown", f"return document.querySelectorAll('.exports tbody tr').length === {len(exports)}")
    assert browser.run("return document.querySelector('main img, main script') === null"), "a name became markup"
    ask("load")
    since = time.monotonic()
    loaded(browser, exports)
    clients(browser, forwarder)
    for name in exports:
        browser.run("location.hash = arguments[0]", place_of(name))
        browser.wait_for(f"the detail of {name!r}", "return document.querySelector('#detail-title')?.textContent === arguments[0]", shown_name(name))
        until_equal(f"commands of {name!r}", lambda: commands_shown(browser), lambda: commands_expected(read_metrics(forwarder), name))
        browser.wait_for("space and cost", "return document.querySelector('.taken').textContent.startsWith('Space')")
    assert time.monotonic() - since < 50, "too slow for what was done in the last minute"
    for name, expected in {"vm1": of_object_log, "rock": of_rocksdb}.items():
        browser.run("location.hash = arguments[0]", place_of(name))
        until_equal(f"storage of {name!r}", lambda: facts(browser, ".facts.wide"), lambda: expected(read_metrics(forwarder), name))
    browser.run("location.hash = arguments[0]", place_of("vm1"))
    browser.wait_for("the map is drawn", DRAWN)
    space(browser, forwarder, "vm1")
    from_all_sides(browser, folder, "export")
    browser.click(".back")
    browser.wait_for("the overview again", "return document.querySelector('#overview').checkVisibility()")
    overview(browser, forwarder, exports)
    from_all_sides(browser, folder, "overview")
    nothing_else_asked(browser, forwarder)
