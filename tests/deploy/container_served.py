"""Gateways in the image, under the seccomp profile of an engine and under our own, and what compose.yml starts."""

import os
import re
import subprocess
import urllib.request

import container_confine as confine
import container_tools as tools
from container_root import Root
from container_tools import Running, confined, run

# The test server's, in tests/s3-server/src/lib.rs.
BUCKET = "bucket"
ACCESS = {"AWS_ACCESS_KEY_ID": "test-access-key", "AWS_SECRET_ACCESS_KEY": "test-secret-key"}


class Served(Root):
    def test_under_an_engines_default_profile_it_falls_back_to_epoll_and_says_so(self):
        flags = ("--export=m=mem:64M", "--listen=tcp:127.0.0.1:0", "--io-engine")
        gateway = self.gateway(*flags, "auto", data=self.data(), profile=tools.DEFAULT_PROFILE)
        gateway.wait_for("serving engine=epoll")
        gateway.wait_for("io_uring is not available, using epoll")
        self.check_a_disk(gateway, "m")
        self.assertEqual(gateway.stop(), 0)
        command = confined(self.root, "/usr/bin/nbdgate", "serve", *flags, "uring", profile=tools.DEFAULT_PROFILE)
        insisting = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.assertEqual(insisting.returncode, 1, insisting.stderr)
        self.assertIn("io_uring", insisting.stderr)

    def test_under_our_profile_every_storage_is_served_by_both_engines(self):
        # Where the kernel itself has no io_uring, the profile cannot give it.
        for engine in ("uring" if confine.has_io_uring() else "auto", "epoll"):
            with self.subTest(engine=engine):
                data = self.data()
                disk = ("dir:/data/bucket/vm", "--size", "64M")
                (data / "bucket").mkdir()
                os.chown(data / "bucket", tools.USER_ID, tools.USER_ID)
                create = confined(self.root, "/usr/bin/nbdgate", "disk", "create", *disk, data=data)
                run(*create)
                gateway = self.gateway(
                    "--export=m=mem:64M", "--export=f=file:/data/image,size=64M", "--export=d=dir:/data/bucket/vm",
                    "--export=r=rocksdb:/data/rocks,size=64M", "--cache=/data/cache", "--cache-size=16M",
                    "--listen=tcp:127.0.0.1:0", f"--io-engine={engine}", data=data)
                if engine != "auto":
                    gateway.wait_for(f"serving engine={engine}")
                for name in "mfdr":
                    self.check_a_disk(gateway, name)
                self.assertEqual(gateway.stop(), 0, gateway.log())

    def test_what_compose_starts_goes_from_the_empty_bucket_to_a_disk_that_outlives_its_gateway(self):
        store = Running([str(tools.binary("nbdgate-s3-server", "NBDGATE_S3_SERVER"))])
        self.addCleanup(lambda: store.process.poll() is None and store.stop())
        address = store.wait_for(":")
        services, data = tools.compose()["services"], self.data()

        def local(word):
            word = word.replace("s3://disks/", f"s3://{BUCKET}/").replace("0.0.0.0:10809", "127.0.0.1:0")
            return re.sub(r"journal-size=\w+", "journal-size=64M", word.replace("0.0.0.0:9810", "127.0.0.1:0"))

        environment = {**services["nbdgate"]["environment"], **ACCESS, "AWS_ENDPOINT": f"http://{address}"}
        create = confined(self.root, "/usr/bin/nbdgate", *map(local, services["disk"]["command"]), data=data)
        run(*create, env={**os.environ, **environment})
        flags = [local(word) for word in services["nbdgate"]["command"][1:]]
        self.assertTrue(any("journal=" in flag for flag in flags))
        # Of the service, so that a container that is made anew is the same host to the manifest of the disk.
        hostname = services["nbdgate"]["hostname"]
        for profile in (tools.DEFAULT_PROFILE, tools.OWN_PROFILE):
            gateway = self.gateway(*flags, data=data, profile=profile, environment=environment, hostname=hostname)
            metrics = re.search(r"serving metrics address=(\S+)", gateway.log()).group(1)
            run(*confined(self.root, "/usr/bin/nbdgate", "health", "--metrics", metrics, profile=profile))
            if profile == tools.OWN_PROFILE:
                self.check_what_is_left(gateway, "vm1")
            self.check_a_disk(gateway, "vm1")
            told = urllib.request.urlopen(f"http://{metrics}/metrics", timeout=60).read().decode()
            for series in (r'nbdgate_export_requests_total\{export="vm1",command="flush"\} [1-9]',
                           r'nbdgate_journal_size_bytes\{export="vm1"\} [1-9]'):
                self.assertTrue(re.search(series, told), f"{series} in what Prometheus is told")
            # A gateway that is killed, as by `docker kill`: what it flushed is in the journal.
            if profile == tools.DEFAULT_PROFILE:
                gateway.process.kill()
                gateway.process.wait()
                absent = subprocess.run(confined(self.root, "/usr/bin/nbdgate", "health", "--metrics", metrics),
                                        capture_output=True, text=True, timeout=60)
                self.assertEqual(absent.returncode, 1, absent.stderr)
                # The second `up`: the disk is there.
                run(*create, env={**os.environ, **environment})
                # What an engine calls a container that has no name of its own.
                other = subprocess.run(confined(self.root, "/usr/bin/nbdgate", "serve", *flags, data=data, hostname="0c5d1ab7e9f2"),
                                       capture_output=True, text=True, timeout=60, env={**os.environ, **environment})
                self.assertEqual(other.returncode, 1, other.stderr)
                self.assertIn(f"held by {hostname} since", other.stderr)
            else:
                self.assertEqual(gateway.stop(), 0, gateway.log())
