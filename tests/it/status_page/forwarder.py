"""What stands between the browser and the gateway: the page keeps its address when the gateway gets another one.

Everything is passed on as it is, both ways. A gateway that is not there looks like that to the browser: the connection
ends without an answer. Answers that a test gives itself, for states that no gateway can be brought into at will, replace
those of the gateway, with its headers.
"""

import http.client
import http.server
import json
import threading
import time

# Seconds for the gateway to answer.
PATIENCE = 20


class Forwarder:
    """Listens on a port of the system's choice until the `with` block ends."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.own = {}  # path -> a function that makes the JSON
        self._asked = []
        self._lock = threading.Lock()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def asked(self, path):
        """How often a path was asked for."""
        with self._lock:
            return sum(1 for asked in self._asked if asked.partition("?")[0] == path)

    def wait_until_asked(self, path, times):
        deadline = time.monotonic() + PATIENCE
        while self.asked(path) < times:
            assert time.monotonic() < deadline, f"{path} was asked for {self.asked(path)} times, not {times}"
            time.sleep(0.02)

    def fetch(self, path):
        """Status, headers and body as the gateway gives them."""
        connection = http.client.HTTPConnection(self.gateway, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _handler(forwarder):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                with forwarder._lock:
                    forwarder._asked.append(self.path)
                try:
                    status, headers, body = forwarder.fetch(self.path)
                except OSError:
                    self.close_connection = True
                    return
                own = forwarder.own.get(self.path.partition("?")[0])
                if own:
                    status, body = 200, json.dumps(own()).encode()
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in ("content-length", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        return Handler
