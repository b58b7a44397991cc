"""What guests are told to do with files, and what must be true then."""

from content import digest, lines
from gateway import allocated_bytes
from trouble import expect

FILES = 4
FILE_LINES = 4096
SLACK_BYTES = 4 << 20


def write_files(machine, label):
    """Files that the guest writes and syncs; what they must hold."""
    names = [f"{label}-{number}" for number in range(FILES)]
    for name in names:
        machine.run(f"put /data/{name} {name} {FILE_LINES}")
    return {name: lines(name, FILE_LINES) for name in names}


def check_digests(machine, files):
    """The guest reads the files from the disk again and finds what was written."""
    said = machine.run(f"sync; echo 3 >/proc/sys/vm/drop_caches; cd /data && sha256sum {' '.join(sorted(files))}")
    found = {name: value for value, name in (line.split() for line in said.splitlines())}
    for name, content in files.items():
        expect(found.get(name) == digest(content), f"/data/{name} is not what was written")


def trims_are_seen_as_holes(programs, gateway, export, machine, mounted, length):
    """What fstrim gives back in the guest is a hole for every client of the disk, seen with a file of such a length."""
    def allocated():
        return allocated_bytes(programs, gateway.uri(export))

    # What was free before is a hole before, so that only the file counts.
    machine.run(f"fstrim {mounted}")
    before = allocated()
    machine.run(f"tr '\\0' x </dev/zero | head -c {length} >/data/filler && sync")
    full = allocated()
    expect(full - before > length - SLACK_BYTES, f"a file of {length} bytes took {full - before} of {export}")
    said = machine.run(f"rm /data/filler && sync && fstrim -v {mounted}")
    freed = full - allocated()
    expect(freed > length - SLACK_BYTES, f"fstrim said {said!r}, and {freed} bytes more of {export} are holes")
    trims = gateway.metric("nbdgate_export_requests_total", export=export, command="trim")
    expect(trims > 0, f"no TRIM of {export} was counted")
