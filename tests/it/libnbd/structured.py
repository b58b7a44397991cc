"""Reads in chunks, the DF flag, and block status."""

import nbd
from nbdlib import SIZE, connect, pattern, status

HOLE = nbd.STATE_HOLE | nbd.STATE_ZERO


def chunks_of(handle, length, offset, flags=0):
    """Reads, and gives the chunks in the order of their offsets, and the bytes."""
    chunks = []

    def chunk(data, start, kind, _error):
        chunks.append((start, len(data), kind))

    data = handle.pread_structured(length, offset, chunk, flags)
    chunks.sort()
    return chunks, data


def chunks_cover(chunks, length, offset):
    end = offset
    for start, size, _ in chunks:
        assert start == end and size > 0, f"{chunks} do not cover {length} bytes at {offset}"
        end += size
    assert end == offset + length, f"{chunks} do not cover {length} bytes at {offset}"


handle = connect()
handle.zero(SIZE, 0)
data = pattern(1 << 20)[: 1 << 20]
handle.pwrite(data, 1 << 20)

# A hole, data, a hole.
chunks, read = chunks_of(handle, 3 << 20, 0)
chunks_cover(chunks, 3 << 20, 0)
assert read == bytes(1 << 20) + data + bytes(1 << 20)
kinds = {(start >> 20, kind) for start, _, kind in chunks}
assert kinds == {(0, nbd.READ_HOLE), (1, nbd.READ_DATA), (2, nbd.READ_HOLE)}, chunks
for start, size, _ in chunks[:-1]:
    assert (start + size) % 512 == 0, f"a border at {start + size}"

# Odd borders of the request itself.
chunks, read = chunks_of(handle, 777_777, (1 << 20) - 333_333)
chunks_cover(chunks, 777_777, (1 << 20) - 333_333)
assert read == bytes(333_333) + data[: 777_777 - 333_333]

# DF: one chunk, whatever is below.
chunks, read = chunks_of(handle, 65536, (1 << 20) - 32768, nbd.CMD_FLAG_DF)
assert [(start, size) for start, size, _ in chunks] == [((1 << 20) - 32768, 65536)], chunks
assert read == bytes(32768) + data[:32768]

# Status tells the same, up to any length asked for, and one extent if one was asked for.
found = status(handle, SIZE, 0)
joined = []
for length, flags in found:
    if joined and joined[-1][1] == flags:
        joined[-1] = (joined[-1][0] + length, flags)
    else:
        joined.append((length, flags))
assert joined == [(1 << 20, HOLE), (1 << 20, 0), (SIZE - (2 << 20), HOLE)], found
one = status(handle, SIZE - (1 << 20), 1 << 20, nbd.CMD_FLAG_REQ_ONE)
assert len(one) == 1 and one[0][1] == 0 and one[0][0] <= 1 << 20, one
one = status(handle, 512, 1 << 20, nbd.CMD_FLAG_REQ_ONE)
assert one == [(512, 0)], one

# A trim makes a hole, a zeroing without holes need not, and both read as zeroes.
handle.trim(1 << 19, 1 << 20)
handle.zero(1 << 19, 3 << 19, nbd.CMD_FLAG_NO_HOLE)
assert handle.pread(1 << 20, 1 << 20) == bytes(1 << 20)
handle.flush()
handle.shutdown()
