"""Several connections of one export: what one wrote the others see, and the flush of any covers it."""

from nbdlib import connect, pattern

writers = [connect("simple" if n % 2 else "structured") for n in range(6)]
assert all(writer.can_multi_conn() for writer in writers)
for n, writer in enumerate(writers):
    writer.pwrite(pattern(65536, n)[:65536], n << 16)
writers[-1].flush()
for n in range(6):
    for reader in writers:
        assert reader.pread(65536, n << 16) == pattern(65536, n)[:65536], n
for writer in writers[1:]:
    writer.shutdown()
assert writers[0].pread(65536, 5 << 16) == pattern(65536, 5)[:65536]
writers[0].shutdown()
