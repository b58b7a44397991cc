"""The Debian package: lintian finds no error, and it is installed, used, upgraded, removed and purged in a clean root.

    python3 tests/deb release|debug

What was built so is packaged (scripts/deb). The root is made by mmdebstrap from the Debian release of this machine, and gone
with it; what is done in it stands in inside.sh.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
# The package of the next version differs in that only.
NEXT_VERSION = "0.1.0-1+next"
DEADLINE_SECONDS = 600


def run(*command, **more):
    print("+", *command, flush=True)
    return subprocess.run([str(word) for word in command], check=True, timeout=DEADLINE_SECONDS, **more)


def with_version(package, version, folder):
    """The same package under another version."""
    tree = folder / "tree"
    run("dpkg-deb", "--raw-extract", package, tree)
    control = tree / "DEBIAN/control"
    lines = control.read_text().splitlines(keepends=True)
    changed = [f"Version: {version}\n" if line.startswith("Version:") else line for line in lines]
    assert changed != lines, "the package tells its version"
    control.write_text("".join(changed))
    other = folder / "next.deb"
    run("dpkg-deb", "-Znone", "--root-owner-group", "--build", tree, other, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return other


def release():
    """The code name of this machine's Debian, whose libraries the program was linked with."""
    for line in pathlib.Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip('"')
    raise SystemExit("/etc/os-release tells no VERSION_CODENAME: the package is tested on Debian")


def main():
    _, profile = sys.argv
    made = run(REPOSITORY / "scripts/deb", profile, stdout=subprocess.PIPE, text=True).stdout
    (package,) = (pathlib.Path(path) for path in made.split() if path.endswith(".deb"))
    run("lintian", "--fail-on", "error", "--allow-root", package)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        shutil.copy(package, folder / "first.deb")
        shutil.copy(HERE / "inside.sh", folder)
        with_version(package, NEXT_VERSION, folder)
        copied = " ".join(str(folder / name) for name in ["first.deb", "next.deb", "inside.sh"])
        run(
            *["mmdebstrap", "--quiet", "--variant=essential", "--include=adduser,libstdc++6", "--format=null"],
            *[f"--customize-hook=copy-in {copied} /root", f'--customize-hook=chroot "$1" sh /root/inside.sh {NEXT_VERSION}'],
            *[release(), "/dev/null"],
        )
    print("the package does what it should")


main()
