"""Moving a directory to another parent, which takes the right to write in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def movable(descriptor: int) -> Iterator[None]:
    """Without root, add the right to write in a directory for the time of a move; an image may not give it.

    `descriptor` may be of anything, in any mode; only a directory is changed. Raises OSError.
    """
    info = os.fstat(descriptor)
    if os.geteuid() == 0 or not stat.S_ISDIR(info.st_mode) or info.st_mode & stat.S_IWUSR:
        yield
        return
    path, mode = f"/proc/self/fd/{descriptor}", stat.S_IMODE(info.st_mode)
    os.chmod(path, mode | stat.S_IRWXU)
    try:
        yield
    finally:
        os.chmod(path, mode)
