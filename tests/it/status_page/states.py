"""The page in states that are made up: disks in trouble, a crowd of them, and a page that nobody looks at."""

from looks import SCREENS, from_all_sides, nothing_else_asked
from sample import command, export, looked_into, object_log, status

LINES = "return [...document.querySelectorAll('#attention li')].map((line) => [line.className, line.textContent])"
PILLS = """
return Object.fromEntries([...document.querySelectorAll(".exports tbody tr")]
    .map((row) => [row.querySelector("th a").textContent, row.querySelector(".pill").textContent]));
"""

FACTS = """
return Object.fromEntries([...document.querySelectorAll(".facts.wide [data-fact]")]
    .map((fact) => [fact.dataset.fact, fact.querySelector("data").textContent]));
"""

LOOKED_INTO = """
return document.querySelector(".taken")?.textContent.startsWith("Space") && document.querySelectorAll(".cells").length === 2;
"""


def in_trouble():
    journal = {"lag_bytes": 7 << 30, "lag_seconds": 400.0, "used_bytes": 9 << 30, "size_bytes": 10 << 30, "write_delay_seconds": 0.012, "failed": False}
    unknown = {"lag_bytes": None, "lag_seconds": None, "used_bytes": None, "size_bytes": 1 << 30, "write_delay_seconds": None, "failed": None}
    return [
        export("fine", commands={"read": command((5, 90, 5, 0, 0, 0), moved=1 << 20)}),
        export("stalled", storage="object-log", in_flight=37, object=object_log(phase="stalled", commit_lag_seconds=820.0)),
        export("behind", storage="object-log", object=object_log(journal=journal)),
        export("latched", flush_latched=True),
        export("stopped", storage="rocksdb", rocksdb={"writes_stopped": True, "latched": False, "memtable_bytes": None}),
        export("unknown", storage="object-log", object=object_log(phase=None, lease_held=None, commit_lag_seconds=None, dirty_bytes=None, journal=unknown)),
    ]


def troubles(browser, forwarder, folder, _exports):
    forwarder.own["/status.json"] = lambda: status(in_trouble())
    forwarder.own["/status/export.json"] = lambda: looked_into("stalled")
    browser.open(forwarder.url + "/status")
    browser.wait_for("what waits for long is told", "return document.body.innerText.includes('37 requests wait, none was answered for')")
    lines = browser.run(LINES)
    assert [level for level, _ in lines] == ["bad", "bad", "bad", "warn"], lines
    told = {text.split(" ")[0]: text for _, text in lines}
    assert "the object store does not answer" in told["stalled"] and "lags by 13" in told["stalled"], lines
    assert "flush failed" in told["latched"] and "takes no writes" in told["stopped"], lines
    for words in ("held back by 12.0\u00a0ms", "journal is 90\u00a0% full", "lags by 6\u00a0min 40\u00a0s (7.00\u00a0GiB)"):
        assert words in told["behind"], lines
    pills = {"fine": "ok", "stalled": "stalled", "behind": "warning", "latched": "latched", "stopped": "trouble", "unknown": "ok"}
    assert browser.run(PILLS) == pills, browser.run(PILLS)
    assert browser.run("return document.title") == "(4) nbdgate"
    from_all_sides(browser, folder, "troubles")

    # What is not known is a dash, never a zero.
    browser.run("location.hash = '#export=unknown'")
    browser.wait_for("the detail", "return document.querySelector('#detail-title')?.textContent === 'unknown'")
    shown = browser.run(FACTS)
    for term in ("phase", "lease held", "commit lag", "dirty", "write delay", "journal failed", "pinned by snapshots"):
        assert shown[term] == "–", shown
    assert shown["journal used"].startswith("– of"), shown

    browser.run("location.hash = '#export=stalled'")
    browser.wait_for("space, snapshots and cost", LOOKED_INTO)
    text = browser.run("return document.querySelector('#detail').innerText")
    for words in ("<b>monday</b>", "300 segments of 2.34\u00a0GiB, 50\u00a0% live.", "2.00\u00a0USD", "512\u00a0MiB allocated"):
        assert words in text, f"{words!r} is not in\n{text}"
    from_all_sides(browser, folder, "trouble")
    nothing_else_asked(browser, forwarder)


def crowd(browser, forwarder, folder, _exports):
    busy = {"read": command((1, 0, 0, 0, 0, 0), moved=4096)}
    exports = [export(f"tenant-{at % 7}/vm{at:03}", size_bytes=(at + 1) << 30, connections=at % 4, commands=busy) for at in range(250)]
    forwarder.own["/status.json"] = lambda: status(exports)
    browser.open(forwarder.url + "/status")
    count = "return document.querySelectorAll('.exports tbody tr').length"
    browser.wait_for("as many rows as are good", count + " === 200")
    note = lambda: browser.run("return document.querySelector('#exports-note').textContent")
    assert note() == "the first 200 are shown", note()
    browser.press("#filter", "tenant-3/")
    browser.wait_for("the filter", count + " === 36")
    assert note() == "36 of 250", note()
    names = "return [...document.querySelectorAll('.exports th a')].map((link) => link.textContent)"
    head = "#exports th[data-key=clients] button"
    browser.press(head, "\ue007")
    assert browser.run("return document.querySelector('#exports th[data-key=clients]').getAttribute('aria-sort')") == "descending"
    assert browser.run(names)[0] == "tenant-3/vm003", browser.run(names)[:3]
    browser.press(head, "\ue007")
    assert browser.run(names)[0] == "tenant-3/vm024", browser.run(names)[:3]
    from_all_sides(browser, folder, "crowd", {screen: SCREENS[screen] for screen in ("light", "phone")})
    # Rows stay the same elements while their numbers change: what somebody is about to click does not move.
    browser.run("window.row = document.querySelector('.exports tbody tr')")
    asked = forwarder.asked("/status.json")
    forwarder.wait_until_asked("/status.json", asked + 2)
    assert browser.run("return window.row === document.querySelector('.exports tbody tr')")
    nothing_else_asked(browser, forwarder)


def hidden(browser, forwarder, _folder, _exports):
    browser.open(forwarder.url + "/status")
    forwarder.wait_until_asked("/status.json", 2)
    browser.hide(True)
    browser.wait_for("the page is hidden", "return document.hidden")
    # At most what was under way; then twice the pause, by the page's own clock.
    asked = forwarder.asked("/status.json")
    waited = "if (window.since === undefined) window.since = performance.now(); return performance.now() - window.since > 4500"
    browser.wait_for("time goes by", waited)
    assert forwarder.asked("/status.json") <= asked + 1, "a page that nobody sees goes on asking"
    asked = forwarder.asked("/status.json")
    browser.hide(False)
    forwarder.wait_until_asked("/status.json", asked + 2)
    nothing_else_asked(browser, forwarder)
