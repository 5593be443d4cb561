"""What the system said, as an error of ours: the layer's fault, or this machine's."""

from __future__ import annotations

import errno
import os

from dist_tool.errors import DistError, InvalidContent, LocalFailure
from dist_tool.rootfs.names import shown

# Only a layer can cause these: names that no file system has, parents that are files, links to nothing.
_CONTENT = frozenset(
    {errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ERANGE}
)
_HINTS = {
    errno.ENOSPC: "free some space, or choose another place",
    errno.EDQUOT: "free some space, or choose another place",
    errno.EFBIG: "the file system cannot hold a file of that size",
    errno.EACCES: "the directory must be writable",
    errno.EPERM: "run as root, or without id maps",
}


def failure(error: OSError, path: bytes) -> DistError:
    """The error for a system call that failed while the entry `path` was applied."""
    what = f"{shown(path)}: {os.strerror(error.errno) if error.errno else error}"
    if error.errno in _CONTENT:
        return InvalidContent(f"cannot apply {what}")
    return LocalFailure(f"cannot write {what}", hint=_HINTS.get(error.errno or 0, ""))
