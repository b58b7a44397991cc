"""What the gateway tells systemd from its start to its end (sd_notify(3)).

    notifying.py NBDGATE
"""

import sys

import nbd

from manager import Manager, wait_until


def from_start_to_end(binary, abstract):
    with Manager(binary, abstract) as manager:
        path = manager.folder / "nbd.sock"
        gateway = manager.start("--export=vm=mem:1M", "--export=b=mem:1M", f"--listen=unix:{path}")
        ready, before = manager.ready()
        assert all("READY" not in news for news in before)
        assert any(int(news.get("EXTEND_TIMEOUT_USEC", 0)) >= 10_000_000 for news in before), before
        assert any(news.get("STATUS") == "opening exports" for news in before), before
        assert "EXTEND_TIMEOUT_USEC" not in ready and "WATCHDOG" not in ready, ready
        assert ready["STATUS"] == "serving 2 exports to 0 clients", ready
        # Ready means that the first try succeeds.
        client = nbd.NBD()
        client.connect_uri(f"nbd+unix:///vm?socket={path}")
        assert client.pread(512, 0) == bytes(512)
        manager.hear("the client is counted", lambda news: news.get("STATUS") == "serving 2 exports to 1 client")
        client.shutdown()
        manager.hear("the client is gone", lambda news: news.get("STATUS") == "serving 2 exports to 0 clients")
        gateway.stop()
        news, _ = manager.hear("STOPPING=1", lambda news: "STOPPING" in news)
        assert news["STOPPING"] == "1" and news["STATUS"].startswith("stopping"), news
        assert int(news["EXTEND_TIMEOUT_USEC"]) >= 10_000_000, news
        # The process is gone: whatever it told is there. That it needs more time, or what it is at, it may tell.
        while news := manager.heard(0.01):
            assert "READY" not in news and "WATCHDOG" not in news, f"told after STOPPING=1: {news}"


def a_gateway_that_cannot_start_never_says_ready(binary):
    with Manager(binary) as manager:
        gateway = manager.start("--export=vm=file:/nonexistent/disk.img", f"--listen=unix:{manager.folder}/nbd.sock")
        assert gateway.wait() == 1, gateway.log()
        while news := manager.heard(0.01):
            assert "READY" not in news, news


def a_wrong_notification_socket_is_refused_by_name(binary):
    with Manager(binary) as manager:
        flags = ["--export=vm=mem:1M", f"--listen=unix:{manager.folder}/nbd.sock"]
        long = "/" + 200 * "x"
        for wrong in (long, "relative"):
            gateway = manager.start(*flags, environment={"NOTIFY_SOCKET": wrong})
            assert gateway.wait() == 1 and f"NOTIFY_SOCKET={wrong}" in gateway.log(), gateway.log()


def a_manager_that_is_told_in_another_way_is_not_told(binary):
    with Manager(binary) as manager:
        flags = ["--export=vm=mem:1M", f"--listen=unix:{manager.folder}/nbd.sock"]
        gateway = manager.start(*flags, environment={"NOTIFY_SOCKET": "vsock:2:1"})
        wait_until("it serves", lambda: " serving engine=" in gateway.log())
        assert 'scheme="vsock"' in gateway.log(), gateway.log()
        gateway.stop()


def main():
    binary = sys.argv[1]
    from_start_to_end(binary, abstract=False)
    from_start_to_end(binary, abstract=True)
    a_gateway_that_cannot_start_never_says_ready(binary)
    a_wrong_notification_socket_is_refused_by_name(binary)
    a_manager_that_is_told_in_another_way_is_not_told(binary)


main()
