"""File system operations of the store: complete writes, atomic replacement, durable directories.

Each step is one call of a function of `os` by its full name, so that the tests can make any of
them fail, kill the process at it, or discard what was not synced.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import cast

from dist_tool.files import open_regular, os_errors, read_at_most
from dist_tool.files import write_all as write_all

_HINTS = {
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "the quota is used up: free some space and run again",
    errno.EFBIG: "the file size limit (ulimit -f) or that of the file system is reached",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "check the owner and the permissions of the store",
    errno.EPERM: "check the owner and the permissions of the store",
    errno.EMFILE: "too many open files: see ulimit -n",
    errno.EXDEV: "blobs and ingest must be on one file system",
    errno.ENOLCK: "the file system does not support locks: move the store to another one",
    errno.EIO: "the disk failed: see the kernel log",
}


_FULL = (errno.ENOSPC, errno.EDQUOT)
_SYNC_FILE_RANGE_WRITE = 2


@contextmanager
def failing(what: str, *, when_full: str = "") -> Iterator[None]:
    """Context manager that converts OSError to a LocalFailure with `what` failed and a hint.

    `when_full` is the hint for a full disk or an exhausted quota.
    """
    hints = {**_HINTS, **dict.fromkeys(_FULL, when_full)} if when_full else _HINTS
    with os_errors(what, hints):
        yield


def start_writing_back(fd: int, offset: int, count: int) -> None:
    """Start writing these bytes back to the disk, so that the final sync takes less time.

    Advisory: it does not block and ignores errors, which the sync then reports. Linux only; on
    other systems it does nothing.
    """
    function = _sync_file_range()
    if function is not None:
        function(fd, offset, count, _SYNC_FILE_RANGE_WRITE)


@cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    import ctypes  # slow to import; needed for large content only

    try:
        function = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return cast("Callable[[int, int, int, int], int]", function)


def sync(fd: int) -> None:
    """Make a file's content durable. On macOS fsync alone does not flush the disk's own cache."""
    if (full := getattr(fcntl, "F_FULLFSYNC", None)) is not None:
        with suppress(OSError):  # not supported by every file system
            fcntl.fcntl(fd, full)
            return
    os.fsync(fd)


def sync_directory(path: str) -> None:
    """Make the entries of a directory durable: the fsync of a file does not include its name."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(fd)
    finally:
        os.close(fd)


def make_directory(path: str) -> None:
    """Create a directory durably, with the mode that the umask gives, unless it exists."""
    if make_plain_directory(path):
        sync_directory(os.path.dirname(path))


def make_plain_directory(path: str) -> bool:
    """Create a directory that need not survive a power cut; False if it exists."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    if os.geteuid() == 0:
        with suppress(FileNotFoundError):  # gc has already removed it
            _keep_owner_of_directory(path)
    return True


def create(path: str, flags: int = os.O_RDWR) -> int:
    """Open a file, creating it if needed with the permissions that the umask gives. Does not follow symbolic links."""
    flags |= os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    if os.geteuid() != 0:
        return os.open(path, flags, 0o666)
    try:
        fd = os.open(path, flags | os.O_EXCL, 0o666)
    except FileExistsError:
        if flags & os.O_EXCL:
            raise
        return os.open(path, flags, 0o666)
    try:
        _keep_owner(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_without_atime(path: str, flags: int) -> int:
    """Open a file so that reading it does not count as a use (O_NOATIME).

    Linux permits that to the owner and root only; for other users it is a normal open.
    """
    try:
        return os.open(path, flags | getattr(os, "O_NOATIME", 0))
    except PermissionError:
        return os.open(path, flags)


def _keep_owner_of_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not os.listdir(fd):  # otherwise the other user may have replaced it by another directory
            _keep_owner(fd, path)
    finally:
        os.close(fd)


def _keep_owner(fd: int, path: str) -> None:
    """Change the owner of a file that root has just created to the owner of its directory.

    Otherwise one `sudo dist` makes the store unusable for its owner.
    """
    parent = os.stat(os.path.dirname(path))
    if parent.st_uid != 0:
        with suppress(OSError):  # a file system without owners, or a container without CAP_CHOWN
            os.fchown(fd, parent.st_uid, parent.st_gid)


def make_directories(path: str) -> None:
    """Create a directory and its missing parents, durably.

    Existing parents are synced too: the process that created them may have been killed before
    its sync. Those that we may not read are skipped: they belong to the system and are older.
    """
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for each in reversed(missing):
        make_directory(each)
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        with suppress(PermissionError):
            sync_directory(path)


def read_small(path: str, limit: int) -> bytes | None:
    """The content of a small file, None if it does not exist; at most one byte more than `limit`.

    Does not follow symbolic links, and does not block on a named pipe. Raises OSError.
    """
    try:
        fd = open_regular(path)
    except FileNotFoundError:
        return None
    try:
        return read_at_most(fd, limit + 1)
    finally:
        os.close(fd)


def write_small(path: str, data: bytes, *, durable: bool = False) -> None:
    """Replace a small file atomically: write a temporary file beside it, then rename it.

    Readers see the old content or the new one. The caller holds the lock that makes it the only
    writer, so the temporary name is fixed and crashes leave at most one file. `durable` makes the
    change survive a power cut: content is synced first, then the name. Unlike
    `dist_tool.files.replace_file` it leaves the locking to the caller, and files that root creates
    get the owner of the store. Raises OSError.
    """
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")
    try:
        fd = create(temporary, os.O_WRONLY | os.O_TRUNC)
    except PermissionError:  # left by a killed process of another user
        os.unlink(temporary)
        fd = create(temporary, os.O_WRONLY | os.O_TRUNC)
    try:
        write_all(fd, memoryview(data))
        if durable:
            sync(fd)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    finally:
        os.close(fd)
    os.rename(temporary, path)
    if durable:
        sync_directory(os.path.dirname(path))


def regular(path: str) -> os.stat_result | None:
    """The `lstat` of a regular file; None if it is missing or anything else, a symbolic link included."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def names(path: str) -> list[str]:
    """The names in a directory; empty if it does not exist. Raises LocalFailure."""
    with failing(f"cannot list {path}"):
        try:
            return os.listdir(path)
        except (FileNotFoundError, NotADirectoryError):
            return []
