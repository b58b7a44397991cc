"""What the checks share: connections in each style, and errors by name."""

import errno
import sys

import nbd

URI = sys.argv[1]
SIZE = 16 << 20
STYLES = ("structured", "simple")


def connect(style="structured", contexts=True, strict=True):
    """A connection to the export of the command line."""
    handle = nbd.NBD()
    handle.set_request_structured_replies(style == "structured")
    if contexts and style == "structured":
        handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    if not strict:
        # What libnbd would refuse by itself is for the server to refuse.
        handle.set_strict_mode(0)
    handle.connect_uri(URI)
    assert handle.get_structured_replies_negotiated() == (style == "structured")
    return handle


def refused(expected, call, *arguments):
    """Asserts that a call fails with this error."""
    try:
        call(*arguments)
    except nbd.Error as error:
        assert error.errnum == expected, f"{error}: not {errno.errorcode[expected]}"
    else:
        raise AssertionError(f"{call.__name__}{arguments} was not refused")


def status(handle, length, offset, flags=0):
    """Block status as a list of (length, flags)."""
    found = []

    def extents(context, start, entries, _error):
        assert context == nbd.CONTEXT_BASE_ALLOCATION and start == offset
        assert all(length > 0 for length in entries[::2]), "an empty descriptor"
        found.extend(zip(entries[::2], entries[1::2]))

    handle.block_status(length, offset, extents, flags)
    return found


def pattern(length, salt=0):
    """Bytes that differ from place to place."""
    return bytes((index * 7 + index // 256 + salt) % 251 + 1 for index in range(min(length, 65536))) * (
        -(-length // 65536))
