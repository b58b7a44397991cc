"""Real virtual machines on disks that nbdgate serves: `make test-vm`, or `python3 tests/vm` after a build.

Consoles of the guests and logs of the gateways stay in target/vm/artefacts; tests/vm/README.md tells the whole."""

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import disk_guest  # noqa: E402
import network_guest  # noqa: E402
from debian import unpacked  # noqa: E402
from gateway import Programs  # noqa: E402
from trouble import Trouble  # noqa: E402

TOP = Path(__file__).resolve().parents[2]
SHOWN_LINES = 40
# What the tests speak HTTP with is on this machine, whatever proxy there is for packages.
LOOPBACK = "127.0.0.1,127.0.0.0/8,localhost"
TESTS = {"disk": disk_guest.test, "network": network_guest.test}


class World:
    """What all tests share."""

    def __init__(self, args, folder):
        target = Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
        self.folder = folder
        self.artefacts = target / "vm/artefacts"
        shutil.rmtree(self.artefacts, ignore_errors=True)
        self.artefacts.mkdir(parents=True)
        self.programs = Programs(Path(os.environ.get("NBDGATE", target / "debug/nbdgate")).resolve())
        with self.step("unpack the emulator and the kernel"):
            self.debian = unpacked(target / "vm")
        self.emulator = self.debian.emulator()
        self.accel = args.accel

    @contextlib.contextmanager
    def step(self, name):
        """Says what is going on, and how long it took."""
        begin = time.monotonic()
        print(f"vm: {name} ...", flush=True)
        yield
        print(f"vm: {name}: {time.monotonic() - begin:.1f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="tests/vm", description=__doc__.partition("\n")[0])
    parser.add_argument("--accel", choices=["tcg", "kvm"], default="tcg",
                        help="software emulation, which is the same everywhere, or the processor's")
    parser.add_argument("--only", choices=list(TESTS), help="run one of the tests")
    args = parser.parse_args()
    begin = time.monotonic()
    # An end by a signal cleans up as any other.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("vm: ended by SIGTERM"))
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), LOOPBACK]))
    artefacts = None
    with tempfile.TemporaryDirectory(prefix="nbdgate-vm-") as folder:
        try:
            world = World(args, Path(folder))
            artefacts = world.artefacts
            print(f"vm: guests run by {world.accel}", flush=True)
            for name in [args.only] if args.only else TESTS:
                TESTS[name](world)
        except (Trouble, OSError) as trouble:
            for log in sorted(artefacts.iterdir()) if artefacts else []:
                print(f"--- the end of {log}", *log.read_text(errors="replace").splitlines()[-SHOWN_LINES:], sep="\n")
            sys.exit(f"vm: failed: {trouble}")
    print(f"vm: everything held, in {time.monotonic() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
