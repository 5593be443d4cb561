"""Direct I/O (O_DIRECT): writes that bypass the page cache, for content that is not read back soon.

It pays off if the source is about as fast as a memory copy: no page is allocated, dirtied,
scanned and dropped, and the cached data of other programs is not evicted. Readers of the file
see every byte as usual, and the file still needs its fsync.
"""

from __future__ import annotations

import errno
import fcntl
import os

PIECE = 1 << 20  # bytes per write; each write waits for the disk
# Offset and length have to be multiples of this. A file system that requires larger blocks returns EINVAL.
BLOCK = 4096
_DIRECT_FROM = 8 << 20  # offset in bytes; smaller content is likely to be read soon, and cheap to cache


class DirectFile:
    """An open file whose whole blocks are written with O_DIRECT if the file system supports it.

    Buffers have to be aligned to `BLOCK` in memory, as those of `mmap` are. Without support by the
    operating system or the file system, writes go through the page cache.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._flag = getattr(os, "O_DIRECT", 0)
        self._is_direct = False

    def write(self, view: memoryview, offset: int) -> None:
        """Write all of `view` at `offset`, the current position of the file. Raises OSError."""
        self._choose(offset >= _DIRECT_FROM and not (offset | len(view)) % BLOCK)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except OSError as error:
                if not self._is_direct or error.errno != errno.EINVAL:
                    raise
                self.end()  # not a whole block, or the file system requires larger ones: use the page cache
                self._flag = 0

    def end(self) -> None:
        """Switch to the page cache: reads and writes may have any length again. Raises OSError."""
        self._choose(False)

    def _choose(self, direct: bool) -> None:
        if not self._flag or direct == self._is_direct:
            return
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL) & ~self._flag
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETFL, flags | (self._flag if direct else 0))
        except OSError:
            if not direct:
                raise
            self._flag = 0  # not supported by this file system
        else:
            self._is_direct = direct
