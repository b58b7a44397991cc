"""A read-only export says so, and answers every change with EPERM."""

import errno

from nbdlib import STYLES, connect, refused

for style in STYLES:
    handle = connect(style, strict=False)
    assert handle.is_read_only()
    refused(errno.EPERM, handle.pwrite, bytes(512), 0)
    refused(errno.EPERM, handle.zero, 512, 0)
    refused(errno.EPERM, handle.trim, 512, 0)
    assert handle.pread(512, 0) == bytes(512)
    handle.shutdown()
