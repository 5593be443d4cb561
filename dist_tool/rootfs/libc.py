"""C library calls that Python does not provide: renameat2 and syncfs."""

from __future__ import annotations

import ctypes
import errno
import os

_EXCHANGE = 2  # RENAME_EXCHANGE
_libc = ctypes.CDLL(None, use_errno=True)
# The kernel or the file system does not support the call, or a seccomp filter forbids it.
_UNAVAILABLE = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})


def exchange(one: int, one_name: bytes, other: int, other_name: bytes) -> bool:
    """Exchange two names atomically, each in a directory given by descriptor.

    Returns False if the kernel or the file system does not support it. Raises OSError.
    """
    try:
        renameat2 = _libc.renameat2
    except AttributeError:  # an older C library
        return False
    if renameat2(one, one_name, other, other_name, _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNAVAILABLE:
        return False
    raise OSError(code, os.strerror(code))


def sync_file_system(descriptor: int) -> None:
    """Wait until everything written to the file system of an open file is on disk. Raises OSError."""
    try:
        syncfs = _libc.syncfs
    except AttributeError:
        os.sync()
        return
    if syncfs(descriptor) != 0:
        code = ctypes.get_errno()
        if code != errno.ENOSYS:
            raise OSError(code, os.strerror(code))
        os.sync()
