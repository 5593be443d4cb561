"""Write permission for moving a directory to another parent."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def movable(descriptor: int) -> Iterator[None]:
    """Without root, temporarily make a directory writable, because rename to another parent requires it.

    An image may contain directories that are not writable. `descriptor` may be open in any mode
    and refer to any file type; only a directory is changed. Raises OSError.
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
