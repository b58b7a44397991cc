"""A gateway that goes away, and another one that comes in its place, as seen from a page that stays open."""

import re

from dialogue import ask
from looks import SCREENS, from_all_sides

# Where there is one export only, its detail is the page.
TITLE = "return document.querySelector('#detail-title').checkVisibility() && document.querySelector('#detail-title').textContent"


def stops(browser, forwarder, folder, _exports):
    browser.open(forwarder.url + "/status")
    browser.wait_for("it serves", "return document.querySelector('#state').textContent === 'serving'")
    assert browser.run("return document.querySelector('#silence').hidden")
    browser.run("window.opened = 'once'")
    started = browser.run("return document.querySelector('[data-fact=up] data').getAttribute('value')")
    assert browser.console() == []

    ask("stop")
    browser.wait_for("the page says that there is no answer", "return !document.querySelector('#silence').hidden")
    said = browser.run("return document.querySelector('#silence').textContent")
    assert re.search(r"^No answer since \d\d:\d\d:\d\d\. ", said), said
    assert browser.run("return document.querySelector('#state').textContent") == "no answer"
    assert browser.run(TITLE) == "vm1", "what was last known is gone"
    from_all_sides(browser, folder, "no-answer", {screen: SCREENS[screen] for screen in ("light", "phone-dark")})

    forwarder.gateway = ask("start")
    browser.wait_for("the page goes on by itself", "return document.querySelector('#silence').hidden")
    again = "return document.querySelector('[data-fact=up] data').getAttribute('value') !== arguments[0]"
    browser.wait_for("the new gateway is seen", again, started)
    assert browser.run("return document.querySelector('#state').textContent") == "serving"
    assert browser.run("return window.opened") == "once", "the page was loaded again"
    # The browser itself tells of requests without an answer; the page of nothing.
    strange = [entry for entry in browser.console() if "Failed to load resource" not in entry]
    assert strange == [], strange
