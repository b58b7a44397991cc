"""Requests that a server must refuse, each with its error, after which the connection goes on."""

import errno

import nbd
from nbdlib import SIZE, STYLES, connect, refused, status

for style in STYLES:
    handle = connect(style, strict=False)
    handle.pwrite(b"kept" * 128, 0)

    for offset, length in ((SIZE, 512), (SIZE - 512, 1024), ((1 << 63) - 512, 1024), ((1 << 64) - 512, 1024)):
        refused(errno.EINVAL, handle.pread, length, offset)
        refused(errno.EINVAL, handle.trim, length, offset)
        refused(errno.ENOSPC, handle.pwrite, bytes(length), offset)
        refused(errno.ENOSPC, handle.zero, length, offset)
        if style == "structured":
            refused(errno.EINVAL, status, handle, length, offset)

    # Flags that the command does not have, or that do not exist.
    refused(errno.EINVAL, handle.pread, 512, 0, 1 << 15)
    refused(errno.EINVAL, handle.pwrite, bytes(512), 0, 1 << 15)
    refused(errno.EINVAL, handle.trim, 512, 0, nbd.CMD_FLAG_NO_HOLE)
    refused(errno.EINVAL, handle.flush, 1 << 14)
    if style == "simple":
        refused(errno.EINVAL, handle.pread, 512, 0, nbd.CMD_FLAG_DF)

    assert handle.pread(512, 0) == b"kept" * 128, "a refused request changed something"
    handle.shutdown()
