"""What source an instruction comes from, through everything that was inlined; and which instructions are atomic."""

import re
import subprocess
from typing import NamedTuple


class Frame(NamedTuple):
    """One level of inlining: a function, and the file and line that the instruction comes from within it."""
    function: str
    file: str
    line: str


class Places:
    """Looks addresses of one program up, many at once."""

    def __init__(self, program):
        self.program = str(program)
        self.frames = {}
        self.atomics = None

    def learn(self, addresses):
        """Looks up those that are not known yet."""
        unknown = sorted(set(addresses) - self.frames.keys())
        command = ["addr2line", "--addresses", "--functions", "--inlines", "--demangle", "--exe", self.program]
        text = subprocess.run(command, input="\n".join(map(hex, unknown)), capture_output=True, text=True, check=True).stdout
        frames, function = None, None
        for line in text.splitlines():
            if re.fullmatch(r"0x[0-9a-f]{8,}", line):
                frames = self.frames.setdefault(int(line, 16), [])
                function = None
            elif function is None:
                function = line
            else:
                file, _, number = line.partition(" (")[0].rpartition(":")
                frames.append(Frame(function, file, number))
                function = None

    def comes_from(self, address, *files):
        """Whether some level of inlining lies in one of the files, each told by a part of its path."""
        return any(part in frame.file for frame in self.frames.get(address, ()) for part in files)

    def is_atomic(self, address):
        """Whether it reads, modifies and writes memory in one."""
        if self.atomics is None:
            text = subprocess.run(["objdump", "--disassemble", "--no-show-raw-insn", self.program],
                                  capture_output=True, text=True, check=True).stdout
            # xchg with memory locks without saying so.
            pattern = r"^ +([0-9a-f]+):\t(?:lock|xchg .*\()"
            self.atomics = {int(found, 16) for found in re.findall(pattern, text, re.MULTILINE)}
        return address in self.atomics

    def takes_a_lock(self, address):
        """Whether it is what takes a mutex or a reader-writer lock that nobody holds."""
        frames = self.frames.get(address, ())
        is_lock = self.comes_from(address, "/parking_lot-", "/lock_api-", "library/std/src/sync/poison/mutex")
        return is_lock and self.is_atomic(address) and not any("unlock" in frame.function for frame in frames)

    def owner(self, address):
        """The file of ours that it comes from, innermost; without what all of them have in common."""
        for frame in self.frames.get(address, ()):
            found = re.search(r"(?:^|/)((?:src|backends)/[^:]*)$", frame.file)
            if found and "/registry/" not in frame.file and "library/" not in frame.file:
                return found[1]
        return "elsewhere"
