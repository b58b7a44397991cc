"""Every command, with and without FUA, in both reply styles: what the Linux kernel and older clients speak is simple."""

import nbd
from nbdlib import SIZE, STYLES, connect, pattern

for salt, style in enumerate(STYLES):
    handle = connect(style)
    assert handle.get_size() == SIZE
    assert handle.can_flush() and handle.can_fua() and handle.can_trim() and handle.can_zero()
    assert handle.can_multi_conn() and not handle.is_read_only()
    assert handle.get_block_size(nbd.SIZE_MINIMUM) >= 1
    data = pattern(300_000, salt)[:300_000]

    handle.pwrite(data, 4096)
    assert handle.pread(300_000, 4096) == data
    handle.pwrite(data[:4096], SIZE - 4096, nbd.CMD_FLAG_FUA)
    assert handle.pread(4096, SIZE - 4096) == data[:4096]
    handle.flush()

    handle.zero(8192, 8192, nbd.CMD_FLAG_FUA)
    handle.zero(4096, 65536, nbd.CMD_FLAG_NO_HOLE)
    expected = bytearray(data)
    expected[4096:12288] = bytes(8192)
    expected[61440:65536] = bytes(4096)
    assert handle.pread(300_000, 4096) == expected
    handle.trim(131072, 131072, nbd.CMD_FLAG_FUA)
    # A trimmed range reads as anything by the specification; this server says zeroes.
    expected[131072 - 4096:262144 - 4096] = bytes(131072)
    assert handle.pread(300_000, 4096) == expected
    if handle.can_cache():
        handle.cache(65536, 0)

    # Many requests in flight, answered in any order.
    blocks = [nbd.Buffer.from_bytearray(bytearray(pattern(4096, n)[:4096])) for n in range(200)]
    cookies = [handle.aio_pwrite(block, (1 << 20) + n * 4096) for n, block in enumerate(blocks)]
    while handle.aio_in_flight() > 0:
        handle.poll(-1)
    assert all(handle.aio_command_completed(cookie) for cookie in cookies)
    for n in (0, 1, 63, 64, 199):
        assert handle.pread(4096, (1 << 20) + n * 4096) == pattern(4096, n)[:4096], n
    largest = handle.get_block_size(nbd.SIZE_MAXIMUM)
    assert largest >= 1 << 20
    length = min(largest, SIZE)
    assert len(handle.pread(length, 0)) == length
    handle.shutdown()
