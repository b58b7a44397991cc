"""What every part needs: the settings, nbdgate with some flags on a socket of its own, and what a part tells."""

import contextlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from kinds import Storage


@dataclass(frozen=True)
class Settings:
    """How long, how large, and with which programs."""

    nbdgate: str
    load: Path
    folder: Path
    rounds: int
    seconds: float
    warm_up: float
    copy_gib: int
    copy_rounds: int


@dataclass(frozen=True)
class Part:
    """What one part found."""

    title: str
    text: str
    head: tuple = ()
    lines: list = field(default_factory=list)


def verdict(is_met):
    return "met" if is_met else "**not reached**"


@contextlib.contextmanager
def folder_in(settings):
    """A folder that goes with what is in it."""
    with tempfile.TemporaryDirectory(prefix="nbdgate-scaling-", dir=settings.folder) as folder:
        yield Path(folder)


def memory(size):
    """Memory as storage."""
    return Storage("memory", size, None)


def reads(settings, connections, seed):
    """The load of 4 KiB reads, as the generator takes it."""
    return ["--op", "read", "--order", "random", "--block-size", "4096", "--depth", "32",
            "--connections", str(connections), "--seconds", str(settings.seconds),
            "--warm-up-seconds", str(settings.warm_up), "--seed", str(seed)]
