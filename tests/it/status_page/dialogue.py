"""How a check has something done that it cannot do itself."""

import sys


def ask(word):
    """Asks for it; returns the answer when it is done."""
    print(word, flush=True)
    line = sys.stdin.readline()
    assert line, f"nobody did {word!r}"
    return line.strip()
