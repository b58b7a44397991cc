"""An incremental backup: what a dirty bitmap names is copied into the last backup, nothing else."""

import os
import sys

import nbd
from nbdlib import URI

BACKUP, SNAPSHOT, COPIED_MOST = sys.argv[2], sys.argv[3], int(sys.argv[4])
BITMAP = f"qemu:dirty-bitmap:{SNAPSHOT}"

handle = nbd.NBD()
handle.set_opt_mode(True)
handle.connect_uri(URI)

listed = []
handle.add_meta_context("qemu:")
handle.opt_list_meta_context(listed.append)
assert BITMAP in listed, listed
handle.clear_meta_contexts()
handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
handle.add_meta_context(BITMAP)
handle.opt_go()
assert handle.can_meta_context(BITMAP) and handle.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION)

size = handle.get_size()
dirty = []
seen = set()


def extents(context, start, entries, _error):
    seen.add(context)
    if context != BITMAP:
        return
    for length, flags in zip(entries[::2], entries[1::2]):
        assert flags in (0, 1), flags
        if flags == 1:
            dirty.append((start, length))
        start += length
    extents.end = start


at = 0
while at < size:
    handle.block_status(min(size - at, 1 << 30), at, extents)
    at = extents.end
assert seen == {BITMAP, nbd.CONTEXT_BASE_ALLOCATION}, seen

copied = 0
with open(BACKUP, "r+b") as backup:
    os.ftruncate(backup.fileno(), size)
    for start, length in dirty:
        copied += length
        while length > 0:
            piece = min(length, 1 << 20)
            backup.seek(start)
            backup.write(handle.pread(piece, start))
            start, length = start + piece, length - piece
assert 0 < copied <= COPIED_MOST, f"{copied} bytes were copied"
handle.shutdown()
