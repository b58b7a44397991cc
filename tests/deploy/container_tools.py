"""The container's files, a root of its image made from this machine's nbdgate, and programs confined to that root."""

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONTAINER = ROOT / "deploy" / "container"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
OWN_PROFILE = CONTAINER / "seccomp-io-uring.json"
# Of Debian's golang-github-containers-common: what Podman, buildah and CRI-O confine containers with by default.
DEFAULT_PROFILE = Path("/usr/share/containers/seccomp.json")
USER_ID = 65532
PATIENCE_SECONDS = 60


def binary(name, variable):
    """A program of this repository: of the environment, or as `cargo build` left it."""
    path = Path(os.environ.get(variable) or TARGET / "debug" / name)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: cargo build -p {name}, or name another with {variable}")
    return path.resolve()


def run(*command, **more):
    """A program's output, if it succeeds in time."""
    ran = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         timeout=more.pop("timeout", PATIENCE_SECONDS), **more)
    if ran.returncode:
        raise AssertionError(f"{' '.join(map(str, command))} ended with {ran.returncode}:\n{ran.stdout}")
    return ran.stdout


@functools.cache
def python_tools():
    """A folder with the Python tools of container_requirements.txt; it is complete once it has its final name."""
    wanted = (HERE / "container_requirements.txt").read_bytes()
    folder = TARGET / "container-tools"
    stamp = folder / "requirements.txt"
    if not stamp.exists() or stamp.read_bytes() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        TARGET.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=TARGET, prefix="container-tools-"))
        run(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
            "--root-user-action=ignore", "--target", made, "-r", HERE / "container_requirements.txt", timeout=300)
        (made / "requirements.txt").write_bytes(wanted)
        made.rename(folder)
    return folder


def yaml(path):
    """What a YAML file says."""
    if str(python_tools()) not in sys.path:
        sys.path.insert(0, str(python_tools()))
    import yaml as reader

    return reader.safe_load(Path(path).read_text())


@functools.cache
def compose():
    """The compose file, merged and with the example's variables filled in, as the engine is told."""
    with tempfile.NamedTemporaryFile("w", suffix=".env") as filled:
        for line in (CONTAINER / "env.example").read_text().splitlines():
            if line and not line.startswith("#"):
                filled.write(line.split("=")[0] + "=secret1234\n")
        filled.flush()
        shown = run("docker-compose", "--env-file", filled.name, "-f", CONTAINER / "compose.yml",
                    "-f", CONTAINER / "compose.io-uring.yml", "config", cwd=CONTAINER)
        written = Path(filled.name + ".yml")
        written.write_text(shown)
        try:
            return yaml(written)
        finally:
            written.unlink()


def assemble(folder):
    """The root of the image around this machine's nbdgate, by the script that the Dockerfile runs."""
    out, image, root = folder / "out", folder / "image", folder / "root"
    out.mkdir()
    shutil.copy(binary("nbdgate", "NBDGATE"), out / "nbdgate")
    run(CONTAINER / "build", "assemble", ROOT, out, image)
    # The Dockerfile's COPY lines.
    for tree in ("system", "writable", "program"):
        shutil.copytree(image / tree, root, dirs_exist_ok=True, symlinks=True)
    # What engines mount for themselves.
    (root / "proc").mkdir()
    os.chown(root / "data", USER_ID, USER_ID)
    os.chmod(root / "data", (image / "writable" / "data").stat().st_mode)
    return root


def confined(root, *command, profile=OWN_PROFILE, data=None, hostname=None):
    """The command line that runs a program as the image's user in the root, read-only but for /data, without
    capabilities, under a seccomp profile; on a host of this name, if there is one."""
    own = [*(["--data", str(data)] if data else []), *(["--hostname", hostname] if hostname else [])]
    return [sys.executable, str(HERE / "container_confine.py"), "--user", str(USER_ID), "--profile", str(profile), *own,
            str(root), *map(str, command)]


class Running:
    """A program whose lines on standard error (and output) can be waited for; ended by `stop`."""

    def __init__(self, command, environment=None):
        self.lines = []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, env=environment)
        self.more = threading.Condition()
        self.is_over = False
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.more:
                self.lines.append(line.rstrip())
                self.more.notify_all()
        with self.more:
            self.is_over = True
            self.more.notify_all()

    def log(self):
        with self.more:
            return "\n".join(self.lines)

    def wait_for(self, text):
        """The first line with the text."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self.more:
            while True:
                for line in self.lines:
                    if text in line:
                        return line
                if self.is_over or not self.more.wait(deadline - time.monotonic()):
                    raise AssertionError(f"no {text!r} in:\n" + "\n".join(self.lines))

    def stop(self):
        """Ends it by SIGTERM; its exit code."""
        self.process.terminate()
        try:
            code = self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process.stdin.close()
        self.reader.join()
        self.process.stdout.close()
        return code


def profile_of(path):
    return json.loads(Path(path).read_text())
