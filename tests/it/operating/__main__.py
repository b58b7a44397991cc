"""Does what README.md and the documents for operators say, and tells where that does not work.

    NBDGATE=target/debug/nbdgate python3 tests/it/operating run DOCUMENT [SECTION]
    python3 tests/it/operating list DOCUMENT
    python3 tests/it/operating links

The bucket `bucket` is to be reachable by what AWS_* say; see document.py for the classes of blocks, world.py for what
is replaced in them.
"""

import os
from pathlib import Path
import sys

from document import Unclear, read
import links
from session import ROOT, Wrong, run


def main(arguments):
    match arguments:
        case ["list", document]:
            print("\n".join(section.title for section in read(os.path.join(ROOT, document))))
        case ["run", document, *wanted]:
            program = os.path.abspath(os.environ["NBDGATE"])
            sections = read(os.path.join(ROOT, document))
            chosen = [section for section in sections if not wanted or section.title in wanted]
            if not chosen:
                raise Unclear(f"{document} has no section {wanted}")
            for section in chosen:
                run(document, section, program)
        case ["links"]:
            wrong = links.dead(Path(ROOT))
            if wrong:
                raise Wrong("\n".join(wrong))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (Unclear, Wrong) as error:
        raise SystemExit(f"{error}") from None
