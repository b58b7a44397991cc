"""What guests write: every line of a file tells its file, its generation and its place, so that bytes that are lost, old or
in the wrong place are seen, and what they should be is known outside of the guest."""

import hashlib
import re

from trouble import expect

# As guest/put writes them.
LINE_BYTES = 64


def lines(label, count):
    return b"".join(b"%-50s %012d\n" % (label.encode(), number) for number in range(count))


def digest(content):
    return hashlib.sha256(content).hexdigest()


class Slots:
    """The files of guest/writer: which generation of which was synced, as far as the guest told."""

    def __init__(self, count, length):
        self.count = count
        self.length = length
        self.next = 0

    def synced(self, generation):
        expect(generation == self.next, f"generation {self.next} was to be synced next, not {generation}")
        self.next += 1

    def content(self, generation):
        return lines(f"slot-{generation % self.count} generation {generation}", self.length)

    def files(self):
        """What the files must hold when the writer has stopped."""
        return {f"slot-{generation % self.count}": self.content(generation) for generation in self.newest()}

    def newest(self):
        """For each file, the generation that was synced last."""
        return range(max(self.next - self.count, 0), self.next)

    def check_after_power_cut(self, found):
        """Every line is at least as new as what was told to be synced; only the file that was being written has lines of two
        generations. The last lines that a guest told may have been lost with it, so some files may be newer."""
        torn = []
        for name, oldest in ((f"slot-{number % self.count}", number) for number in self.newest()):
            content = found.get(name, b"")
            expect(len(content) == self.length * LINE_BYTES, f"{name} has {len(content)} bytes after the power was cut")
            generations = set()
            for number in range(self.length):
                line = content[number * LINE_BYTES:(number + 1) * LINE_BYTES]
                match = re.fullmatch(rb"(slot-\d+) generation (\d+) +(\d{12})\n", line)
                expect(match and match[1].decode() == name and int(match[3]) == number,
                       f"line {number} of {name} is {line!r} after the power was cut")
                generations.add(int(match[2]))
            wrong = [number for number in generations if number < oldest or (number - oldest) % self.count]
            expect(not wrong, f"{name} was synced as generation {oldest} before the power was cut and has lines of {wrong}")
            if len(generations) > 1:
                torn.append(name)
        expect(len(torn) <= 1, f"{torn} all have lines of two generations, and they are written one after the other")
