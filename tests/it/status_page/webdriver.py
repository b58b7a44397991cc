"""A headless Chromium, driven over WebDriver with nothing but the standard library."""

import base64
import json
import re
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

# Seconds for the browser to do one thing, and for a test to see what it waits for.
PATIENCE = 30

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One window of one Chromium with a profile of its own; both end with the `with` block."""

    def __init__(self, width, height):
        self._profile = tempfile.TemporaryDirectory(prefix="nbdgate-chromium-", ignore_cleanup_errors=True)
        command = ["chromedriver", "--port=0", "--allowed-ips=127.0.0.1"]
        self._driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._session = None
        try:
            self._base = f"http://127.0.0.1:{self._port()}"
            self._session = self._start(width, height)
            self.open("about:blank")
        except BaseException:
            self._end()
            raise

    def _port(self):
        for line in self._driver.stdout:
            told = re.search(r"started successfully on port (\d+)", line)
            if told:
                # What it says later is of no use, but must not fill the pipe.
                threading.Thread(target=self._driver.stdout.read, daemon=True).start()
                return int(told[1])
        raise AssertionError("chromedriver ended before it listened")

    def _start(self, width, height):
        options = {"args": [*FLAGS, f"--user-data-dir={self._profile.name}", f"--window-size={width},{height}"]}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        return self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end()

    def _end(self):
        try:
            if self._session:
                self._call("DELETE", f"/session/{self._session}")
        finally:
            self._driver.terminate()
            try:
                self._driver.wait(10)
            except subprocess.TimeoutExpired:
                self._driver.kill()
                self._driver.wait()
            self._profile.cleanup()

    def _call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=2 * PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            told = json.load(error)["value"]
            raise AssertionError(f"{method} {path}: {told['error']}: {told['message']}") from None

    def _ask(self, method, path, body=None):
        return self._call(method, f"/session/{self._session}{path}", body)

    def open(self, url):
        self._ask("POST", "/url", {"url": url})

    def run(self, script, *arguments):
        """What a function body returns; it may wait for promises."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def devtools(self, command, **parameters):
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def screen(self, width, height, dark=False, touch=False):
        """The size of the page, and the theme that its reader prefers."""
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[theme])

    def wait_for(self, claim, script, *arguments):
        """Waits until a script returns something true, and returns that."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = self.run(script, *arguments)
            if found:
                return found
            if time.monotonic() > deadline:
                shown = self.run("return document.body.innerText")
                raise AssertionError(f"{claim}: not within {PATIENCE} seconds; the page says:\n{shown}")
            time.sleep(0.05)

    def press(self, selector, *keys):
        """Types keys into an element."""
        element = self._ask("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]
        self._ask("POST", f"/element/{element}/value", {"text": "".join(keys)})

    def click(self, selector):
        element = self._ask("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]
        self._ask("POST", f"/element/{element}/click", {})

    def console(self):
        """Warnings and errors since the last call."""
        entries = self._ask("POST", "/se/log", {"type": "browser"})
        return [f"{entry['level']}: {entry['message']}" for entry in entries if entry["level"] in ("WARNING", "SEVERE")]

    def requests(self):
        """Addresses that were asked for since the last call, but for what the browser's own first page asks for."""
        events = [json.loads(entry["message"])["message"] for entry in self._ask("POST", "/se/log", {"type": "performance"})]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [asked["request"]["url"] for asked in sent if not asked["documentURL"].startswith("chrome:")]

    def hide(self, hidden):
        """Puts the window away, or back."""
        if hidden:
            self._ask("POST", "/window/minimize", {})
        else:
            self._ask("POST", "/window/rect", {"width": 1280, "height": 900})

    def picture(self, path, whole=True):
        """A screenshot, of the whole page or of what is seen of it."""
        shot = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))
