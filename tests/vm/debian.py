"""Debian packages, unpacked into a folder instead of installed: an emulator, a kernel, and what runs in a guest.

Nothing on the host changes: a kernel is not installed for a test, and the emulator of a Debian release conflicts with newer
disk tools from its backports. apt works with lists and a status of its own here, and needs no root. What was unpacked stays
for the next run."""

import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import processes
from trouble import Trouble

EMULATOR = "qemu-system-x86_64"
# With everything that they depend on, for they are run: the emulator outside, the others in a guest.
RUN = ["busybox-static", "e2fsprogs", "grub-pc-bin", "nbd-client"]
EMULATOR_PACKAGE = "qemu-system-x86"
# A package that depends on the newest kernel of its kind; the one for virtual machines is small and has all that is needed.
KERNEL = "linux-image-cloud-amd64"
APT_SECONDS = 600
# Raised when what is unpacked, or how, changes.
LAYOUT = 1


@dataclass(frozen=True)
class Debian:
    """What was unpacked: programs with their libraries, and apart from them the kernel with its modules."""

    root: Path
    kernel_root: Path

    def kernel(self):
        return only(self.kernel_root.glob("boot/vmlinuz-*"))

    def modules(self):
        return only(self.kernel_root.glob("lib/modules/*"))

    def grub(self):
        return self.root / "usr/lib/grub/i386-pc"

    def file(self, *names):
        """The first of these that is there; releases differ in whether /bin is /usr/bin."""
        for name in names:
            if (self.root / name).is_file():
                return self.root / name
        raise Trouble(f"none of {', '.join(names)} is in the unpacked packages")

    def libraries(self):
        """The path on which programs find the unpacked libraries."""
        return [self.root / part for part in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")]

    def loader(self):
        return self.file("lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2")

    def command(self, program):
        """How an unpacked program is run on this host."""
        return [str(self.loader()), "--library-path", ":".join(map(str, self.libraries())), str(program)]

    def emulator(self):
        """The start of its command line, and what its environment needs."""
        installed = shutil.which(EMULATOR)
        if installed:
            return [installed], {}
        command = self.command(self.root / "usr/bin" / EMULATOR)
        for folder in ("qemu", "seabios", "../lib/ipxe/qemu"):
            command += ["-L", str(self.root / "usr/share" / folder)]
        return command, {"QEMU_MODULE_DIR": str(self.root / "usr/lib/x86_64-linux-gnu/qemu")}


def only(paths):
    found = list(paths)
    if len(found) != 1:
        raise Trouble(f"one file was expected and these were found: {found}")
    return found[0]


def unpacked(folder):
    """The packages, unpacked below this folder now or by an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    packages = RUN if shutil.which(EMULATOR) else [*RUN, EMULATOR_PACKAGE]
    wanted = f"{LAYOUT} {' '.join(packages)} {KERNEL}\n"
    place = folder / "debian"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mark = place / "complete"
        if not mark.exists() or mark.read_text() != wanted:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            fetch(place, packages)
            mark.write_text(wanted)
    return Debian(place / "root", place / "kernel")


def fetch(place, packages):
    """Downloads and unpacks them, and removes the packages themselves."""
    print(f"vm: unpacking Debian's {', '.join(packages)} and {KERNEL} below {place}", flush=True)
    apt = place / "apt"
    archives = apt / "archives"
    (archives / "partial").mkdir(parents=True)
    # An empty status: nothing is installed as far as this apt knows, so that it brings every library.
    (apt / "status").touch()
    options = [f"Dir::State={apt}", f"Dir::State::status={apt}/status", f"Dir::Cache={apt}", f"Dir::Cache::archives={archives}",
               "Acquire::Retries=3", "APT::Install-Recommends=false"]
    if os.geteuid() == 0:
        options.append("APT::Sandbox::User=root")
    flags = [word for option in options for word in ("-o", option)]
    run(["apt-get", "-q", *flags, "update"])
    run(["apt-get", "-q", "-y", *flags, "install", "--download-only", *packages])
    programs = sorted(archives.glob("*.deb"))
    kernel = run(["apt-cache", *flags, "depends", KERNEL]).split("Depends: ", 1)[-1].split()[0]
    run(["apt-get", "-q", *flags, "download", kernel], cwd=archives)
    for package in sorted(archives.glob("*.deb")):
        run(["dpkg-deb", "-x", package, place / ("root" if package in programs else "kernel")])
    shutil.rmtree(apt)


def run(command, cwd=None):
    return processes.run(command, os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}, APT_SECONDS, cwd)
