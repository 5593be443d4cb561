"""What the store asks of the file system: whole writes, atomic replacement, durable directories.

Every call goes to `os` by name, one step each, so that the tests can make each of them fail,
kill the process at it, or forget what was not synced.
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
    errno.EACCES: "check who owns the store and its permissions",
    errno.EPERM: "check who owns the store and its permissions",
    errno.EMFILE: "too many open files: see ulimit -n",
    errno.EXDEV: "blobs and ingest must be on one file system",
    errno.ENOLCK: "the file system has no locks: put the store on another one",
    errno.EIO: "the disk failed: see the kernel's log",
}


_FULL = (errno.ENOSPC, errno.EDQUOT)
_SYNC_FILE_RANGE_WRITE = 2


@contextmanager
def failing(what: str, *, when_full: str = "") -> Iterator[None]:
    """Turn an OSError inside into a LocalFailure that says what was tried and what to do.

    `when_full` is the hint for a disk or a quota that is used up.
    """
    hints = {**_HINTS, **dict.fromkeys(_FULL, when_full)} if when_full else _HINTS
    with os_errors(what, hints):
        yield


def start_writing_back(fd: int, offset: int, count: int) -> None:
    """Have the disk begin with these bytes, so that the sync at the end has less to wait for.

    Advice and no promise: it waits for nothing and takes note of no error, which stays for the
    sync to report. Linux only; without it nothing changes but the time.
    """
    function = _sync_file_range()
    if function is not None:
        function(fd, offset, count, _SYNC_FILE_RANGE_WRITE)


@cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    import ctypes  # only for large content

    try:
        function = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return cast("Callable[[int, int, int, int], int]", function)


def sync(fd: int) -> None:
    """Make a file's content durable. On macOS fsync alone stops at the disk's own cache."""
    if (full := getattr(fcntl, "F_FULLFSYNC", None)) is not None:
        with suppress(OSError):  # not on every file system there
            fcntl.fcntl(fd, full)
            return
    os.fsync(fd)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable: a file's own fsync does not include its name."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(fd)
    finally:
        os.close(fd)


def make_directory(path: str) -> None:
    """Create a directory, durably, with the mode that the umask gives; one that is there is fine."""
    if make_plain_directory(path):
        sync_directory(os.path.dirname(path))


def make_plain_directory(path: str) -> bool:
    """Create a directory that need not survive a power cut; False if it is there."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    if os.geteuid() == 0:
        with suppress(FileNotFoundError):  # gc has removed it again
            _keep_owner_of_directory(path)
    return True


def create(path: str, flags: int = os.O_RDWR) -> int:
    """Open a file, creating it with the permissions that the umask gives. Links are not followed."""
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
    """Open a file so that reading it does not count as a use. Only its owner and root may do that on Linux."""
    try:
        return os.open(path, flags | getattr(os, "O_NOATIME", 0))
    except PermissionError:
        return os.open(path, flags)


def _keep_owner_of_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not os.listdir(fd):  # else the other user may have put another directory in its place
            _keep_owner(fd, path)
    finally:
        os.close(fd)


def _keep_owner(fd: int, path: str) -> None:
    """Give what root has just created in another user's directory to that user.

    Otherwise one `sudo dist` makes the store unusable for its owner.
    """
    parent = os.stat(os.path.dirname(path))
    if parent.st_uid != 0:
        with suppress(OSError):  # a file system without owners, a container without the right
            os.fchown(fd, parent.st_uid, parent.st_gid)


def make_directories(path: str) -> None:
    """Create a directory and those above it, durably.

    Those that are there are synced all the same: whoever made them may have been killed before
    that. It is asked of the ones that we may read; a system's own are older than any crash.
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
    """A small file's content, None where it is not there; one byte over `limit` at the most.

    Never follows a link and never waits for a pipe's other end.
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
    """Replace a small file as a whole: beside it, then renamed over it.

    Readers see the old content or the new one. The caller holds the lock that makes him the
    only writer, so the temporary name is fixed and a crash leaves one at the most. `durable`
    makes it survive a power cut: content first, then the name. Unlike `dist_tool.files.replace_file`
    it leaves the locking to the caller and gives what root creates to the owner of the store.
    """
    beside = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")
    try:
        fd = create(beside, os.O_WRONLY | os.O_TRUNC)
    except PermissionError:  # left by a killed process of another user
        os.unlink(beside)
        fd = create(beside, os.O_WRONLY | os.O_TRUNC)
    try:
        write_all(fd, memoryview(data))
        if durable:
            sync(fd)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    finally:
        os.close(fd)
    os.rename(beside, path)
    if durable:
        sync_directory(os.path.dirname(path))


def regular(path: str) -> os.stat_result | None:
    """The status of a regular file, None for anything else: links are not followed."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def names(path: str) -> list[str]:
    """The names in a directory, none where it is not there."""
    with failing(f"cannot list {path}"):
        try:
            return os.listdir(path)
        except (FileNotFoundError, NotADirectoryError):
            return []
