"""Writes that go to the disk past the page cache, for content that nobody reads back soon.

Worth it for what comes as fast as memory is copied: no page is allocated, dirtied, scanned and
dropped again, and what other programs keep in the cache stays there. The file is the same one
as ever: whoever reads it sees every byte, and it needs its fsync all the same.
"""

from __future__ import annotations

import errno
import fcntl
import os

PIECE = 1 << 20  # bytes at a time: each write waits for the disk
BLOCK = 4096  # what place and length have to be a multiple of; a file system that asks for more refuses
_WORTH_IT = 8 << 20  # below this, an offset in bytes, content is small: read soon, and cheap to cache


class DirectFile:
    """An open file whose whole blocks are written past the cache where the file system can do so.

    Buffers have to begin at a multiple of `BLOCK` in memory, as `mmap` gives them. Where the
    system knows no such writes, or the file system refuses, the cache is used as always.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._flag = getattr(os, "O_DIRECT", 0)
        self._is_direct = False

    def write(self, view: memoryview, offset: int) -> None:
        """Write all of `view` at `offset`, which is where the file stands. Raises OSError."""
        self._choose(offset >= _WORTH_IT and not (offset | len(view)) % BLOCK)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except OSError as error:
                if not self._is_direct or error.errno != errno.EINVAL:
                    raise
                self.end()  # no part of a block, or of a larger one than thought: say it as always
                self._flag = 0

    def end(self) -> None:
        """From here on reads and writes go through the cache: they are of any length again."""
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
            self._flag = 0  # not on this file system
        else:
            self._is_direct = direct
