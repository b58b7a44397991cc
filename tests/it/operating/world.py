"""The world in which the commands of a section run: folders, ports and a store of its own.

What stands in the documents is replaced as follows, and back in what the commands say; nothing else is changed.

    /run/nbdgate, /var/lib/nbdgate, /var/cache/nbdgate, /etc/nbdgate, /srv, /backup     folders in a scratch folder
    localhost:10809, localhost:9810                                                    free ports of a loopback address
    a command that ends in &                                                           its log goes to a file, and the
                                                                                       next command waits until it serves,
                                                                                       as README.md and OPERATING.md say

What a `setup` comment in the document does stands in the document, and replaces no command.
"""

import os
import re
import socket

FOLDERS = ["/run/nbdgate", "/var/lib/nbdgate", "/var/cache/nbdgate", "/etc/nbdgate", "/srv", "/backup"]
PORTS = [10809, 9810]
IN_PATH = r"(?<![\w.])"

# `nbdgate_ready PID LOG` waits for a gateway; those that the document does not wait for are stopped in the end, and must stop
# cleanly. Bash forgets a job that ended, at a time of its own, so they are remembered here.
PRELUDE = r"""
declare -A nbdgate_left
wait() {
    local code=0
    builtin wait "$@" || code=$?
    unset "nbdgate_left[${1:-none}]"
    return "$code"
}
nbdgate_ready() {
    nbdgate_left[$1]=yes
    for _ in $(seq 600); do
        if grep -qs ' serving engine=' "$2"; then return; fi
        if ! kill -0 "$1" 2>/dev/null; then break; fi
        sleep 0.05
    done
    echo "a gateway does not serve; its log:"; cat "$2"; exit 1
}
nbdgate_end() {
    code=$?
    trap - EXIT
    for pid in "${!nbdgate_left[@]}"; do
        kill "$pid" 2>/dev/null || true
        builtin wait "$pid" || { echo "a gateway did not stop cleanly"; code=1; }
    done
    exit "$code"
}
trap nbdgate_end EXIT
"""


class World:
    def __init__(self, scratch):
        self.scratch = scratch
        self.work = os.path.join(scratch, "work")
        os.mkdir(self.work)
        self.folders = {}
        for folder in FOLDERS:
            self.folders[folder] = os.path.join(scratch, "root" + folder)
            os.makedirs(self.folders[folder])
        # An address of this process, so that nobody else takes its ports while they are still free.
        pid = os.getpid()
        self.address = f"127.{64 + (pid >> 16) % 128}.{(pid >> 8) % 256}.{pid % 254 + 1}"
        self.ports = {}
        for port in PORTS:
            with socket.create_server((self.address, 0)) as held:
                self.ports[port] = held.getsockname()[1]

    def into(self, text):
        """The text as it is run."""
        for folder, place in self.folders.items():
            text = re.sub(IN_PATH + re.escape(folder) + r"(?![\w-])", place, text)
        for port, free in self.ports.items():
            text = text.replace(f"localhost:{port}", f"{self.address}:{free}")
        return text

    def back(self, text):
        """What was said, in the words of the document."""
        for folder, place in self.folders.items():
            text = text.replace(place, folder)
        for port, free in self.ports.items():
            text = text.replace(f"{self.address}:{free}", f"localhost:{port}")
        return text

    def backgrounds(self, text, name):
        """The text with a log and a wait for each command in the background."""
        lines = []
        for number, line in enumerate(text.split("\n")):
            if line.endswith(" &"):
                log = f"{self.scratch}/log.{name}.{number}"
                lines += [f"{line[:-1]}2>{log} &", f"nbdgate_ready $! {log}"]
            else:
                lines.append(line)
        return "\n".join(lines)
