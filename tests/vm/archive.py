"""The initial file system of a guest: a cpio archive (the kernel's "newc", Documentation/driver-api/early-userspace/
buffer-format.rst), made without root because device nodes are only entries here."""

import stat
import struct
from pathlib import Path

from trouble import Trouble

CONSOLE = (5, 1)


class Archive:
    """Entries in the order in which the kernel makes them; parents are made by themselves."""

    def __init__(self):
        self.entries = []
        self.folders = set()

    def folder(self, path):
        parent = str(Path(path).parent)
        if path in self.folders or path == ".":
            return
        self.folder(parent)
        self.folders.add(path)
        self.add(path, stat.S_IFDIR | 0o755, b"")

    def file(self, path, content, executable=False):
        self.folder(str(Path(path).parent))
        self.add(path, stat.S_IFREG | (0o755 if executable else 0o644), content)

    def link(self, path, target):
        self.folder(str(Path(path).parent))
        self.add(path, stat.S_IFLNK | 0o777, target.encode())

    def console(self):
        """The kernel opens it for the first program."""
        self.folder("dev")
        self.add("dev/console", stat.S_IFCHR | 0o600, b"", CONSOLE)

    def add(self, path, mode, content, device=(0, 0)):
        number = len(self.entries) + 1
        name = path.encode() + b"\0"
        fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name), 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        self.entries.append(padded(head) + padded(content))

    def bytes(self):
        self.add("TRAILER!!!", 0, b"")
        return b"".join(self.entries)


def padded(data):
    return data + b"\0" * (-len(data) % 4)


def modules(folder, names):
    """The modules of these names and those that they depend on, in the order in which they are loaded.

    A name that is built into this kernel needs none."""
    files = {path.stem.replace("-", "_"): path for path in folder.rglob("*.ko")}
    built_in = {Path(line).stem.replace("-", "_") for line in (folder / "modules.builtin").read_text().splitlines()}
    order = []

    def visit(name):
        if name in built_in or files.get(name) in order:
            return
        if name not in files:
            raise Trouble(f"the kernel in {folder} has no module {name}")
        for needed in depends(files[name]):
            visit(needed)
        order.append(files[name])

    for name in names:
        visit(name)
    return order


def depends(module):
    """What the section .modinfo of a module says that it depends on."""
    data = module.read_bytes()
    start = data.find(b"\0depends=")
    if start < 0:
        raise Trouble(f"{module} does not tell what it depends on")
    value = data[start + len(b"\0depends="):data.index(b"\0", start + 1)]
    return [name.replace("-", "_") for name in value.decode().split(",") if name]


def needed_libraries(program, folders):
    """Every library that a program needs, found in these folders."""
    found = {}
    waiting = [program]
    while waiting:
        for name in dynamic(waiting.pop().read_bytes()):
            if name in found or name.startswith("ld-linux"):
                continue
            place = next((folder / name for folder in folders if (folder / name).exists()), None)
            if place is None:
                raise Trouble(f"{program} needs {name}, which no package brought")
            found[name] = place
            waiting.append(place)
    return found


def dynamic(elf):
    """The DT_NEEDED entries of a 64-bit little-endian ELF file (System V ABI, chapter 5)."""
    load, needed_type, strings_type, dynamic_type = 1, 1, 5, 2
    (table,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    segments = [struct.unpack_from("<IIQQQQ", elf, table + n * size) for n in range(count)]
    entries = []
    for kind, _, offset, _, _, length in segments:
        if kind == dynamic_type:
            entries = [struct.unpack_from("<QQ", elf, at) for at in range(offset, offset + length, 16)]
    address = next((value for tag, value in entries if tag == strings_type), 0)
    base = next((address - start + offset for kind, _, offset, start, _, length in segments
                 if kind == load and start <= address < start + length), 0)
    names = [base + value for tag, value in entries if tag == needed_type]
    return [elf[at:elf.index(b"\0", at)].decode() for at in names]
