"""The Dockerfile itself, built by buildah where no engine runs and no image can be pulled.

A clean Debian made by mmdebstrap stands for the image that it starts from; it has no compiler, and Rust is this machine's.
All steps run: packages are installed, the program is compiled for files and memory alone (RocksDB's sources would take
twenty minutes, the object log's dependencies two) and without optimisation, the image is put together and looked into.
"""

import json
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import container_tools as tools
from container_root import Root
from container_tools import CONTAINER, ROOT, confined, run

BASE = "docker.io/library/rust:1.95-bookworm"
# Of that image. Packages and Rust are this machine's, so it has to be of this release, too.
RELEASE = BASE.rsplit("-", 1)[1]
BUILD_SECONDS = 1200
# What speeds the compiler up, and is no matter of the image.
COMPILER = {"CARGO_HOME": "/usr/local/cargo", "CARGO_PROFILE_DEV_OPT_LEVEL": "0", "CARGO_PROFILE_DEV_DEBUG": "0",
            "CARGO_INCREMENTAL": "0", "PATH": "/toolchain/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


class Built(Root):
    @classmethod
    def setUpClass(cls):
        own = platform.freedesktop_os_release().get("VERSION_CODENAME")
        if own != RELEASE:
            raise AssertionError(f"the Dockerfile starts from Debian {RELEASE} and this machine is {own}: build the image with an"
                                 " engine (deploy/container/README.md), or run this on that release")
        tools.TARGET.mkdir(parents=True, exist_ok=True)
        cls.folder = Path(tempfile.mkdtemp(dir=tools.TARGET, prefix="container-build-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.folder.chmod(0o755)
        (cls.folder / "tmp").mkdir()
        cls.make_base()
        cls.build()
        container = cls.buildah("from", "--pull-never", "nbdgate:test").strip()
        cls.addClassCleanup(cls.buildah, "rm", container)
        cls.root = Path(cls.buildah("mount", container).strip())
        # What engines mount for themselves.
        (cls.root / "proc").mkdir(exist_ok=True)

    @classmethod
    def command(cls, *words):
        """A command line of buildah with a storage of its own, for any kernel and file system."""
        place = ["--root", cls.folder / "store", "--runroot", cls.folder / "run", "--storage-driver", "vfs"]
        return ["buildah", *place, *words]

    @classmethod
    def environment(cls):
        return {**os.environ, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(cls.folder / "tmp")}

    @classmethod
    def buildah(cls, *words):
        ran = subprocess.run([str(word) for word in cls.command(*words)], capture_output=True, text=True, timeout=300,
                             env=cls.environment())
        if ran.returncode:
            raise AssertionError(f"buildah {words} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
        return ran.stdout

    @classmethod
    def make_base(cls):
        """Debian with nothing but apt, under the name that the Dockerfile starts from."""
        archive = cls.folder / "base.tar"
        run("mmdebstrap", "--quiet", "--variant=apt", RELEASE, archive, timeout=300)
        container = cls.buildah("from", "scratch").strip()
        cls.buildah("add", "--quiet", container, archive, "/")
        variables = [word for name, value in COMPILER.items() for word in ("--env", f"{name}={value}")]
        cls.buildah("config", *variables, container)
        cls.buildah("commit", "--quiet", container, BASE)
        cls.buildah("rm", container)
        archive.unlink()

    @classmethod
    def build(cls):
        """Builds; crates come from this machine's registry folder, by a mount that ends with the build."""
        registry = cls.folder / "tmp" / "buildah-cache" / "nbdgate-registry"
        registry.mkdir(parents=True)
        own = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo") / "registry"
        own.mkdir(parents=True, exist_ok=True)
        sysroot = run("rustc", "--print", "sysroot", cwd=ROOT).strip()
        build = cls.command("bud", "--layers=false", "--pull-never", "--format", "docker",
                            "--volume", f"{sysroot}:/toolchain:ro",
                            "--build-arg", "FEATURES=", "--build-arg", "PROFILE=dev", "--build-arg", "REVISION=abc123",
                            "--tag", "nbdgate:test", "--file", CONTAINER / "Dockerfile", ROOT)
        mounted = ["unshare", "--mount", "sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "sh", own, registry]
        try:
            run(*mounted, *build, timeout=BUILD_SECONDS, env=cls.environment())
        finally:
            # What buildah leaves in folders that builds share.
            (own / "buildah-cache-lockfile").unlink(missing_ok=True)

    def test_the_dockerfile_builds_the_image_that_it_describes(self):
        told = json.loads(self.buildah("inspect", "--type", "image", "nbdgate:test"))["Docker"]["config"]
        self.assertEqual(told["User"], "65532:65532")
        self.assertEqual(told["Entrypoint"], ["/usr/bin/nbdgate"])
        self.assertEqual(told["StopSignal"], "SIGTERM")
        self.assertEqual(set(told["ExposedPorts"]), {"10809/tcp", "9810/tcp"})
        self.assertEqual(set(told["Volumes"]), {"/data"})
        self.assertEqual(told["Healthcheck"]["Test"], ["CMD", "/usr/bin/nbdgate", "health", "--metrics", "localhost:9810"])
        self.assertEqual(told["Labels"]["org.opencontainers.image.revision"], "abc123")
        data = (self.root / "data").stat()
        self.assertEqual((data.st_uid, data.st_gid, data.st_mode & 0o777), (tools.USER_ID, tools.USER_ID, 0o700))
        self.assertEqual((self.root / "etc").stat().st_uid, 0)
        self.assertEqual([path.name for path in (self.root / "usr/bin").iterdir()], ["nbdgate"])
        self.assertLess(sum(path.lstat().st_size for path in self.root.rglob("*") if path.is_file()), 200 << 20)

    def test_the_image_built_serves_a_disk_and_answers_its_health_check(self):
        gateway = self.gateway("--export=m=mem:64M", "--listen=tcp:127.0.0.1:0", "--metrics=127.0.0.1:0", data=self.data())
        self.check_a_disk(gateway, "m")
        metrics = gateway.wait_for("serving metrics").split("address=")[1]
        run(*confined(self.root, "/usr/bin/nbdgate", "health", "--metrics", metrics))
        self.assertEqual(gateway.stop(), 0, gateway.log())
        stopped = subprocess.run(confined(self.root, "/usr/bin/nbdgate", "health", "--metrics", metrics), timeout=60)
        self.assertEqual(stopped.returncode, 1)
