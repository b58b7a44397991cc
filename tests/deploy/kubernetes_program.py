"""What deploy/kubernetes says to the program: its arguments, the files of disks, and the probes, with the real nbdgate."""

import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

import container_tools
import kubernetes_manifests as manifests
import kubernetes_tools as tools

START_SECONDS = 30
DISK = '[[export]]\nname = "vm1"\nuri = "mem:16M"\n'
KEYS = '[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n'
# The test server's, in tests/s3-server/src/lib.rs.
SERVERS_KEYS = ("test-access-key", "test-secret-key")


class Program(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="nbdgate-deploy-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def command(self, pod, disks, changes=()):
        """The container's command, with its folders below a folder of our own."""
        config = self.folder / "etc" / "nbdgate" / f"{pod}.toml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(disks)
        args = [arg.replace("$(POD_NAME)", pod) for arg in manifests.container()["args"]]
        args = [re.sub(r"=/(etc|var)/", rf"={self.folder}/\1/", arg) for arg in args]
        for flag, value in changes:
            self.assertTrue(any(arg.startswith(f"--{flag}=") for arg in args), flag)
            args = [f"--{flag}={value}" if arg.startswith(f"--{flag}=") else arg for arg in args]
        return [tools.program(), *args]

    def environment(self, *keys, **more):
        """The container's, with these keys."""
        file = self.folder / "aws"
        file.write_text(KEYS.format(*keys))
        settings = manifests.one("ConfigMap", manifests.container()["envFrom"][0]["configMapRef"]["name"])["data"]
        return settings | {"AWS_SHARED_CREDENTIALS_FILE": str(file)} | more

    def check(self, pod, disks):
        return subprocess.run([*self.command(pod, disks), "--check"], env=self.environment("id", "secret"),
                              capture_output=True, text=True, timeout=START_SECONDS)

    def test_every_file_of_disks_is_valid(self):
        files = manifests.one("ConfigMap", "fra1-nbdgate-disks")["data"]
        for name, disks in files.items():
            checked = self.check(name.removesuffix(".toml"), disks)
            self.assertEqual(checked.returncode, 0, checked.stderr)

    def test_a_mistake_in_a_file_of_disks_is_told(self):
        [first, *_] = manifests.one("ConfigMap", "fra1-nbdgate-disks")["data"].values()
        for right, wrong in (("journal =", "jurnal ="), ("s3://", "s4://"), ('"8G"', '"8GB"')):
            self.assertIn(right, first)
            self.assertEqual(self.check("fra1-nbdgate-0", first.replace(right, wrong, 1)).returncode, 2, wrong)

    def test_journals_are_on_their_volume(self):
        mounts = {mount["name"]: mount["mountPath"] for mount in manifests.container()["volumeMounts"]}
        for disks in manifests.one("ConfigMap", "fra1-nbdgate-disks")["data"].values():
            for journal in re.findall(r'^journal = "(.*)"', disks, re.M):
                self.assertTrue(journal.startswith(mounts["journal"] + "/"), journal)

    def test_the_job_makes_its_disk_once(self):
        store = container_tools.Running([str(container_tools.binary("nbdgate-s3-server", "NBDGATE_S3_SERVER"))])
        self.addCleanup(lambda: store.process.poll() is None and store.stop())
        environment = self.environment(*SERVERS_KEYS, AWS_ENDPOINT=f"http://{store.wait_for(':')}", AWS_ALLOW_HTTP="true")

        def nbdgate(*words):
            return container_tools.run(tools.program(), *words, env=environment)

        [job] = manifests.one("Job", folder="recipes/create-disk")["spec"]["template"]["spec"]["containers"]
        nbdgate(*job["args"])
        made = nbdgate("disk", "info", job["args"][2])
        self.assertRegex(made, r"(?m)^size +100G .*\nstate +closed$")
        # Applied again, or tried again after it was cut off.
        nbdgate(*job["args"])
        self.assertEqual(nbdgate("disk", "info", job["args"][2]), made)

    def gateway(self, disks, ends_by, environment):
        """A gateway with these disks, and its log."""
        (self.folder / "var" / "cache" / "nbdgate").mkdir(parents=True)
        log = self.folder / "log"
        command = self.command("fra1-nbdgate-0", disks, [("listen", "tcp:127.0.0.1:0"), ("metrics", "127.0.0.1:0"),
                                                         ("cache-size", "64M")])
        with log.open("w") as out:
            gateway = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
        self.addCleanup(gateway.wait, START_SECONDS)
        self.addCleanup(gateway.send_signal, ends_by)
        return gateway, log

    def test_a_gateway_that_waits_for_its_store_is_alive_and_not_ready(self):
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = self.environment("id", "secret", AWS_ENDPOINT=endpoint, AWS_ALLOW_HTTP="true")
        gateway, log = self.gateway(DISK.replace("mem:16M", "s3://bucket/disks/vm1"), signal.SIGKILL, environment)
        address = self.metrics_address(gateway, log, "")
        asked = {probe: self.answer(address, manifests.container()[f"{probe}Probe"]["httpGet"]["path"])
                 for probe in ("startup", "liveness", "readiness")}
        self.assertEqual(asked, {"startup": 200, "liveness": 200, "readiness": 503})

    def test_every_probe_is_answered(self):
        gateway, log = self.gateway(DISK, signal.SIGTERM, {})
        address = self.metrics_address(gateway, log, "serving engine=")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = manifests.container()[probe]["httpGet"]
            self.assertEqual(asked["port"], "metrics")
            self.assertEqual(self.answer(address, asked["path"]), 200, probe)
        self.assertEqual(self.answer(address, "/metrics"), 200)
        self.assertEqual(self.answer(address, "/healthzz"), 404)

    def metrics_address(self, gateway, log, after):
        """Where the gateway serves metrics, once its log has the words, too."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and gateway.poll() is None:
            text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text())
            if found := re.search(r"serving metrics address=(\S+)", text):
                if after in text:
                    return found[1]
            time.sleep(0.02)
        self.fail(f"the gateway did not start: {log.read_text()}")

    @staticmethod
    def answer(address, path):
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=START_SECONDS) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code


if __name__ == "__main__":
    unittest.main()
