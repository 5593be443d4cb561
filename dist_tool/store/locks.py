"""File locks: flock, which the kernel releases with the process, so that locks never go stale (behaviours F9).

There are two kinds. The store's lock is one file that is never removed: shared while a blob is
claimed, added or labelled, exclusive while `index.json` changes or blobs are removed. An ingest's
lock is a file in its directory, held while the ingest has a writer, and removed with the directory.

The lock is a file, not the directory, because NFS turns flock into record locks, which require a
file that is open for writing. Lock order: an ingest's lock first, then the store's; a holder of
the store's lock takes an ingest's lock without waiting only.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from dist_tool.store import files

LOCK_NAME = "lock"
_TRIES = 1000  # each fails only if another process removed the directory between two of our calls


@contextmanager
def held(path: str, *, exclusive: bool) -> Iterator[None]:
    """Hold the lock on the file `path`; blocks until it is free. Raises OSError."""
    try:
        fd = files.create(path)
    except PermissionError as error:  # another user's file: read access suffices for flock on a local file system
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
    """Try to lock an ingest directory; returns the file descriptor of the lock, None if it is held elsewhere.

    With `create` the directory is created; without, raises FileNotFoundError if it does not
    exist. The previous holder may have removed the directory: then our lock is on an unlinked
    file, and the loop starts over. Raises OSError.
    """
    path = os.path.join(directory, LOCK_NAME)
    for tries_left in reversed(range(_TRIES)):
        if create:
            files.make_plain_directory(directory)
        try:
            fd = files.create(path)
        except FileNotFoundError:
            if create and tries_left:
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
    """True while the ingest has a writer. The check itself holds the lock for an instant."""
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
