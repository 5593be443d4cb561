"""The openat2 system call, which Python does not provide: open a directory confined to a root."""

from __future__ import annotations

import ctypes
import os
import struct

_NUMBER = 437  # the same on every architecture
_NO_SYMLINKS = 0x04  # RESOLVE_NO_SYMLINKS, magic links included
_IN_ROOT = 0x10  # RESOLVE_IN_ROOT
_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_HOW = struct.pack("QQQ", _FLAGS, 0, _IN_ROOT | _NO_SYMLINKS)
_syscall = ctypes.CDLL(None, use_errno=True).syscall


def open_directory(root: int, path: bytes) -> int:
    """Open (O_PATH) the directory `path` below the descriptor `root`.

    Symlinks are refused (ELOOP), so the opened path is exactly the requested path, and the kernel
    never leaves `root`. Raises OSError; ENOSYS or EPERM if the kernel does not have the call or a
    seccomp filter forbids it.
    """
    descriptor: int = _syscall(_NUMBER, root, path, _HOW, len(_HOW))
    if descriptor < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return descriptor


def is_available() -> bool:
    """True if the kernel has the call (Linux 5.6) and no seccomp filter forbids it."""
    here = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        os.close(open_directory(here, b"."))
    except OSError:
        return False
    finally:
        os.close(here)
    return True
