"""Locks that die with their process: flock, so that a stale lock cannot exist (behaviours F9).

Two kinds. The store's lock is one file that is never removed: shared while a blob is looked up
to be kept, exclusive while `index.json` changes or blobs are removed. An ingest's lock is a
file in its directory, held for as long as somebody writes, and removed with the directory.

A file and not the directory is locked, because NFS turns flock into record locks, which want a
file that is open for writing. Order: an ingest's lock first, then the store's; whoever holds
the store's lock only ever tries an ingest's.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from dist_tool.store import files

LOCK_NAME = "lock"
_TRIES = 1000  # each time somebody removed the directory between two calls of ours


@contextmanager
def held(path: str, *, exclusive: bool) -> Iterator[None]:
    """Hold the lock of file `path`, waiting for it. Raises OSError."""
    try:
        fd = files.create(path)
    except PermissionError as error:  # another user's file: reading is enough for a lock on a local file system
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            raise error from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


def try_ingest(directory: str, *, create: bool) -> int | None:
    """The lock of an ingest directory as a file descriptor, None while somebody has it.

    With `create` the directory is made; without, raises FileNotFoundError where it is not
    there. Whoever had the lock may have removed the directory: then the lock that we got is
    that of a file without a name, and we start again.
    """
    path = os.path.join(directory, LOCK_NAME)
    for left in reversed(range(_TRIES)):
        if create:
            files.make_plain_directory(directory)
        try:
            fd = files.create(path)
        except FileNotFoundError:
            if create and left:
                continue
            raise
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_named(fd, path):
                return fd
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    return None


def _is_named(fd: int, path: str) -> bool:
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    ours = os.fstat(fd)
    return (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)


def is_held(directory: str) -> bool:
    """True while somebody writes the ingest. Asking takes the lock for an instant."""
    try:
        fd = os.open(os.path.join(directory, LOCK_NAME), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False
