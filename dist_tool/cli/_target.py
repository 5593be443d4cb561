"""Resolve an output path to an open descriptor or a file, following only trusted links."""

from __future__ import annotations

import os
import re
import stat
from errno import EACCES, EBADF, ELOOP

_LINK_LIMIT = 40  # as Linux
_DESCRIPTORS = re.compile(r"/proc/([0-9]+)(?:/task/[0-9]+)?/fd")


def resolve(path: str) -> str | int:
    """The number of the open descriptor that `path` names, or an absolute path without links.

    Descriptors are /dev/stdout, /dev/fd/N, /proc/self/fd/N, and links to them. Raises OSError:
    EACCES for a link, regular file or FIFO of another user in a sticky world-writable
    directory such as /tmp, as Linux does with fs.protected_symlinks, protected_regular
    and protected_fifos set; ELOOP.
    """
    current = "/" if path.startswith("/") else os.getcwd()
    pending = path.split("/")[::-1]
    links = 0
    while pending:
        name = pending.pop()
        if name in ("", "."):
            continue
        if name == "..":
            current = os.path.dirname(current)
            continue
        number = _descriptor(current, name)
        if number is not None and not any(pending):
            return number
        directory, current = current, os.path.join(current, name)
        try:
            status = os.lstat(current)
        except OSError:
            continue  # missing, or opening it fails for the same reason
        if not any(pending) and belongs_to_process(current):
            return current
        if not stat.S_ISLNK(status.st_mode):
            if stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode):
                _check_owner(status, directory, path)
            continue
        links += 1
        if links > _LINK_LIMIT:
            raise OSError(ELOOP, os.strerror(ELOOP), path)
        _check_owner(status, directory, path)
        target = os.readlink(current)
        current = "/" if target.startswith("/") else directory
        pending += target.split("/")[::-1]
    return current


def inherited(number: int) -> int:
    """A duplicate of a descriptor that this process was started with.

    Raises OSError (EBADF) if there is none. Files that this process has opened are not inheritable.
    """
    if not os.get_inheritable(number):
        raise OSError(EBADF, os.strerror(EBADF))
    return os.dup(number)


def belongs_to_process(path: str) -> bool:
    """Return True if a resolved path is an open file of another process, as in /proc/PID/fd/N."""
    return _DESCRIPTORS.fullmatch(os.path.dirname(path)) is not None


def _descriptor(directory: str, name: str) -> int | None:
    if not (name.isascii() and name.isdigit() and len(name) < 10):
        return None
    match = _DESCRIPTORS.fullmatch(directory)
    is_own = match is not None and match[1] == os.readlink("/proc/self")
    return int(name) if is_own or directory == "/dev/fd" else None  # /dev/fd is a directory on some systems


def _check_owner(status: os.stat_result, directory: str, path: str) -> None:
    parent = os.stat(directory)
    shared = parent.st_mode & stat.S_ISVTX and parent.st_mode & stat.S_IWOTH
    if shared and status.st_uid not in (os.geteuid(), parent.st_uid):
        what = "a link" if stat.S_ISLNK(status.st_mode) else "a file"
        raise OSError(EACCES, f"{what} of another user in the world-writable directory {directory}", path)
