"""Runs a program under callgrind and reads what it wrote: exact counts of instructions, by their address."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple


class Call(NamedTuple):
    """A place that calls, and what it calls."""
    place: tuple
    callee: str


class Profile:
    """What a run executed, or what two runs differ by, and divided by requests: how often each instruction ran."""

    def __init__(self):
        # By (object, address).
        self.ran = Counter()
        self.function = {}
        # By Call: how often, and the instructions of the callee and of all that it called.
        self.calls = Counter()
        self.inclusive = Counter()

    def per_request(self, less, requests):
        """What each of `requests` more requests added to the run `less`."""
        difference = Profile()
        difference.function = self.function
        for ours, theirs, result in [(self.ran, less.ran, difference.ran), (self.calls, less.calls, difference.calls),
                                     (self.inclusive, less.inclusive, difference.inclusive)]:
            for key, count in ours.items():
                if count != theirs[key]:
                    result[key] = (count - theirs[key]) / requests
        return difference

    def total(self):
        return sum(self.ran.values())

    def of_functions(self, chosen):
        """Instructions of the functions whose names are chosen, without what they call."""
        return sum(count for place, count in self.ran.items() if chosen(self.function[place]))

    def calls_of(self, chosen):
        """How often functions with chosen names are called."""
        return sum(count for call, count in self.calls.items() if chosen(call.callee))


def run(command, output):
    """The profile of a command."""
    options = ["--tool=callgrind", f"--callgrind-out-file={output}", "--dump-instr=yes", "--dump-line=no",
               "--compress-strings=no", "--compress-pos=no"]
    done = subprocess.run(["valgrind", *options, *command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"instructions: {command} failed under callgrind:\n{done.stderr}")
    return parse(Path(output).read_text())


def parse(text):
    """Reads the format of callgrind's output, uncompressed, with addresses for positions."""
    profile = Profile()
    binary, function, callee, count = "", "", "", None
    for line in text.splitlines():
        key, found, value = line.partition("=")
        if line.startswith("0x"):
            address, cost = line.split()[:2]
            place = (binary, int(address, 16))
            if count is None:
                profile.ran[place] += int(cost)
                profile.function[place] = function
            else:
                profile.calls[Call(place, callee)] += count
                profile.inclusive[Call(place, callee)] += int(cost)
                count = None
        elif found and key == "ob":
            binary = value
        elif found and key == "fn":
            function = value
        elif found and key == "cfn":
            callee = value
        elif found and key == "calls":
            count = int(value.split()[0])
    return profile
