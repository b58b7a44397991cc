"""Programs that are run to their end, and programs that must not outlive the test."""

import subprocess

from trouble import Trouble, expect

# In front of a command: it is ended when the test ends, however that comes about.
DIES_WITH_US = ["setpriv", "--pdeathsig", "KILL", "--"]


def run(command, environment, seconds, folder=None):
    """Runs a program to its end, which must be a good one; gives what it printed."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise Trouble(f"running {words[0]}: {problem}") from problem
    expect(done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
