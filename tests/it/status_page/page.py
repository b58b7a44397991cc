"""The status page in a real browser: `page.py CHECK GATEWAY FOLDER [EXPORT...]`.

GATEWAY is the address of its metrics, FOLDER takes the pictures. A check that needs something done says what on standard
output, one word on a line, and goes on when it reads a line on standard input.
"""

import sys

from arithmetic import arithmetic
from figures import figures
from forwarder import Forwarder
from states import crowd, hidden, troubles
from stops import stops
from webdriver import Browser

CHECKS = {check.__name__: check for check in (arithmetic, crowd, figures, hidden, stops, troubles)}


def main():
    check, gateway, folder, *exports = sys.argv[1:]
    with Forwarder(gateway) as forwarder, Browser(1280, 900) as browser:
        browser.screen(1280, 900)
        CHECKS[check](browser, forwarder, folder, exports)


if __name__ == "__main__":
    main()
