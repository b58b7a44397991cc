"""Images: full of noise or of nothing, and in or out of the page cache."""

import os
import random
import shutil
import subprocess

from processes import START_SECONDS, Trouble

# An image is written in single pages, so that the page cache holds it so: in the large folios that longer writes leave,
# ext4 walks a list for every small write, and the row measures little but that. See README.md.
PAGE = 4096


def make_full(path, size):
    """An image without holes that no server can compress."""
    noise = random.Random(1).randbytes(PAGE)
    with open(path, "wb", buffering=0) as image:
        for number in range(size // PAGE):
            image.write(number.to_bytes(8, "little") + noise[8:])
        os.fdatasync(image.fileno())
    return path


def make_sparse(path, size):
    """An image that is one hole."""
    with open(path, "wb") as image:
        image.truncate(size)
    return path


def settle(image):
    """Writes back what an earlier run left dirty, so that the next does not pay for it."""
    with open(image, "rb") as opened:
        os.fdatasync(opened.fileno())


def warm(image):
    """Brings back what left the page cache since the last run, which some systems see to within seconds; in single pages."""
    with open(image, "rb", buffering=0) as opened:
        size = os.fstat(opened.fileno()).st_size
        if resident_bytes(image) >= size:
            return
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for offset in range(0, size, PAGE):
            os.pread(opened.fileno(), PAGE, offset)


def evict(image):
    """Drops an image from the page cache, which needs no privilege; tells the share of it that stayed."""
    with open(image, "rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        size = os.fstat(opened.fileno()).st_size
    return resident_bytes(image) / size


def file_system(folder):
    """The kind of file system that a folder is in: ext4, tmpfs."""
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        # proc_pid_mountinfo(5): the third field is the device, the kind follows a lone hyphen.
        kinds = [line.partition(" - ")[2].split()[0] for line in mounts if line.split()[2] == number]
    return kinds[0] if kinds else "unknown"


def resident_bytes(image):
    """What the page cache holds of a file."""
    command = ["fincore", "--bytes", "--noheadings", "--output", "RES", str(image)]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=START_SECONDS)
    if told.returncode != 0:
        raise Trouble(f"fincore cannot tell what of {image} is in the page cache: {told.stderr.strip()}")
    return int(told.stdout)


def require_room(folder, wanted):
    """Refuses to fill a file system."""
    if shutil.disk_usage(folder).free < 2 * wanted:
        raise Trouble(f"{folder} has no room for images of {wanted} bytes: give another --dir, or a smaller --size")
