"""Conversion of OSError: invalid layer content, or a failure of this machine."""

from __future__ import annotations

import errno
import os

from dist_tool.errors import DistError, InvalidContent, LocalFailure
from dist_tool.rootfs.names import shown

# Errors that only a layer can cause: invalid names, parents that are files, links to missing files.
_CONTENT = frozenset(
    {errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ERANGE}
)
_HINTS = {
    errno.ENOSPC: "free some space, or choose another directory",
    errno.EDQUOT: "free some space, or choose another directory",
    errno.EFBIG: "the file system does not support files of that size",
    errno.EACCES: "make the directory writable",
    errno.EPERM: "run as root, or without ID maps",
}


def failure(error: OSError, path: bytes) -> DistError:
    """Convert the error of a system call for the entry `path`."""
    what = f"{shown(path)}: {os.strerror(error.errno) if error.errno else error}"
    if error.errno in _CONTENT:
        return InvalidContent(f"cannot apply {what}")
    return LocalFailure(f"cannot write {what}", hint=_HINTS.get(error.errno or 0, ""))
