"""A root of the image for tests, and gateways that run in it as an engine would run them."""

import os
import re
import shutil
import tempfile
import unittest
from pathlib import Path

import container_tools as tools
from container_tools import Running, confined, run


class Root(unittest.TestCase):
    """Tests that have the image's root."""

    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="nbdgate-image-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        # The image's user gets through, to its sockets.
        cls.folder.chmod(0o755)
        cls.root = tools.assemble(cls.folder)

    def data(self):
        """A volume of its own."""
        data = Path(tempfile.mkdtemp(dir=self.folder))
        os.chown(data, tools.USER_ID, tools.USER_ID)
        return data

    def gateway(self, *flags, data, profile=tools.OWN_PROFILE, environment=None, hostname=None):
        """A gateway in the image, serving."""
        command = confined(self.root, "/usr/bin/nbdgate", "serve", *flags, profile=profile, data=data, hostname=hostname)
        gateway = Running(command, {"PATH": os.environ["PATH"], **(environment or {})})
        self.addCleanup(lambda: gateway.process.poll() is None and gateway.stop())
        gateway.wait_for("serving engine=")
        return gateway

    def qemu_io(self, gateway, name, *commands):
        """Does something to a disk over TCP, as a client outside."""
        port = re.search(r"address=tcp:127\.0\.0\.1:(\d+)", gateway.log()).group(1)
        words = [word for command in commands for word in ("-c", command)]
        told = run("qemu-io", "-f", "raw", f"nbd://127.0.0.1:{port}/{name}", *words)
        self.assertNotIn("Pattern verification failed", told)
        done = [command for command in commands if command != "flush"]
        self.assertEqual(told.count("ops;"), len(done), told)

    def check_a_disk(self, gateway, name):
        """Writes, reads and trims; 1M at 2M is left."""
        self.qemu_io(gateway, name, "write -P 0x5a 1M 2M", "flush", "read -P 0x5a 1M 2M", "read -P 0 8M 1M", "discard 1M 1M",
                     "flush")

    def check_what_is_left(self, gateway, name):
        """What `check_a_disk` left is there."""
        self.qemu_io(gateway, name, "read -P 0x5a 2M 1M")
