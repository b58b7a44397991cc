"""Dockerfile, compose files and seccomp profile: right in themselves, and right about the program."""

import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import container_tools as tools
from container_tools import CONTAINER, ROOT, run


class Dockerfile(unittest.TestCase):
    def test_hadolint_has_nothing_to_say(self):
        run(tools.python_tools() / "bin" / "hadolint", "--failure-threshold", "style", CONTAINER / "Dockerfile")

    def test_the_image_runs_as_a_number_and_needs_no_shell(self):
        final = (CONTAINER / "Dockerfile").read_text().split("\nFROM ")[-1]
        self.assertTrue(final.startswith("scratch\n"))
        self.assertRegex(final, r"(?m)^USER \d+:\d+$")
        self.assertNotRegex(final, r"(?m)^RUN")
        for instruction in ("ENTRYPOINT", "CMD"):
            for line in re.findall(rf"(?m)^\s*{instruction} (.*)$", final):
                self.assertTrue(line.startswith("["), f"{instruction} {line} needs a shell")

    def test_the_context_has_what_the_workspace_needs_and_no_more(self):
        allowed = {line[1:] for line in (CONTAINER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
        for path in allowed:
            self.assertTrue((ROOT / path).exists(), path)
        manifest = (ROOT / "Cargo.toml").read_text()
        members = re.search(r"(?m)^members = \[(.*)\]$", manifest).group(1)
        for member in re.findall(r'"([^"]+)"', members):
            self.assertIn(member.split("/")[0], allowed)
        self.assertFalse({".git", "target", "."} & allowed)


class Compose(unittest.TestCase):
    def test_it_is_refused_without_secrets_and_has_none_itself(self):
        bare = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
        with tempfile.NamedTemporaryFile() as empty:
            command = ["docker-compose", "--env-file", empty.name, "-f", CONTAINER / "compose.yml", "config"]
            refused = subprocess.run(command, capture_output=True, text=True, timeout=60, env=bare, cwd=CONTAINER)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("copy env.example to .env", refused.stderr)
        run("git", "check-ignore", "--quiet", "--no-index", CONTAINER / ".env", cwd=ROOT)

    def test_every_container_is_hardened_and_on_the_loopback(self):
        for name, service in tools.compose()["services"].items():
            with self.subTest(service=name):
                self.assertTrue(service["read_only"])
                self.assertEqual(service["cap_drop"], ["ALL"])
                self.assertIn("no-new-privileges:true", service["security_opt"])
                self.assertFalse(service.get("privileged"))
                for port in service.get("ports", []):
                    self.assertTrue(port.startswith("127.0.0.1:"), port)

    def test_there_is_time_for_a_clean_stop(self):
        source = (ROOT / "src/config.rs").read_text()
        needed = int(re.search(r"DEFAULT_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs\((\d+)\)", source)[1])
        minutes, seconds = re.fullmatch(r"(?:(\d+)m)?(\d+)s", tools.compose()["services"]["nbdgate"]["stop_grace_period"]).groups()
        # And ten seconds for snapshots.
        self.assertGreater(int(minutes or 0) * 60 + int(seconds), needed + 10)
        readme = (CONTAINER / "README.md").read_text()
        self.assertGreater(int(re.search(r"--stop-timeout (\d+)", readme)[1]), needed + 10)

    def test_images_are_pinned_and_the_store_is_not_from_where_it_left(self):
        for name, service in tools.compose()["services"].items():
            registry, _, rest = service["image"].partition("/")
            if not rest:
                self.assertIn(name, ("nbdgate", "disk"))
                continue
            self.assertIn(".", registry, "a registry by name")
            self.assertRegex(rest, r":[^:]*\d[^:]*$", "a version as tag")
            self.assertNotIn("docker.io/minio", service["image"])

    def test_what_it_mounts_and_refers_to_is_there(self):
        services = tools.compose()["services"]
        for name, service in services.items():
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                if source.startswith("/"):
                    self.assertTrue(Path(source).is_dir(), f"{name} mounts {source}")
            for option in service["security_opt"]:
                kind, _, path = option.partition(":")
                if kind == "seccomp":
                    self.assertTrue((CONTAINER / path).is_file(), option)
            self.assertLessEqual(set(service.get("depends_on", {})), set(services))
        waited = [wait["condition"] for service in services.values() for wait in service.get("depends_on", {}).values()]
        self.assertIn("service_healthy", waited)
        self.assertIn("service_completed_successfully", waited)

    def test_prometheus_looks_where_the_gateway_serves_metrics(self):
        gateway = tools.compose()["services"]["nbdgate"]
        metrics = next(word for word in gateway["command"] if word.startswith("--metrics="))
        groups = tools.yaml(CONTAINER / "prometheus-targets" / "nbdgate.yml")
        targets = [target for group in groups for target in group["targets"]]
        self.assertEqual(targets, [f"nbdgate:{metrics.rsplit(':', 1)[1]}"])
        files = tools.yaml(ROOT / "deploy/prometheus/prometheus.yml")["scrape_configs"][0]["file_sd_configs"][0]["files"]
        self.assertEqual(files, ["targets/*.yml"])

    def test_the_program_accepts_the_arguments_of_compose_and_dockerfile(self):
        program = tools.binary("nbdgate", "NBDGATE")
        services = tools.compose()["services"]
        self.assertEqual(services["nbdgate"]["command"][0], "serve")
        run(program, *services["nbdgate"]["command"], "--check")
        # Wrong words, and nothing is there to ask: 2 is wrong usage, 1 that nobody answers.
        check = re.search(r'CMD \["/usr/bin/nbdgate", (.*)\]', (CONTAINER / "Dockerfile").read_text()).group(1)
        words = [word.strip('" ') for word in check.split(",")]
        self.assertEqual(words[:2], ["health", "--metrics"])
        run(program, "health", "--help")
        port = words[2].rsplit(":", 1)[1]
        self.assertIn(port, re.search(r"(?m)^EXPOSE (.*)$", (CONTAINER / "Dockerfile").read_text()).group(1).split())
        created = services["disk"]["command"]
        self.assertIn("--if-missing", created, "the second `up` finds the disk there")
        wrong = subprocess.run([program, *created, "--no-such-flag"], capture_output=True, timeout=60)
        self.assertEqual(wrong.returncode, 2)


class Seccomp(unittest.TestCase):
    def test_the_profile_is_what_its_script_writes(self):
        self.assertEqual(run(CONTAINER / "seccomp"), tools.OWN_PROFILE.read_text())

    def test_beside_io_uring_nothing_is_allowed_that_an_engines_default_forbids(self):
        import container_confine as confine

        default = tools.profile_of(tools.DEFAULT_PROFILE)
        allowed = {name for rule in filter(confine.applies, default["syscalls"]) if rule["action"] == "SCMP_ACT_ALLOW"
                   for name in rule["names"]}
        own = {name for rule in tools.profile_of(tools.OWN_PROFILE)["syscalls"] for name in rule["names"]}
        rings = {"io_uring_enter", "io_uring_register", "io_uring_setup"}
        self.assertFalse(rings & allowed, "the default would do")
        # Newer than Debian's list; what mincore(2) tells of a mapping, for a file.
        self.assertEqual(own - allowed - {"cachestat"}, rings)
        self.assertLess(len(own), len(allowed) * 2 // 3)
