"""Descriptors of new symlinks, FIFOs and devices, to set their attributes.

In a directory that another user owns, a name may refer to a different file at every call, so
attributes are set on the opened and checked inode, never on a name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from dist_tool.errors import LocalFailure
from dist_tool.rootfs.names import shown

_OPEN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def opened_inode(directory: int, name: bytes, kind: int, device: int = 0) -> Iterator[bytes]:
    """The path in /proc of a new inode, for system calls that follow the path to the inode itself.

    `kind` is the file type (`stat.S_IFLNK`, ...). Raises LocalFailure if another process replaced
    the file, and OSError.
    """
    descriptor = os.open(name, _OPEN, dir_fd=directory)
    try:
        info = os.fstat(descriptor)
        if stat.S_IFMT(info.st_mode) != kind or info.st_rdev != device or info.st_nlink != 1:
            raise LocalFailure(f"{shown(name)} was replaced by another process while it was written")
        yield b"/proc/self/fd/%d" % descriptor
    finally:
        os.close(descriptor)
