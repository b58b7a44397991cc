"""What is shipped in deploy/, tried without a cluster and without a container engine: `python3 tests/deploy`.

Every module of this folder may hold tests; arguments name those to run, as in `python3 tests/deploy kubernetes_manifests`.
The program is `target/debug/nbdgate`, or what the environment variable NBDGATE names.
"""

import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main():
    sys.path.insert(0, str(HERE))
    loader = unittest.defaultTestLoader
    found = loader.loadTestsFromNames(sys.argv[1:]) if sys.argv[1:] else loader.discover(str(HERE), pattern="[a-z]*.py")
    outcome = unittest.TextTestRunner(verbosity=2).run(found)
    # A test that is skipped says nothing, and here all must speak.
    sys.exit(0 if outcome.wasSuccessful() and outcome.testsRun and not outcome.skipped else 1)


if __name__ == "__main__":
    main()
